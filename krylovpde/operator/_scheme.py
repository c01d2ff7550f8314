"""How an advected field is interpolated from cells to faces: linear schemes, as objects."""

import abc
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ..grid import AbstractGrid, open_faces
from ._kernel import Coefficient, FaceCoefficients


class AbstractScheme(eqx.Module):
    """A linear interpolation to faces: `u_f` as coefficients of the cell below and of the jumps around the face."""

    @property
    @abc.abstractmethod
    def upwinded_outflow(self) -> bool:
        """Whether a field that flows out through a wall leaves with the value of the last cell."""

    @abc.abstractmethod
    def coefficients(self, grid: AbstractGrid, axis: int, periodic: bool, velocity: Coefficient) -> FaceCoefficients:
        """The coefficients of `-velocity u_f` (`velocity` times area, on the faces)."""


class Central(AbstractScheme):
    """Linear interpolation between the two cells beside a face: second order, no numerical diffusion.

    It oscillates where the cell Péclet number `|v| h / diffusivity` is above 2 and the field is steep: refine the grid,
    or use [`krylovpde.Upwind`][].
    """

    @property
    def upwinded_outflow(self) -> bool:
        """No: the boundary condition says what the value on the wall is."""
        return False

    def coefficients(self, grid: AbstractGrid, axis: int, periodic: bool, velocity: Coefficient) -> FaceCoefficients:
        """`u_f = u_j + θ (u_{j+1} - u_j)`, `θ = h_j / (h_j + h_{j+1})`."""
        theta = _like(_midpoint_fraction(grid, axis, periodic), grid, axis, velocity)
        return FaceCoefficients(exchange=-velocity * theta, transport=velocity)


class Upwind(AbstractScheme):
    """Interpolation that looks upstream.

    `order=1` takes the value of the cell that the fluid comes from: monotone, with a numerical diffusion `|v| h / 2`.
    `order=3` takes the parabola with the averages of two cells upstream and one downstream (the linear scheme of
    κ = 1/3; QUICK's relative): third order on uniform grids, small overshoots at jumps. Next to a wall, or to a cell
    that is not active, where the second cell upstream is missing, it falls back to linear interpolation.

    Both are linear in the field. van Leer 1985, "Upwind-difference methods for aerodynamic problems".
    """

    order: Literal[1, 3] = eqx.field(static=True)

    def __init__(self, order: Literal[1, 3] = 1):
        """The order of accuracy.

        **Arguments:**

        - `order`: 1 or 3.

        **Raises:**

        `ValueError` for another one.
        """
        if order not in (1, 3):
            message = f"`Upwind(order=...)` is 1 or 3, got {order}."
            raise ValueError(message)
        self.order = order

    @property
    def upwinded_outflow(self) -> bool:
        """Yes."""
        return True

    def coefficients(self, grid: AbstractGrid, axis: int, periodic: bool, velocity: Coefficient) -> FaceCoefficients:
        """Upwinded coefficients.

        With `v⁺ = max(v, 0)`, `v⁻ = min(v, 0)`, and `g` the jumps across the faces:

        u_f = u_j + β g_j + α g_{j-1} where `v > 0`,   u_f = u_{j+1} - β' g_j - α' g_{j+1} where `v < 0`.
        """
        forward, backward = jnp.maximum(velocity, 0.0), jnp.minimum(velocity, 0.0)
        if self.order == 1:
            return FaceCoefficients(exchange=-backward, transport=velocity)
        alpha, beta, alpha_back, beta_back = (
            values.astype(velocity.dtype) for values in _parabola(grid, axis, periodic)
        )
        return FaceCoefficients(
            exchange=-(forward * beta + backward * (1.0 - beta_back)),
            transport=velocity,
            upstream=forward * alpha,
            downstream=-backward * alpha_back,
        )


def _like(values: np.ndarray, grid: AbstractGrid, axis: int, like: Coefficient) -> np.ndarray:
    return grid.along(axis, values).astype(like.dtype)


def _midpoint_fraction(grid: AbstractGrid, axis: int, periodic: bool) -> np.ndarray:
    widths = grid.widths(axis)
    fraction = widths / (widths + np.roll(widths, -1))
    return fraction if periodic else np.where(np.arange(len(widths)) < len(widths) - 1, fraction, 0.0)


def _parabola(grid: AbstractGrid, axis: int, periodic: bool) -> tuple[np.ndarray, ...]:
    """`α, β` of the face above each cell, looking down, and `α', β'`, looking up.

    The parabola with the averages of cells U, C, D (upstream, the face's own, downstream) has on the face between C and
    D the value `u_C + β (u_D - u_C) + α (u_C - u_U)`, `β = h_C (h_U + h_C) / ((h_C + h_D) H)`,
    `α = h_C h_D / ((h_U + h_C) H)`, `H = h_U + h_C + h_D` (1/3 and 1/6 on a uniform grid).
    """
    widths = grid.along(axis, grid.widths(axis))
    below, above, above2 = (np.roll(widths, offset, axis) for offset in (1, -1, -2))

    def weights(upstream, centre, downstream):
        total = upstream + centre + downstream
        beta = centre * (upstream + centre) / ((centre + downstream) * total)
        return centre * downstream / ((upstream + centre) * total), beta

    alpha, beta = weights(below, widths, above)
    alpha_back, beta_back = weights(above2, above, widths)
    # Where the face between the two cells upstream is closed, the second one is not there: linear interpolation.
    faces = open_faces(grid, axis, periodic)
    seen_below, seen_above = np.roll(faces, 1, axis), np.roll(faces, -1, axis)
    linear = widths / (widths + above)
    return (
        np.where(seen_below, alpha, 0.0),
        np.where(seen_below, beta, linear),
        np.where(seen_above, alpha_back, 0.0),
        np.where(seen_above, beta_back, 1.0 - linear),
    )
