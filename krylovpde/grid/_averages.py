"""Averages over regions, as a linear map."""

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Int

from .._custom_types import ArrayOrNumPy
from .._parameter import is_concrete
from ._base import AbstractGrid
from ._radial import RadialGrid
from ._rows import AbstractRows, Rows, Table, as_table, default_dtype, rows_of_table


class Averages(AbstractRows):
    r"""What an instrument sees that averages over a region: `1/|R| ∫_R u dV` for each of several regions.

    Unknowns are cell averages, so a region of whole cells is averaged exactly; a box may cut cells, each of which
    counts with the part of its volume that lies inside (`Averages.over_boxes`). Cells that are not active do not count.

    A linear operator from fields of `grid.shape` to arrays of `(n,)`, usable as `observe=` of [`krylovpde.solve`][]. It
    knows its transpose. It stores as many cells per region as the largest region has: for many regions of very
    different sizes make one object for the large and one for the small ones.

    !!! Example

        ```python
        zones = np.where(x < 0.5, 0, 1)                      # labels of two zones
        averages = kp.Averages(grid, zones)
        boxes = kp.Averages.over_boxes(grid, [[0.1, 0.1]], [[0.4, 0.3]])
        ```
    """

    grid: AbstractGrid
    table: Table = eqx.field(static=True)
    dtype: Any = eqx.field(static=True)

    def __init__(
        self,
        grid: AbstractGrid,
        regions: Bool[ArrayOrNumPy, "n ..."] | Int[ArrayOrNumPy, "..."],
        *,
        dtype: Any = None,
    ):
        """Regions of whole cells.

        **Arguments:**

        - `grid`: where the field lives.
        - `regions`: booleans of shape `(n, *grid.shape)`, one mask per region; regions may share cells. Or integers of
            `grid.shape`, the labels 0 to n - 1 of regions that do not; a negative label belongs to none. Static.
        - `dtype`: of the input structure that lineax asks for, as for [`krylovpde.Sensors`][].

        **Raises:**

        `ValueError` for regions of another shape or without an active cell; `TypeError` for traced ones and for
        anything else than booleans and integers.
        """
        masks = _as_masks(grid, regions)
        volumes = grid.cell_volumes.reshape(-1)
        self.grid = grid
        self.table = as_table([_shares(mask.reshape(-1) * volumes, index) for index, mask in enumerate(masks)])
        self.dtype = default_dtype(dtype)

    @classmethod
    def over_boxes(cls, grid: AbstractGrid, lower: Any, upper: Any, *, dtype: Any = None) -> "Averages":
        """Boxes, which may cut cells.

        **Arguments:**

        - `grid`: where the field lives.
        - `lower`, `upper`: the corners, arrays of shape `(n, dimension)`; on a one-dimensional grid `(n,)` will do. On
            a radial grid the boxes are annuli or shells. What lies outside of the grid does not count.
        - `dtype`: as above.

        **Returns:** an `Averages`.

        **Raises:** `ValueError` for corners of another shape or in the wrong order, and boxes without an active cell.
        """
        corners = [_as_corners(grid, points, name) for points, name in ((lower, "lower"), (upper, "upper"))]
        if corners[0].shape != corners[1].shape or not np.all(corners[0] < corners[1]):
            message = f"`Averages.over_boxes`: need lower < upper for every box, got {corners[0]} and {corners[1]}."
            raise ValueError(message)
        parts = []
        for index, (low, high) in enumerate(zip(*corners, strict=True)):
            volumes = np.ones(())
            for axis in range(grid.ndim):
                volumes = volumes * grid.along(axis, _measures_between(grid, axis, low[axis], high[axis]))
            parts.append(_shares((volumes * grid.active).reshape(-1), index))
        averages = cls(grid, np.asarray(grid.active)[None], dtype=dtype)
        object.__setattr__(averages, "table", as_table(parts))
        return averages

    @property
    def num_rows(self) -> int:
        """One number per region."""
        return self.table.num_rows

    def rows(self) -> Rows:
        """The cells of each region, and their shares of its volume."""
        return rows_of_table(self.table, self.grid.shape)


def _as_masks(grid: AbstractGrid, regions: Any) -> np.ndarray:
    if not is_concrete(regions):
        message = "`Averages(regions=...)`: regions are static, but were traced by JAX. Make them outside of jit."
        raise TypeError(message)
    array = np.asarray(regions)
    if array.dtype == np.bool_ and array.ndim == grid.ndim + 1 and array.shape[1:] == grid.shape and len(array) > 0:
        return array
    if np.issubdtype(array.dtype, np.integer) and array.shape == grid.shape and array.max() >= 0:
        return np.stack([array == label for label in range(int(array.max()) + 1)])
    message = (
        f"`Averages(regions=...)` takes booleans of shape (n, {', '.join(map(str, grid.shape))}) or integer labels of "
        f"shape {grid.shape} that are not all negative, got {array.dtype} of shape {array.shape}."
    )
    raise ValueError(message) if array.dtype.kind in "bi" else TypeError(message)


def _shares(volumes: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
    cells = np.flatnonzero(volumes)
    if len(cells) == 0:
        message = f"`Averages`: region number {index} has no active cell."
        raise ValueError(message)
    return cells, volumes[cells] / np.sum(volumes)


def _as_corners(grid: AbstractGrid, points: Any, name: str) -> np.ndarray:
    if not is_concrete(points):
        message = f"`Averages.over_boxes({name}=...)` is static, but was traced by JAX. Make it outside of jit."
        raise TypeError(message)
    array = np.array(points, np.float64)
    if array.ndim == 1 and grid.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[1] != grid.ndim or len(array) == 0:
        message = f"`Averages.over_boxes({name}=...)` must have shape (n, {grid.ndim}) with n > 0, got {array.shape}."
        raise ValueError(message)
    return array


def _measures_between(grid: AbstractGrid, axis: int, low: float, high: float) -> np.ndarray:
    """The measure of each cell's part between two planes (up to a factor): `x₂ - x₁`, in a radius `r₂ⁿ - r₁ⁿ`."""
    power = grid.dimension if isinstance(grid, RadialGrid) else 1
    inside = np.clip(grid.edges[axis], low, high) ** power
    return np.diff(inside)
