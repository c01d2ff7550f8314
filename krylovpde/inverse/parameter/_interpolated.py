"""A coarse grid, seen on the fine one."""

import functools as ft
from typing import Any

import numpy as np
from jaxtyping import Array, ArrayLike, Float, Shaped

from ...functions._along import along_axes
from ...grid import AbstractGrid
from ._base import AbstractParameter, Raw, as_raw, check_shape, like, structure_of, value_of, with_value_of
from ._tensor import closest_coefficients


class Interpolated(AbstractParameter):
    """Values at the centres of a coarse grid, linear between them along every axis; constant beyond the outermost.

    Fewer unknowns, no detail finer than the coarse cells, and the values keep their limits: an interpolated `Bounded`
    field is bounded. `with_value` is the least-squares projection, weighted with the fine cells' volumes.

    **Arguments:**

    - `raw`: values of `coarse.shape`, or a parameter with such a value.
    - `coarse`: the grid of the unknowns. It may be graded, and need not fill the fine one.
    - `grid`: where the field lives.

    **Raises:** `ValueError` for a `raw` of another shape, grids with different numbers of axes, and a coarse grid with
    a mask.
    """

    raw: Raw
    coarse: AbstractGrid
    grid: AbstractGrid

    def __init__(self, raw: Any, coarse: AbstractGrid, grid: AbstractGrid):
        check_coarse(coarse, grid, "Interpolated")
        self.raw, self.coarse, self.grid = as_raw(raw), coarse, grid
        check_shape(self.raw, coarse.shape, "Interpolated", "coarse.shape")

    @property
    def value(self) -> Float[Array, "..."]:
        """A field of `grid.shape`."""
        return along_axes(_matrices(self.coarse, self.grid), value_of(self.raw))

    def with_value(self, value: Shaped[ArrayLike, "..."]) -> "Interpolated":
        before = value_of(self.raw)
        wanted = like(value, self.grid.shape, structure_of(self.raw).dtype, "Interpolated.with_value(value)")
        numbers = closest_coefficients(self.grid, _matrices(self.coarse, self.grid), before, wanted)
        return Interpolated(with_value_of(self.raw, numbers), self.coarse, self.grid)


def check_coarse(coarse: AbstractGrid, grid: AbstractGrid, name: str):
    """Say no to a coarse grid that does not fit."""
    if coarse.ndim != grid.ndim:
        message = f"{name}: the coarse grid has {coarse.ndim} axes and the fine one {grid.ndim}."
        raise ValueError(message)
    if coarse.is_masked:
        message = f"{name}: the coarse grid must not have a mask; the fine one may."
        raise ValueError(message)


@ft.lru_cache(maxsize=32)
def _matrices(coarse: AbstractGrid, grid: AbstractGrid) -> tuple[np.ndarray, ...]:
    return tuple(_linear_weights(x, nodes) for x, nodes in zip(grid.centres, coarse.centres, strict=True))


def _linear_weights(x: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """The matrix of piecewise linear interpolation: the hat functions of the nodes, at `x`."""
    return np.stack([np.interp(x, nodes, hat) for hat in np.eye(len(nodes))], axis=1)
