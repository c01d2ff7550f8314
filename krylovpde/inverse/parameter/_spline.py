"""Smooth fields of few numbers."""

import functools as ft
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Shaped

from ..._parameter import as_inexact
from ...functions._along import along_axes
from ...grid import AbstractGrid
from ._base import AbstractParameter, Raw, as_raw, check_shape, like, structure_of, value_of, with_value_of
from ._interpolated import check_coarse
from ._tensor import closest_coefficients


class Spline(AbstractParameter):
    """A tensor product of B-splines: a polynomial in each coarse cell, with continuous derivatives between.

    The coefficients weigh bumps that add up to 1 and are not negative, so a field lies between its smallest and largest
    coefficient. `with_value` is the least-squares projection, weighted with the fine cells' volumes.

    **Arguments:**

    - `raw`: coefficients, `coarse.shape[axis] + degree` of them along each axis, or a parameter with such a value.
        `Spline.from_value` makes them from a field.
    - `coarse`: the grid whose edges are the knots. It may be graded, and has to reach over all centres of `grid`.
    - `grid`: where the field lives.
    - `degree`: of the polynomials. 3 has two continuous derivatives, 1 is linear between the *edges* of coarse cells.

    **Raises:** `ValueError` for a `raw` of another shape, grids with different numbers of axes, a coarse grid with a
    mask or one that does not reach over the fine one, and a degree below 1.
    """

    raw: Raw
    coarse: AbstractGrid
    grid: AbstractGrid
    degree: int = eqx.field(static=True)

    def __init__(self, raw: Any, coarse: AbstractGrid, grid: AbstractGrid, degree: int = 3):
        _check_spline(coarse, grid, degree)
        self.raw, self.coarse, self.grid, self.degree = as_raw(raw), coarse, grid, degree
        check_shape(self.raw, _shape(coarse, degree), "Spline", "coarse.shape plus degree along each axis")

    @classmethod
    def from_value(
        cls, value: Shaped[ArrayLike, "..."], coarse: AbstractGrid, grid: AbstractGrid, degree: int = 3
    ) -> "Spline":
        """The spline closest to `value`, a number or a field of `grid.shape`."""
        value = as_inexact(value)
        _check_spline(coarse, grid, degree)
        return cls(jnp.zeros(_shape(coarse, degree), value.dtype), coarse, grid, degree).with_value(value)

    @property
    def value(self) -> Float[Array, "..."]:
        """A field of `grid.shape`."""
        return along_axes(_matrices(self.coarse, self.grid, self.degree), value_of(self.raw))

    def with_value(self, value: Shaped[ArrayLike, "..."]) -> "Spline":
        before = value_of(self.raw)
        wanted = like(value, self.grid.shape, structure_of(self.raw).dtype, "Spline.with_value(value)")
        matrices = _matrices(self.coarse, self.grid, self.degree)
        numbers = closest_coefficients(self.grid, matrices, before, wanted)
        return Spline(with_value_of(self.raw, numbers), self.coarse, self.grid, self.degree)


def _check_spline(coarse: AbstractGrid, grid: AbstractGrid, degree: int):
    check_coarse(coarse, grid, "Spline")
    if degree < 1:
        message = f"Spline: degree must be at least 1, got {degree}."
        raise ValueError(message)
    for axis, (edges, centres) in enumerate(zip(coarse.edges, grid.centres, strict=True)):
        if centres[0] < edges[0] or centres[-1] > edges[-1]:
            message = (
                f"Spline: along axis {axis} the coarse grid reaches from {edges[0]} to {edges[-1]}, but there are "
                f"centres of the fine grid from {centres[0]} to {centres[-1]}."
            )
            raise ValueError(message)


def _shape(coarse: AbstractGrid, degree: int) -> tuple[int, ...]:
    return tuple(n + degree for n in coarse.shape)


@ft.lru_cache(maxsize=32)
def _matrices(coarse: AbstractGrid, grid: AbstractGrid, degree: int) -> tuple[np.ndarray, ...]:
    from scipy.interpolate import BSpline  # half of a second to import, for those who use it

    def matrix(edges: np.ndarray, centres: np.ndarray) -> np.ndarray:
        # The outermost knots stand degree + 1 times: the splines end at the walls, without conditions there.
        knots = np.concatenate([[edges[0]] * degree, edges, [edges[-1]] * degree])
        return BSpline.design_matrix(centres, knots, degree).toarray()

    return tuple(matrix(edges, centres) for edges, centres in zip(coarse.edges, grid.centres, strict=True))
