"""Integrals along straight lines, as a linear map."""

from typing import Any

import equinox as eqx
import numpy as np

from ._base import AbstractGrid
from ._mask import contains
from ._rows import AbstractRows, Rows, Table, as_table, default_dtype, rows_of_table
from ._sensors import as_points, corner_rows

# Gauss and Legendre's two points: exact for polynomials up to degree three.
_NODES = np.array([0.5 - 0.5 / np.sqrt(3.0), 0.5 + 0.5 / np.sqrt(3.0)])


class LineIntegrals(AbstractRows):
    r"""What rays see of a field: `∫ u ds` along straight segments, in the unit of the field times a length.

    The field between the cell centres is that of [`krylovpde.Sensors`][]: multilinear, constant beyond the outermost
    centres. Between two crossings of planes through centres it is a polynomial along the segment, of degree
    `dimension` at most, and is integrated exactly. Beside cells that are not active, where that field is no polynomial,
    the same two points per piece are a quadrature. Travel times (of a slowness), attenuation, and optical paths are
    such data.

    A linear operator from fields of `grid.shape` to arrays of `(n,)`, usable as `observe=` of [`krylovpde.solve`][]. It
    knows its transpose. On a radial grid segments lie along a radius.

    !!! Example

        ```python
        rays = kp.LineIntegrals(grid, starts=[[0.0, 0.2], [0.0, 0.8]], ends=[[1.0, 0.7], [1.0, 0.8]])
        ```
    """

    grid: AbstractGrid
    table: Table = eqx.field(static=True)
    dtype: Any = eqx.field(static=True)

    def __init__(self, grid: AbstractGrid, starts: Any, ends: Any, *, mean: bool = False, dtype: Any = None):
        """Segments between given points.

        **Arguments:**

        - `grid`: where the field lives.
        - `starts`, `ends`: arrays of shape `(n, dimension)`; on a one-dimensional grid `(n,)` will do. Static.
        - `mean`: whether the integral is divided by the length of the segment.
        - `dtype`: of the input structure that lineax asks for, as for [`krylovpde.Sensors`][].

        **Raises:**

        `ValueError` for points of another shape, not finite or outside the grid, segments without length, and segments
        that pass through cells that are not active; `TypeError` for traced points.
        """
        first = as_points(grid, starts, "LineIntegrals(starts=...)")
        last = as_points(grid, ends, "LineIntegrals(ends=...)")
        if first.shape != last.shape:
            message = f"`LineIntegrals(starts, ends)` must be equally many, got {len(first)} and {len(last)} points."
            raise ValueError(message)
        lengths = np.linalg.norm(last - first, axis=1)
        if np.any(lengths == 0.0):
            message = f"`LineIntegrals`: segment number {int(np.argmin(lengths))} has no length."
            raise ValueError(message)
        self.grid = grid
        factors = np.ones_like(lengths) if mean else lengths
        segments = zip(range(len(first)), first, last, factors, strict=True)
        self.table = as_table([_along(grid, *segment) for segment in segments])
        self.dtype = default_dtype(dtype)

    @property
    def num_rows(self) -> int:
        """One number per segment."""
        return self.table.num_rows

    def rows(self) -> Rows:
        """The cells that each segment sees."""
        return rows_of_table(self.table, self.grid.shape)


def _along(grid: AbstractGrid, number: int, start: np.ndarray, end: np.ndarray, factor: float) -> tuple:
    """Cells and weights of one segment: two points in each piece between planes through cell centres."""
    if not np.all(contains(grid, start + _middles(_cuts(grid.edges, start, end))[:, None] * (end - start))):
        message = f"`LineIntegrals`: segment number {number} passes through cells that are not active."
        raise ValueError(message)
    fractions = _cuts(grid.centres, start, end)
    pieces = np.diff(fractions)
    nodes = (fractions[:-1, None] + pieces[:, None] * _NODES).reshape(-1)
    indices, weights = corner_rows(grid, start + nodes[:, None] * (end - start))
    weights = weights * (0.5 * factor * np.repeat(pieces, 2))[:, None]
    return np.ravel_multi_index(indices, grid.shape).reshape(-1), weights.reshape(-1)


def _cuts(planes: tuple[np.ndarray, ...], start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Where a segment crosses planes across the axes, as fractions of its length; with its ends."""
    cuts = [np.array([0.0, 1.0])]
    for axis, positions in enumerate(planes):
        if start[axis] != end[axis]:
            cuts.append((positions - start[axis]) / (end[axis] - start[axis]))
    return np.unique(np.clip(np.concatenate(cuts), 0.0, 1.0))


def _middles(fractions: np.ndarray) -> np.ndarray:
    return (fractions[1:] + fractions[:-1]) / 2
