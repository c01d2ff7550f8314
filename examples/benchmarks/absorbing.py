"""What absorbing layers cost: value and gradient, beside the same wave in a closed box, and beside Diffrax.

    OPENBLAS_NUM_THREADS=1 python examples/benchmarks/absorbing.py

Processor seconds of compiled programs, the smallest of three runs. Diffrax solves the same equation, layers included,
by `equation.vector_field` on `equation.extended(state)`, and is differentiated through checkpoints. The error of a
gradient is the difference from our own at a tolerance of 1e-9.
"""

import argparse
import time
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import krylovpde as kp


def _problem(size, width):
    grid = kp.Grid((size, size), (0.0, 0.0), (float(size), float(size)))
    x, y = (jnp.asarray(part) / size for part in grid.coordinates)
    speed = 1.0 - 0.2 * jnp.exp(-((x - 0.6) ** 2 + (y - 0.5) ** 2) / 0.01)
    pulse, seen = (jnp.exp(-((x - a) ** 2 + (y - b) ** 2) * size**2 / 18.0) for a, b in ((0.4, 0.5), (0.7, 0.4)))
    return grid, speed, kp.WaveState(pulse, 0.3 * pulse), seen, kp.Absorbing(width)


def _ours(problem, boundary, duration, rtol):
    grid, _, start, seen, _ = problem

    def loss(speed):
        solution = kp.solve(kp.Wave(grid, speed, boundary=boundary), start, duration, rtol=rtol)
        return jnp.sum(seen * solution.value.displacement), solution.stats.applications

    return loss


def _diffrax(problem, solver, duration, rtol):
    grid, _, start, seen, layers = problem

    def loss(speed):
        equation = kp.Wave(grid, speed, boundary=layers)
        controller = diffrax.PIDController(rtol, rtol)
        term, state = diffrax.ODETerm(equation.vector_field), equation.extended(start)
        solution = diffrax.diffeqsolve(
            term, solver, 0.0, duration, 0.1, state, stepsize_controller=controller, max_steps=2048
        )
        states: Any = solution.ys
        return jnp.sum(seen * states.displacement[0]), solution.stats["num_steps"]

    return loss


def _timed(function, speed):
    function = eqx.filter_jit(function)
    value, seconds = jax.block_until_ready(function(speed)), []
    for _ in range(3):
        begin = time.process_time()
        jax.block_until_ready(function(speed))
        seconds.append(time.process_time() - begin)
    return value, min(seconds)


def main():
    """One row for each method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--width", type=int, default=20)
    parser.add_argument("--crossings", type=float, default=440.0, help="duration times the largest frequency")
    parser.add_argument("--solvers", nargs="*", default=["Tsit5", "Dopri8"])
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    problem = _problem(arguments.size, arguments.width)
    duration, layers = arguments.crossings / np.sqrt(8.0), problem[-1]
    methods = {
        "Faber, layers, 1e-09": _ours(problem, layers, duration, 1e-9),
        "Faber, layers, 1e-05": _ours(problem, layers, duration, 1e-5),
        "Chebyshev, closed box, 1e-05": _ours(problem, kp.Neumann(), duration, 1e-5),
    }
    for name in arguments.solvers:
        methods[f"{name}, layers, 1e-06"] = _diffrax(problem, getattr(diffrax, name)(), duration, 1e-6)
    reference = None
    for name, loss in methods.items():
        ((_, count), gradient), both = _timed(jax.value_and_grad(loss, has_aux=True), problem[1])
        _, alone = _timed(lambda speed, loss=loss: loss(speed)[0], problem[1])
        reference = gradient if reference is None else reference
        error = float(jnp.linalg.norm(gradient - reference) / jnp.linalg.norm(reference))
        print(
            f"{name:30s} {int(count):6d}   value {alone:.3f} s   gradient {both:.3f} s   error {error:.1e}", flush=True
        )


if __name__ == "__main__":
    main()
