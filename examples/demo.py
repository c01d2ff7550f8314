"""A wave-speed field recovered from what sensors around a block have measured.

    u_tt = speed² lap u

Pulses start at the sides of the block one after another; sensors record the wave at a few times. From these records
alone, made on a finer grid and with noise, the speed in each cell is found: L-BFGS on a least-squares loss, with
gradients through the Krylov solve. The fit stops where the misfit is explained by the noise and the error of the mesh.
Then the mesh error, by now known well, is subtracted, and the fit goes on to what is left.

    python examples/demo.py [--cells 128] [--shots 6] [--rtol 1e-3] [--compare full] [--output demo.png] ...

Lengths in metres, times in milliseconds, speeds in metres per millisecond. Single precision, JAX's default: the data
are good to two per cent, the solves to a tenth of one.
"""

import argparse
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

# Before JAX loads it: on several threads OpenBLAS takes up to 100 times as long for the small eigenproblems of the
# Krylov spaces when other programs want the cores too (measured: 79 ms instead of 0.3 ms for 77 unknowns).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import optax
from demo_comparison import against_diffrax, print_rivals
from matplotlib.figure import Figure

import krylovpde as kp
from krylovpde import plot
from problems import AbstractFieldModel, FieldProblem, wave_speed_problem


def main():
    """Make the problem, invert, compare, tell and draw."""
    arguments = parse()
    began = time.perf_counter()
    problem = wave_speed_problem(
        arguments.cells,
        num_shots=arguments.shots,
        sensors_per_side=arguments.sensors,
        num_times=arguments.times,
        rtol=arguments.rtol,
        seed=arguments.seed,
    )
    shots, times, sensors = problem.data.shape
    print(
        f"{arguments.cells} x {arguments.cells} unknown speeds from {shots} pulses x {times} times x {sensors} sensors;"
        f" noise {float(problem.noise):.2e}, mesh error {float(problem.mesh_error):.2e} (root mean square)"
    )
    fits = invert(problem, arguments.stages, arguments.iterations)
    seconds = time.perf_counter() - began
    report(problem, fits, seconds)
    if arguments.compare != "none":
        print_rivals(against_diffrax(problem, problem.start, short=arguments.compare == "short"))
    draw(problem, fits, arguments.output)
    print(f"figure: {arguments.output}")


