"""What walls do to the orders of the integrators, as the page on numerics says.

Fisher's equation, driven in time, on 48 cells between walls with `u = 0.3`, where what is added to the diffusion
neither vanishes nor rests; and between the same walls from data that do not fit them, with ten times the diffusivity.
In a ring `test_semilinear.py` finds 2, 4, 4 and 2. The reference is Radau's method.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import krylovpde as kp
from tests.helpers import relative_error

GRID = kp.Grid(48, 0.0, 1.0)
X = GRID.coordinates[0]
COUNTS, RATE = (6, 12, 24, 48), 4.0
INTEGRATORS = {"ETDRK2": kp.ETDRK2, "ETDRK4": kp.ETDRK4, "Rosenbrock": kp.Rosenbrock, "Strang": kp.Strang}
# Diffusivity, walls, start, end.
SMOOTH = 0.3 + 0.4 * np.sin(np.pi * X) ** 4
CASES = {
    "walls": (0.1, kp.Dirichlet(0.3), SMOOTH, 1.0),
    "misfit": (1.0, kp.Dirichlet(0.3), np.ones_like(X), 0.2),
}


def rest(t, _x, u):
    """Driven everywhere alike: at a wall, too, it changes in time, and with the state."""
    return RATE * u * (1.0 - u) + jnp.sin(5.0 * t).astype(u.dtype)


def problem(case: str) -> tuple[kp.AbstractEquation, jax.Array, float]:
    diffusivity, boundary, start, end = CASES[case]
    return kp.ReactionDiffusion(GRID, diffusivity, rest, boundary=boundary), jnp.asarray(start), end


@functools.cache
def exact(case: str) -> np.ndarray:
    """Of the same system of ordinary equations, by an implicit method of another family."""
    equation, start, end = problem(case)
    matrix, forcing = np.asarray(equation.operator().as_matrix()), equation.forcing()
    forcing = 0.0 if forcing is None else np.asarray(forcing)

    def rate(t, u):
        return matrix @ u + forcing + RATE * u * (1.0 - u) + np.sin(5.0 * t)

    def jacobian(_t, u):
        return matrix + np.diag(RATE * (1.0 - 2.0 * u))

    return solve_ivp(rate, (0.0, end), start, method="Radau", jac=jacobian, rtol=1e-12, atol=1e-13).y[:, -1]


def observed(name: str, case: str) -> tuple[float, list[float]]:
    """The order by regression over the steps, and the errors."""
    equation, start, end = problem(case)
    errors = []
    for count in COUNTS:
        method = INTEGRATORS[name](kp.Dense(), step_size=end / count)
        value = kp.solve(equation, start, end, method=method, rtol=1e-12, max_steps=49).value
        errors.append(relative_error(value, exact(case)))
    return -float(np.polyfit(np.log(COUNTS), np.log(errors), 1)[0]), errors


# What `docs/numerics.md` says: between which numbers the observed order lies.
SAID = {
    ("Strang", "walls"): (1.1, 1.6),
    ("ETDRK2", "walls"): (1.7, 2.3),
    ("ETDRK4", "walls"): (3.8, 4.2),
    ("Rosenbrock", "walls"): (3.8, 4.2),
    ("Strang", "misfit"): (1.1, 1.6),
    ("ETDRK2", "misfit"): (1.8, 2.2),
    ("ETDRK4", "misfit"): (2.0, 3.0),
    ("Rosenbrock", "misfit"): (2.2, 3.0),
}
PAIRS = [pair if pair == ("Strang", "walls") else pytest.param(*pair, marks=pytest.mark.slow) for pair in SAID]


@pytest.mark.parametrize(("name", "case"), PAIRS)
def test_order_with_walls(name, case):
    order, errors = observed(name, case)
    least, most = SAID[name, case]
    assert least < order < most, (order, errors)
