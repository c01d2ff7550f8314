"""Point sensors: multilinear interpolation between cell centres, as a linear map."""

import functools as ft
import itertools as it
from typing import Any

import equinox as eqx
import numpy as np

from .._parameter import is_concrete
from ._base import AbstractGrid
from ._mask import contains
from ._rows import AbstractRows, Rows, default_dtype


class Sensors(AbstractRows):
    """What point sensors see of a field: multilinear between cell centres, constant beyond the outermost ones.

    Beside cells that are not active the others' weights are made larger, so that constants are seen exactly.

    A linear operator from fields of `grid.shape` to arrays of `(n,)`; `sensors.mv(u)` or `sensors(u)`. It knows its
    transpose. The error of the interpolation is of second order in the cell size. On a radial grid points are radii.

    !!! Example

        ```python
        sensors = kp.Sensors(grid, [[0.25, 0.5], [0.75, 0.5]])
        solution = kp.solve(equation, initial, times, observe=sensors)   # value of shape (len(times), 2)
        ```
    """

    grid: AbstractGrid
    num_points: int = eqx.field(static=True)
    points_bytes: bytes = eqx.field(static=True)
    dtype: Any = eqx.field(static=True)

    def __init__(self, grid: AbstractGrid, points: Any, *, dtype: Any = None):
        """Sensors at given points.

        **Arguments:**

        - `grid`: where the field lives.
        - `points`: an array of shape `(n, dimension)`; on a one-dimensional grid `(n,)` will do. Static: known when
            traced.
        - `dtype`: of the input structure that lineax asks for; the default floating-point dtype if left out. The
            field's own precision is kept in any case.

        **Raises:**

        `ValueError` for points of another shape, not finite, outside the grid or in a cell that is not active;
        `TypeError` for traced points.
        """
        array = as_points(grid, points, "Sensors(points=...)")
        self.grid = grid
        self.num_points = len(array)
        self.points_bytes = array.tobytes()
        self.dtype = default_dtype(dtype)

    @property
    def points(self) -> np.ndarray:
        """The positions, of shape `(n, dimension)`."""
        return np.frombuffer(self.points_bytes).reshape(self.num_points, self.grid.ndim)

    @property
    def num_rows(self) -> int:
        """One number per point."""
        return self.num_points

    def rows(self) -> Rows:
        """The `2^dimension` cells around each point."""
        return _corner_rows(self.grid, self.num_points, self.points_bytes)


def as_points(grid: AbstractGrid, points: Any, where: str) -> np.ndarray:
    """Points in the grid as an array `(n, dimension)`, or an error that says which one is not."""
    if not is_concrete(points):
        message = f"`{where}`: the points are static, but were traced by JAX. Make them outside of jit."
        raise TypeError(message)
    array = np.array(points, dtype=np.float64)
    if array.ndim == 1 and grid.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[1] != grid.ndim or array.shape[0] == 0:
        message = f"`{where}` must have shape (n, {grid.ndim}) with n > 0, got {array.shape}."
        raise ValueError(message)
    outside = ~contains(grid, array)
    if np.any(outside):
        index = int(np.argmax(outside))
        lower, upper = (np.array([edges[end] for edges in grid.edges]) for end in (0, -1))
        message = (
            f"`{where}`: {int(outside.sum())} of {len(array)} points lie outside of the grid"
            f"{' or in cells that are not active' if grid.is_masked else ''}; the first is number {index} at "
            f"{array[index]}; the grid reaches from {lower} to {upper}."
        )
        raise ValueError(message)
    return array


@ft.lru_cache(maxsize=64)
def _corner_rows(grid: AbstractGrid, num_points: int, points_bytes: bytes) -> Rows:
    return corner_rows(grid, np.frombuffer(points_bytes).reshape(num_points, grid.ndim))


def corner_rows(grid: AbstractGrid, points: np.ndarray) -> Rows:
    """The cells around each point of an array `(n, dimension)`, and the weights of multilinear interpolation."""
    per_axis = [_bracket(points[:, axis], centres) for axis, centres in enumerate(grid.centres)]
    sides = np.array(list(it.product((0, 1), repeat=grid.ndim)))
    indices = tuple(per_axis[axis][0][:, sides[:, axis]] for axis in range(grid.ndim))
    weights = np.prod([per_axis[axis][1][:, sides[:, axis]] for axis in range(grid.ndim)], axis=0)
    if grid.is_masked:  # the products of a bracket's weights add up to 1 already, to rounding
        weights = weights * grid.active[indices]
        weights = weights / np.sum(weights, axis=1, keepdims=True)
    return Rows(indices, weights)


def _bracket(x: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two cells around each point, and their weights, `(n, 2)`; both the outermost cell beyond its centre."""
    last = len(centres) - 1
    left = np.clip(np.searchsorted(centres, x, side="right") - 1, 0, max(last - 1, 0))
    right = np.minimum(left + 1, last)
    gap = np.where(right > left, centres[right] - centres[left], 1.0)
    fraction = np.clip((x - centres[left]) / gap, 0.0, 1.0)
    return np.stack([left, right], axis=1).astype(np.int32), np.stack([1.0 - fraction, fraction], axis=1)
