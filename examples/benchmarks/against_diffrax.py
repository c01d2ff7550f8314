"""Value and gradient beside Diffrax's, a leapfrog scheme's and SciPy's: the same equation, stencil and precision.

One field coefficient, one output time, smooth data, double precision; J = <w, u(t)>. Each row runs in a process of
its own: errors of value and gradient against a converged reference (Diffrax's Dopri8 at a tolerance of 1e-11, for
advection krylovpde's Arnoldi), median seconds after a warm-up, seconds of tracing and compiling, peak temporary memory
of the compiled program in fields.

    OPENBLAS_NUM_THREADS=1 python examples/benchmarks/against_diffrax.py [--size 256] [--problems wave heat ...]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import scipy.sparse.linalg
from jax import lax

import krylovpde as kp

# Name: (R = t sqrt(rho) for waves, t rho for the others).
PROBLEMS = {"wave": 440.0, "long wave": 880.0, "heat": 6300.0, "advection": 1600.0}
TOLERANCES = (1e-4, 1e-5, 1e-6, 1e-7)
SOLVERS = {"Tsit5": diffrax.Tsit5(), "Dopri5": diffrax.Dopri5(), "Dopri8": diffrax.Dopri8()}
ADJOINTS = {"checkpointed": diffrax.RecursiveCheckpointAdjoint(), "backsolve": diffrax.BacksolveAdjoint()}
REFERENCE = 1e-11


class Case:
    """A problem at a size: `equation(coefficient)`, start, end, weight."""

    def __init__(self, name: str, size: int):
        """The fields of one of `PROBLEMS`."""
        self.name, self.size = name, size
        self.grid = kp.Grid(shape=(size, size), lower=(0.0, 0.0), upper=(1.0, 1.0))
        x, y = self.grid.coordinates
        pulse = jnp.asarray(np.exp(-100 * ((x - 0.4) ** 2 + (y - 0.5) ** 2)))
        self.weight = jnp.asarray(np.exp(-80 * ((x - 0.6) ** 2 + (y - 0.4) ** 2)))
        self.coefficient = jnp.asarray(1.0 + 0.3 * np.sin(3 * x) * np.cos(4 * y) + 0.2 * (x > 0.5))
        self.waves = name.endswith("wave")
        self.initial: Any = kp.WaveState(pulse, jnp.zeros_like(pulse)) if self.waves else pulse
        self.wind = (jnp.full(self.grid.shape, 1.0 * size), jnp.full(self.grid.shape, -0.5 * size))
        bound = float(kp.spectral_bound(self.equation(self.coefficient).operator()))
        self.end = PROBLEMS[name] / (bound**0.5 if self.waves else bound)

    def equation(self, coefficient: Any) -> Any:
        """The equation of a coefficient; the cell Péclet number of the wind is 1 where the diffusivity is."""
        if self.waves:
            return kp.Wave(self.grid, coefficient)
        if self.name == "advection":
            return kp.AdvectionDiffusion(self.grid, coefficient, self.wind)
        return kp.Diffusion(self.grid, coefficient)

    def seen(self, state: Any) -> Any:
        """The field of a state."""
        return state.displacement if self.waves else state


def by_krylovpde(case: Case, rtol: float, method: Any = None) -> Callable[[Any], Any]:
    """`kp.solve`; by default with its own choice of method and adjoint."""
    return lambda c: case.seen(kp.solve(case.equation(c), case.initial, case.end, rtol=rtol, method=method).value)


def by_diffrax(case: Case, solver: Any, adjoint: Any, rtol: float) -> Callable[[Any], Any]:
    """`diffrax.diffeqsolve` with step control."""

    def field(c):
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, u, c: case.equation(c).vector_field(t, u)),
            solver,
            0.0,
            case.end,
            None,
            case.initial,
            args=c,
            adjoint=adjoint,
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=rtol),
            max_steps=2**16,
        )
        return case.seen(jax.tree_util.tree_map(lambda leaf: leaf[0], solution.ys))

    return field


def by_leapfrog(case: Case, courant: float) -> Callable[[Any], Any]:
    """`u⁺ = 2u - u⁻ + dt² A u` in a checkpointed scan, at `courant` times the largest stable step."""
    bound = float(kp.spectral_bound(case.equation(case.coefficient).operator()))
    root = int(np.ceil(np.sqrt(case.end * np.sqrt(bound) / 2.0 / courant)))
    dt = case.end / (root**2 + 1)

    def field(c):
        operator, u = case.equation(c).operator(), case.initial.displacement

        def step(carry, _):
            older, newer = carry
            return (newer, 2.0 * newer - older + dt**2 * operator.mv(newer)), None

        # Checkpoints at every root-th step: the memory that a careful user would spend.
        @jax.checkpoint
        def stretch(carry, _):
            return lax.scan(step, carry, None, length=root)

        first = u + 0.5 * dt**2 * operator.mv(u)
        return lax.scan(stretch, (u, first), None, length=root)[0][1]

    return field


def methods(case: Case) -> dict[str, Callable[[Any], Any]]:
    """Everything that is compared for one problem."""
    table: dict[str, Callable[[Any], Any]] = {"krylovpde, default": by_krylovpde(case, 1e-6)}
    other = kp.Arnoldi() if case.name == "advection" else kp.Lanczos()
    table[f"krylovpde, {other.name}"] = by_krylovpde(case, 1e-6, other)
    for solver_name, solver in SOLVERS.items():
        for adjoint_name, adjoint in ADJOINTS.items():
            for rtol in TOLERANCES:
                table[f"Diffrax {solver_name}, {adjoint_name}, {rtol:.0e}"] = by_diffrax(case, solver, adjoint, rtol)
    if case.waves:
        for courant in (1.0, 0.1):
            table[f"leapfrog, {courant} of the limit"] = by_leapfrog(case, courant)
    return table


def reference(case: Case) -> tuple[Any, Any]:
    """Converged field and gradient."""
    if case.name == "advection":
        function = by_krylovpde(case, REFERENCE, kp.Arnoldi())
    else:
        function = by_diffrax(case, diffrax.Dopri8(), diffrax.RecursiveCheckpointAdjoint(), REFERENCE)
    (_, field), gradient = jax.jit(jax.value_and_grad(objective(case, function), has_aux=True))(case.coefficient)
    return field, gradient


def objective(case: Case, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`c -> (<w, u>, u)`."""

    def loss(c):
        field = function(c)
        return jnp.vdot(case.weight, field), field

    return loss