def parse() -> argparse.Namespace:
    """The sizes, and where the figure goes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cells", type=int, default=128, help="along each side of the inversion's grid")
    parser.add_argument("--shots", type=int, default=6, help="pulses around the block")
    parser.add_argument("--sensors", type=int, default=48, help="on each side")
    parser.add_argument("--times", type=int, default=8, help="of measurement")
    parser.add_argument("--rtol", type=float, default=1e-3, help="relative tolerance of the solves")
    parser.add_argument("--iterations", type=int, default=30, help="at most, in each stage")
    parser.add_argument("--stages", type=int, default=2, help="fits; the mesh error is corrected between them")
    parser.add_argument("--compare", choices=("full", "short", "none"), default="full", help="with Diffrax")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("--output", type=Path, default=Path("demo.png"), help="the figure")
    return parser.parse_args()


def invert(problem: FieldProblem, stages: int, iterations: int) -> list[kp.inverse.FitResult]:
    """Fit; then subtract the mesh error at the estimate, and fit again from there."""
    stop = [kp.inverse.Discrepancy(), kp.inverse.Stagnation(relative=0.005, window=5)]
    optimiser = optax.lbfgs()  # one for both fits: another one would be compiled again
    model, fits = problem.start, []
    for stage in range(stages):
        if stage > 0:
            problem = problem.corrected(model)
            print(f"mesh error at the estimate subtracted; {float(problem.mesh_error):.2e} is left")
        result = kp.inverse.fit(
            problem.loss(),
            model,
            optimiser,
            stop=stop,
            max_iterations=iterations,
            diagnostics={"field error": problem.relative_error},
        )
        model = result.model
        fits.append(result)
    return fits


def report(problem: FieldProblem, fits: list[kp.inverse.FitResult], seconds: float):
    """Print the table."""
    start, end = (100 * float(problem.relative_error(m)) for m in (problem.start, fits[-1].model))
    stats = problem.solve(fits[-1].model).stats
    applications, dimension = int(jnp.sum(stats.applications)), int(jnp.max(stats.krylov_dimension))
    iterations, evaluations = (sum(numbers) for numbers in zip(*map(counts, fits), strict=True))
    rows = [
        ("relative error of the field", f"{start:.2f} % at the start, {end:.2f} % at the end: {end / start:.2f} times"),
        ("iterations", f"{iterations}, with {evaluations} values and gradients"),
        ("applications of the operator", f"{applications} for one prediction, Krylov dimension up to {dimension}"),
        ("one value and gradient, all pulses", f"{per_evaluation(fits):.2f} s"),
        ("seconds, compilation and data included", f"{seconds:.0f}"),
        ("peak memory", f"{peak_memory_mib():.0f} MiB"),
    ]
    width = max(len(name) for name, _ in rows)
    print()
    for name, text in rows:
        print(f"{name:<{width}}  {text}")


def counts(fit: kp.inverse.FitResult) -> tuple[int, int]:
    """Iterations, and values with gradients."""
    return len(fit.history) - 1, fit.history[-1].evaluations


def per_evaluation(fits: list[kp.inverse.FitResult]) -> float:
    """The median time of one value and gradient; the first iteration of each fit compiles, and does not count."""
    times = []
    for fit in fits:
        seconds, evaluations = fit.history.seconds[1:], [record.evaluations for record in fit.history.records[1:]]
        times += list(np.diff(seconds) / np.diff(evaluations))
    return float(np.median(times)) if times else float("nan")


def peak_memory_mib() -> float:
    """The most memory that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def draw(problem: FieldProblem, fits: list[kp.inverse.FitResult], path: Path):
    """Truth, start, estimate; what is wrong with the estimate, data beside predictions, convergence."""
    model = fits[-1].model
    with mpl.rc_context({"font.size": 11, "axes.titlesize": 13, "axes.titleweight": "bold", "savefig.dpi": 200}):
        figure = Figure(figsize=(15.5, 9.8), layout="constrained")
        panels: Any = figure.subfigures(2, 1)
        draw_fields(panels[0].subplots(1, 3), problem, model)
        draw_fit(panels[1].subplots(1, 3), problem, fits)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)


def draw_fields(axes: Any, problem: FieldProblem, model: AbstractFieldModel):
    """Truth, start and estimate on one scale."""
    errors = [100 * float(problem.relative_error(m)) for m in (problem.start, model)]
    fields = {
        "truth": problem.truth,
        f"start, {errors[0]:.1f} % off": problem.start.field,
        f"estimate, {errors[1]:.1f} % off": model.field,
    }
    marks = {"sensors": problem.sensors, "sources": problem.sources}
    plot.compare(axes, problem.grid, fields, label="wave speed", unit="m/ms", length_unit="m", **marks)


def draw_fit(axes: Any, problem: FieldProblem, fits: list[kp.inverse.FitResult]):
    """What is wrong with the estimate, data beside predictions, and how the fit went."""
    model, grid = fits[-1].model, problem.grid
    wrong = model.field - problem.truth
    mesh = plot.field(axes[0], grid, wrong, title="estimate - truth", diverging=True, length_unit="m")
    axes[0].figure.colorbar(mesh, ax=axes[0], label="difference of speed (m/ms)", shrink=0.9, aspect=30)
    predicted = {"start": problem.forward(problem.start)[0], "estimate": problem.forward(model)[0]}
    plot.record_section(
        axes[1],
        problem.experiments.experiment.times,
        {"data": problem.data[0], **predicted},
        title="one pulse, as the sensors see it",
        time_unit="ms",
        position_label="sensor, around the block",
    )
    history = kp.inverse.History(tuple(record for fit in fits for record in fit.history.records))
    plot.convergence(axes[2], history, diagnostics={"field error": "relative error of the field"})
    for number in np.cumsum([len(fit.history) for fit in fits[:-1]]):
        axes[2].axvline(number - 0.5, color=plot.COLOURS["grey"], linewidth=0.8, linestyle=":")
        axes[2].annotate("mesh error\nsubtracted", (number, 0.12), fontsize=9, color=plot.COLOURS["grey"])


if __name__ == "__main__":
    main()
