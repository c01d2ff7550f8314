"""Uniform and graded Cartesian grids."""

from collections.abc import Sequence
from typing import SupportsIndex

import equinox as eqx
import numpy as np

from .._custom_types import Mask, Number, Numbers
from ._base import AbstractGrid
from ._checks import as_edges
from ._mask import as_mask, unpack


class Grid(AbstractGrid):
    """A cell-centred Cartesian grid in one, two or three dimensions.

    The domain is the box between `lower` and `upper`, cut into `shape` cells of equal size;
    [`krylovpde.Grid.from_edges`][] makes one with cells of any widths. Unknowns are cell averages, taken to sit at the
    cell centres: the outermost ones lie half a cell inside the boundary.

    !!! Example

        ```python
        grid = kp.Grid(shape=(128, 64), lower=(0.0, 0.0), upper=(2.0, 1.0))
        x, y = grid.coordinates
        bump = jnp.exp(-((x - 0.5) ** 2 + (y - 0.5) ** 2) / 0.01)
        ```

    **Irregular domains.** With a mask `active` only the cells in which it is true belong to the domain; fields keep the
    shape of the box. States are zero in the other cells and stay zero, their volume is zero, and what coefficients and
    sources are there does not matter: nothing reads it, and its derivative is zero (so it may be NaN). Nothing passes
    the faces between active cells and others, unless `Boundary(inner=...)` says what is behind them. Curved edges
    become stairs of cells, and a solution converges with the first order of the cell size near them.

    !!! Example

        ```python
        x, y = kp.Grid((64, 64), (-1.0, -1.0), (1.0, 1.0)).coordinates
        disc = kp.Grid((64, 64), (-1.0, -1.0), (1.0, 1.0), active=x**2 + y**2 < 1.0)
        ```
    """

    shape: tuple[int, ...] = eqx.field(static=True)
    lower: tuple[float, ...] = eqx.field(static=True)
    upper: tuple[float, ...] = eqx.field(static=True)
    # The edges of graded axes, as the bytes of float64 numbers: compared and hashed at the cost of one memory scan.
    graded: tuple[bytes | None, ...] = eqx.field(static=True)
    mask: bytes | None = eqx.field(static=True)

    def __init__(
        self,
        shape: SupportsIndex | Sequence[SupportsIndex] | np.ndarray,
        lower: Number | Numbers,
        upper: Number | Numbers,
        *,
        active: Mask | None = None,
    ):
        """Cells of equal size.

        **Arguments:**

        - `shape`: the number of cells along each axis; one to three integers.
        - `lower`, `upper`: the corners of the domain, one number per axis.
        - `active`: booleans of shape `shape`, true in the cells of the domain; all of them, if left out.

        **Raises:**

        `ValueError` for lengths that differ, more than three axes, an axis without cells or with `upper <= lower`, a
        mask of another shape or without active cells; `TypeError` for a traced one: a grid is static.
        """
        self.shape = tuple(int(n) for n in np.atleast_1d(np.asarray(shape)))
        self.lower = tuple(float(x) for x in np.atleast_1d(np.asarray(lower)))
        self.upper = tuple(float(x) for x in np.atleast_1d(np.asarray(upper)))
        self.graded = (None,) * len(self.shape)
        if not len(self.shape) == len(self.lower) == len(self.upper) or len(self.shape) not in (1, 2, 3):
            message = (
                f"`Grid(shape, lower, upper)`: need one number per axis, for one to three axes; got shape={self.shape},"
                f" lower={self.lower}, upper={self.upper}."
            )
            raise ValueError(message)
        if min(self.shape) < 1:
            message = f"`Grid(shape=...)`: every axis needs at least one cell, got {self.shape}."
            raise ValueError(message)
        if not all(low < high and np.isfinite(high - low) for low, high in zip(self.lower, self.upper, strict=True)):
            message = f"`Grid(lower, upper)`: need lower < upper along every axis, got {self.lower} and {self.upper}."
            raise ValueError(message)
        self.mask = as_mask(active, self.shape, "Grid(active=...)")

    @classmethod
    def from_edges(cls, edges: Sequence[Numbers], *, active: Mask | None = None) -> "Grid":
        """A graded grid, from the edges of its cells.

        **Arguments:**

        - `edges`: one increasing list of numbers per axis, one number more than the axis has cells. Neighbouring widths
            should not differ by more than about a fifth, or the accuracy drops from second to first order there.
        - `active`: as for `Grid`.

        **Returns:**

        A `Grid`.

        **Raises:**

        `ValueError` for edges that do not increase, fewer than two of them, or more than three axes; `TypeError` for
        traced ones: a grid is static.
        """
        lists = [as_edges(axis_edges, f"Grid.from_edges(edges[{axis}])") for axis, axis_edges in enumerate(edges)]
        grid = cls(
            [len(x) - 1 for x in lists], [x[0] for x in lists], [x[-1] for x in lists], active=active
        )  # the constructor checks their number
        graded = tuple(None if _is_uniform(x) else x.tobytes() for x in lists)
        object.__setattr__(grid, "graded", graded)
        return grid

    def __hash__(self) -> int:
        return hash((self.shape, self.lower, self.upper, self.graded, self.mask))

    def __repr__(self) -> str:
        kind = "" if self.graded == (None,) * self.ndim else ", graded"
        part = f", active in {np.sum(self.active)} of {self.active.size} cells" if self.is_masked else ""
        return f"Grid(shape={self.shape}, lower={self.lower}, upper={self.upper}{kind}{part})"

    @property
    def active(self) -> np.ndarray:
        """Which cells belong to the domain: booleans of `grid.shape`."""
        return np.broadcast_to(np.True_, self.shape) if self.mask is None else unpack(self.mask, self.shape)

    @property
    def is_masked(self) -> bool:
        """Whether there are cells that do not belong to the domain."""
        return self.mask is not None

    @property
    def edges(self) -> tuple[np.ndarray, ...]:
        """The edges of the cells along each axis."""
        axes = zip(self.shape, self.lower, self.upper, self.graded, strict=True)
        return tuple(
            np.linspace(low, high, n + 1) if graded is None else np.frombuffer(graded) for n, low, high, graded in axes
        )

    def widths(self, axis: int) -> np.ndarray:
        """The widths of the cells along `axis`."""
        if self.graded[axis] is None:
            # One division, not differences of edges: the same number for every cell, to the last bit.
            return np.full(self.shape[axis], (self.upper[axis] - self.lower[axis]) / self.shape[axis])
        return np.diff(self.edges[axis])

    def face_areas(self, axis: int) -> np.ndarray:
        """Ones: the areas of Cartesian faces are the measures of the other axes."""
        return np.ones(self.shape[axis] + 1)

    def cell_measures(self, axis: int) -> np.ndarray:
        """The widths."""
        return self.widths(axis)


def _is_uniform(edges: np.ndarray) -> bool:
    even = np.linspace(edges[0], edges[-1], len(edges))
    return bool(np.all(np.abs(edges - even) <= 1e-13 * np.max(np.abs(edges))))
