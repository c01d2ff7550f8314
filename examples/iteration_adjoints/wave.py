"""A wave on a string with fixed ends, `u_tt = c² u_xx`, as a system of first order and in its second-order form."""

import jax
import jax.numpy as jnp
import numpy as np

import krylovpde as kp
from krylovpde.operator import BlockOperator

from .smooth_errors import SmoothCase, exact, pairing, relative

NUM_CELLS, DURATION = 128, 0.2
DIMENSIONS = (10, 20, 30, 40, 50, 60, 70, 80)
TOLERANCES = {"float64": (1e-2, 1e-4, 1e-6, 1e-8, 1e-10), "float32": (1e-2, 1e-3, 1e-4, 1e-5)}
GRID = kp.Grid(shape=(NUM_CELLS,), lower=(0.0,), upper=(1.0,))


def string(speed: jax.Array) -> kp.Wave:
    """Fixed at both ends."""
    return kp.Wave(GRID, speed, boundary=kp.Dirichlet())


def first_order(speed: jax.Array) -> BlockOperator:
    """`[[0, I], [c² lap, 0]]`, on displacement and velocity."""
    return string(speed).first_order_operator()


def wave(dtype: str) -> SmoothCase:
    """Speed with a jump, a smooth displacement at rest, and a smooth cotangent of the displacement."""
    x = np.asarray(GRID.coordinates[0], np.float64)
    speed = 1.0 + 0.3 * np.sin(2 * np.pi * x) + 0.2 * (x > 0.5)
    at_rest = jnp.zeros(NUM_CELLS, dtype)
    start = kp.WaveState(jnp.asarray(np.exp(-(((x - 0.35) / 0.1) ** 2)), dtype), at_rest)
    cotangent = kp.WaveState(jnp.asarray(np.exp(-(((x - 0.6) / 0.12) ** 2)), dtype), at_rest)
    return SmoothCase(first_order, jnp.asarray(speed, dtype), start, cotangent, DURATION, DIMENSIONS)


def default_errors(case: SmoothCase) -> list[dict[str, float]]:
    """What `kp.solve` gives for several tolerances: applications of the operator forwards, and both errors."""
    exact_value, exact_gradient = exact(case)

    def objective(speed: jax.Array, rtol: float) -> tuple[jax.Array, kp.Solution]:
        solution = kp.solve(string(speed), case.start, case.duration, rtol=rtol)
        return pairing(case.cotangent, solution.value), solution

    rows = []
    for rtol in TOLERANCES[str(case.parameter.dtype)]:
        (_, solution), gradient = jax.value_and_grad(objective, has_aux=True)(case.parameter, rtol)
        row = {"rtol": rtol, "applications": int(solution.stats.applications), "method": solution.stats.method}
        row |= {"value": relative(solution.value, exact_value), "gradient": relative(gradient, exact_gradient)}
        rows.append(row)
    return rows