def measure(case: Case, name: str, exact: Any, repeats: int) -> dict[str, Any]:
    """One row."""
    loss, c = objective(case, methods(case)[name]), case.coefficient
    row: dict[str, Any] = {"problem": case.name, "size": case.size, "method": name}
    began = time.perf_counter()
    both = jax.jit(jax.value_and_grad(loss, has_aux=True)).lower(c).compile()
    row["compile_s"] = time.perf_counter() - began
    memory = both.memory_analysis()
    row["memory_fields"] = float("nan") if memory is None else memory.temp_size_in_bytes / c.nbytes
    forward = jax.jit(lambda c: loss(c)[0]).lower(c).compile()
    (_, field), gradient = jax.block_until_ready(both(c))
    row["value_error"], row["gradient_error"] = map(relative_error, (field, gradient), exact)
    row["forward_s"], row["value_and_gradient_s"] = (median(function, c, repeats) for function in (forward, both))
    return row


def relative_error(value: Any, exact: Any) -> float:
    """In the Euclidean norm."""
    return float(jnp.linalg.norm(value - exact) / jnp.linalg.norm(exact))


def median(function: Any, argument: Any, repeats: int) -> float:
    """Median seconds; fewer repeats of what takes long."""
    jax.block_until_ready(function(argument))
    seconds: list[float] = []
    while len(seconds) < repeats and sum(seconds) < 10.0:
        began = time.perf_counter()
        jax.block_until_ready(function(argument))
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def by_scipy(case: Case) -> dict[str, Any]:
    """The forward pass by `scipy.sparse.linalg.expm_multiply`, which has no gradient."""
    operator = case.equation(case.coefficient).operator()
    apply = jax.jit(lambda u: operator.mv(u.reshape(case.grid.shape)).reshape(-1))
    n = case.size**2
    trace = float(jnp.sum(lx.diagonal(operator)))
    linear = scipy.sparse.linalg.LinearOperator(
        (n, n), matvec=lambda u: np.asarray(apply(u)), rmatvec=lambda u: np.asarray(apply(u)), dtype=float
    )
    start = np.asarray(case.initial).reshape(-1)
    began = time.perf_counter()
    scipy.sparse.linalg.expm_multiply(linear * case.end, start, traceA=trace * case.end)
    return {"problem": case.name, "size": case.size, "method": "SciPy", "forward_s": time.perf_counter() - began}


