"""The problems: two parameters, smooth data, one output time, `J = <w, u(t)>`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import numpy as np

import krylovpde as kp


class Case(NamedTuple):
    """`equation(parameters)`, with two numbers around 1: factors of the linear part and of the rest.

    `max_steps`: room for explicit methods, whose checkpoints are written whether needed or not.
    """

    equation: Callable[[Any], kp.AbstractEquation]
    initial: Any
    end: float
    dimension: int
    max_steps: int = 16384

    def seen(self, state: Any) -> jax.Array:
        """All fields in a row."""
        return jfu.ravel_pytree(state)[0]

    def weight(self) -> jax.Array:
        """A smooth field of the state's size."""
        size = self.seen(self.initial).size
        return jnp.asarray(np.cos(7.0 * np.arange(size) / size))


def allen_cahn(size: int) -> Case:
    """Two dimensions, insulated; the phases are an eighth of the side wide."""
    grid = kp.Grid((size, size), (0.0, 0.0), (1.0, 1.0))
    x, y = grid.coordinates
    initial = jnp.asarray(0.6 * np.cos(np.pi * x) * np.cos(2 * np.pi * y) + 0.2)

    def equation(p: Any) -> kp.AbstractEquation:
        return kp.ReactionDiffusion(grid, 2e-3 * p[0], lambda _t, _x, u: p[1] * (u - u**3))

    return Case(equation, initial, 3.0, 2)


def gray_scott(size: int) -> Case:
    """Two species in two dimensions, periodic."""
    grid = kp.Grid((size, size), (0.0, 0.0), (1.0, 1.0))
    x, y = grid.coordinates
    bump = jnp.asarray(np.exp(-(((x - 0.5) / 0.1) ** 2) - ((y - 0.48) / 0.08) ** 2))

    def equation(p: Any) -> kp.AbstractEquation:
        def reaction(_t, _x, state):
            made = p[1] * state["u"] * state["v"] ** 2
            return {"u": -made + 0.035 * (1.0 - state["u"]), "v": made - 0.097 * state["v"]}

        return kp.ReactionDiffusion(grid, {"u": 2e-5 * p[0], "v": 1e-5 * p[0]}, reaction, boundary=kp.Periodic())

    return Case(equation, {"u": 1.0 - 0.5 * bump, "v": 0.25 * bump}, 100.0, 2)


def burgers(size: int) -> Case:
    """One dimension, periodic, after the wave has steepened."""
    grid = kp.Grid(4 * size, 0.0, 1.0)
    spacing = 0.25 / size

    def equation(p: Any) -> kp.AbstractEquation:
        def inflow(_t, _x, u):
            flux = 0.25 * p[1] * (u**2 + jnp.roll(u, -1) ** 2)
            return (jnp.roll(flux, 1) - flux) / spacing

        return kp.ReactionDiffusion(grid, 0.01 * p[0], inflow, boundary=kp.Periodic())

    return Case(equation, jnp.asarray(np.sin(2 * np.pi * grid.coordinates[0])), 0.4, 1)


def kuramoto_sivashinsky(size: int) -> Case:
    """One dimension, fourth order, until differences begin to grow."""
    length = 16 * np.pi
    grid = kp.Grid(2 * size, 0.0, length)
    x, spacing = grid.coordinates[0] / 8, length / (2 * size)

    def equation(p: Any) -> kp.AbstractEquation:
        linear = kp.PolynomialOperator(kp.Laplacian(grid, kp.Periodic()), jnp.stack([0.0 * p[0], -p[0], -p[0]]))
        return kp.Semilinear(linear, lambda _t, u: -p[1] * (jnp.roll(u, -1) ** 2 - jnp.roll(u, 1) ** 2) / (4 * spacing))

    return Case(equation, jnp.asarray(np.cos(x) * (1.0 + np.sin(x))), 15.0, 1, 16384 * max(1, size // 64) ** 3)


PROBLEMS: dict[str, Callable[[int], Case]] = {
    "Allen-Cahn": allen_cahn,
    "Gray-Scott": gray_scott,
    "Burgers": burgers,
    "Kuramoto-Sivashinsky": kuramoto_sivashinsky,
}
