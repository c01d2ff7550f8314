"""What a wall does to the orders of the integrators, as the page on numerics says.

Fisher's equation on 48 cells, in a ring, and between walls with `u = 0.3`, where the reaction does not vanish.
Steps far longer than the diffusion of a cell: `h rho` from 150 down to 20.
"""

import functools

import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp

import krylovpde as kp
from tests.helpers import relative_error

GRID = kp.Grid(48, 0.0, 1.0)
X = GRID.coordinates[0]
COUNTS = (6, 12, 24, 48)
INTEGRATORS = {"ETDRK2": kp.ETDRK2, "ETDRK4": kp.ETDRK4, "Rosenbrock": kp.Rosenbrock, "Strang": kp.Strang}
END, RATE = 1.0, 4.0


def rest(t, _x, u):
    """Driven everywhere alike: at a wall, too, it changes in time, and with the state."""
    return RATE * u * (1.0 - u) + jnp.sin(5.0 * t).astype(u.dtype)


def problem(walls: str) -> tuple[kp.AbstractEquation, jnp.ndarray]:
    boundary = kp.Periodic() if walls == "periodic" else kp.Dirichlet(0.3)
    equation = kp.ReactionDiffusion(GRID, 0.1, rest, boundary=boundary)
    return equation, jnp.asarray(0.3 + 0.4 * np.sin(np.pi * X) ** 4)


@functools.cache
def exact(walls: str) -> np.ndarray:
    """Of the same system of ordinary equations, by an implicit method of another family."""
    equation, start = problem(walls)
    matrix, forcing = np.asarray(equation.operator().as_matrix()), equation.forcing()
    forcing = 0.0 if forcing is None else np.asarray(forcing)

    def rate(t, u):
        return matrix @ u + forcing + RATE * u * (1.0 - u) + np.sin(5.0 * t)

    def jacobian(_t, u):
        return matrix + np.diag(RATE * (1.0 - 2.0 * u))

    return solve_ivp(rate, (0.0, END), start, method="Radau", jac=jacobian, rtol=1e-12, atol=1e-13).y[:, -1]


def observed(name: str, walls: str) -> tuple[float, list[float]]:
    """The order by regression over the steps, and the errors."""
    equation, start = problem(walls)
    errors = []
    for count in COUNTS:
        method = INTEGRATORS[name](kp.Dense(), step_size=END / count)
        value = kp.solve(equation, start, END, method=method, rtol=1e-12, max_steps=49).value
        errors.append(relative_error(value, exact(walls)))
    return -float(np.polyfit(np.log(COUNTS), np.log(errors), 1)[0]), errors


# What `docs/numerics.md` says.
SAID: dict[tuple[str, str], float] = {}