def show(row: dict[str, Any]):
    """One line."""
    numbers = [f"{key} {value:.2e}" for key, value in row.items() if isinstance(value, float)]
    print(f"{row['problem']:<10} {row['method']:<40} " + "  ".join(numbers), flush=True)


def conclude(rows: list[dict[str, Any]], limit: float):
    """For each problem the fastest competitor whose gradient is accurate, beside krylovpde's default."""
    for problem in dict.fromkeys(row["problem"] for row in rows):
        own = next(row for row in rows if row["problem"] == problem and row["method"] == "krylovpde, default")
        others = [row for row in rows if row["problem"] == problem and not row["method"].startswith("krylovpde")]
        accurate = [row for row in others if row.get("gradient_error", 1.0) <= limit]
        if not accurate:
            print(f"{problem}: no competitor had a gradient's error below {limit:.0e}")
            continue
        best = min(accurate, key=lambda row: row["value_and_gradient_s"])
        ratio = best["value_and_gradient_s"] / own["value_and_gradient_s"]
        print(f"{problem}: fastest with a gradient accurate to {limit:.0e}: {best['method']}, {ratio:.1f} x krylovpde")


def main():
    """All rows, each in a process of its own, or (inside such a process) one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--problems", nargs="+", default=["wave", "heat"], choices=list(PROBLEMS))
    parser.add_argument("--methods", nargs="+", default=[""], help="only those whose name contains one of these")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("results/against_diffrax.json"))
    parser.add_argument("--one", nargs=3, metavar=("PROBLEM", "METHOD", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    if arguments.one:
        one(arguments)
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for problem in arguments.problems:
            names = [
                name
                for name in methods(Case(problem, arguments.size))
                if any(part in name for part in arguments.methods)
            ]
            exact = str(Path(folder) / f"{problem}.npz")
            for name in ["reference", *names, *(["SciPy"] if problem == "heat" else [])]:
                command = [sys.executable, __file__, "--size", str(arguments.size), "--repeats", str(arguments.repeats)]
                run = subprocess.run(
                    [*command, "--one", problem, name, exact], stdout=subprocess.PIPE, text=True, check=False
                )
                if run.returncode == 0 and name != "reference":
                    rows.append(json.loads(run.stdout.splitlines()[-1]))
                    show(rows[-1])
                elif run.returncode != 0:
                    print(f"{problem:<10} {name:<40} failed", flush=True)
    conclude(rows, 1e-5)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps({"device": str(jax.devices()[0]), "rows": rows}, indent=1))
    print(f"written: {arguments.output}")


def one(arguments: argparse.Namespace):
    """One row as a line of JSON, or the file of the reference."""
    problem, name, path = arguments.one
    case = Case(problem, arguments.size)
    if name == "reference":
        field, gradient = reference(case)
        np.savez(path, field=field, gradient=gradient)
    elif name == "SciPy":
        print(json.dumps(by_scipy(case)))
    else:
        stored = np.load(path)
        exact = (jnp.asarray(stored["field"]), jnp.asarray(stored["gradient"]))
        print(json.dumps(measure(case, name, exact, arguments.repeats)))


if __name__ == "__main__":
    main()
