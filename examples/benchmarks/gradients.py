"""Value and gradient: errors against the tolerance asked for, time and applications against the forward pass.

Heat, advection–diffusion and waves on a square grid, one output time, smooth data, double precision. The reference is
Diffrax's Dopri8 with constant steps far below its stability limit and a checkpointed adjoint.

    OPENBLAS_NUM_THREADS=1 python examples/benchmarks/gradients.py [--size 64] [--output results/gradients.json]
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

import krylovpde as kp

TOLERANCES = (1e-4, 1e-6, 1e-8)


def problems(size: int) -> dict[str, tuple[Callable[[Any], Any], Any, float, float]]:
    """For each name: equation of a coefficient, initial state, final time, step of the reference."""
    grid = kp.Grid(shape=(size, size), lower=(0.0, 0.0), upper=(1.0, 1.0))
    x, y = grid.coordinates
    pulse = jnp.asarray(np.exp(-100 * ((x - 0.4) ** 2 + (y - 0.5) ** 2)))
    heat_time, heat_step = 0.005, 0.1 / size**2
    wind = (jnp.full(grid.shape, 10.0), jnp.full(grid.shape, -5.0))
    return {
        "heat": (lambda c: kp.Diffusion(grid, c), pulse, heat_time, heat_step),
        "advection-diffusion": (lambda c: kp.AdvectionDiffusion(grid, c, wind), pulse, heat_time, heat_step),
        "wave": (lambda c: kp.Wave(grid, c), kp.WaveState(pulse, jnp.zeros_like(pulse)), 0.4, 0.2 / size),
    }


def coefficient(size: int) -> Any:
    """A smooth coefficient with a jump."""
    grid = kp.Grid(shape=(size, size), lower=(0.0, 0.0), upper=(1.0, 1.0))
    x, y = grid.coordinates
    return jnp.asarray(1.0 + 0.3 * np.sin(3 * x) * np.cos(4 * y) + 0.3 * (x > 0.5))


def seen(state: Any) -> Any:
    """The field of a state."""
    return state.displacement if isinstance(state, kp.WaveState) else state


def reference(equation: Callable[[Any], Any], initial: Any, end: float, step: float, weight: Any) -> Callable:
    """`coefficient -> (loss, field)` by Diffrax."""

    def loss(c):
        model = equation(c)
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, u, args: model.vector_field(t, u, args)),
            diffrax.Dopri8(),
            0.0,
            end,
            step,
            initial,
            max_steps=int(end / step) + 10,
        )
        field = jax.tree_util.tree_map(lambda leaf: leaf[0], seen(solution.ys))
        return jnp.vdot(weight, field), field

    return loss


def median_seconds(function: Callable, argument: Any, runs: int = 7) -> float:
    """Median wall time of a compiled function, first call left out."""
    jax.block_until_ready(function(argument))
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        jax.block_until_ready(function(argument))
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def measure(name: str, size: int) -> list[dict[str, Any]]:
    """One row for each tolerance."""
    equation, initial, end, step = problems(size)[name]
    c = coefficient(size)
    grid = kp.Grid(shape=(size, size), lower=(0.0, 0.0), upper=(1.0, 1.0))
    x, y = grid.coordinates
    weight = jnp.asarray(np.exp(-80 * ((x - 0.6) ** 2 + (y - 0.4) ** 2)))
    exact_loss = jax.jit(jax.value_and_grad(reference(equation, initial, end, step, weight), has_aux=True))
    (_, exact), exact_gradient = exact_loss(c)
    rows = []
    for rtol in TOLERANCES:

        def solve(c, rtol=rtol):
            return kp.solve(equation(c), initial, end, rtol=rtol)

        def loss(c, solve=solve):
            field = seen(solve(c).value)
            return jnp.vdot(weight, field), field

        forward = jax.jit(lambda c, loss=loss: loss(c)[0])
        both = jax.jit(jax.value_and_grad(loss, has_aux=True))
        (_, field), gradient = both(c)
        row = {
            "problem": name,
            "rtol": rtol,
            "value_error": float(jnp.linalg.norm(field - exact) / jnp.linalg.norm(exact)),
            "gradient_error": float(jnp.linalg.norm(gradient - exact_gradient) / jnp.linalg.norm(exact_gradient)),
            "forward_ms": 1e3 * median_seconds(forward, c),
            "value_and_gradient_ms": 1e3 * median_seconds(both, c),
            "forward_applications": int(jax.jit(lambda c, solve=solve: solve(c).stats)(c).applications),
        }
        if name != "wave":
            method = kp.Chebyshev() if name == "heat" else kp.Faber()  # what `solve` takes by itself
            pulled = kp.pullback(equation(c).operator(), initial, end, weight, rtol=rtol, method=method).stats
            row["backward_applications"] = int(pulled.applications + pulled.transpose_applications)
            row["parameter_vjps"] = int(pulled.parameter_vjps)
        rows.append(row)
        print(
            "  ".join(
                f"{key} {value:.2e}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
            )
        )
    return rows


def main() -> None:
    """Prints a row for each problem and tolerance and writes them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--output", type=Path, default=Path("results/gradients.json"))
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    rows = [row for name in problems(arguments.size) for row in measure(name, arguments.size)]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps({"device": str(jax.devices()[0]), "rows": rows}, indent=1))
    print(f"written: {arguments.output}")


if __name__ == "__main__":
    main()
