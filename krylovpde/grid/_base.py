"""What every grid answers, from the geometry of its axes alone.

Finite volumes on an orthogonal grid need four lists per axis: the edges of the cells, the areas of the faces between
them, the measures of the cells and the centres where the unknowns live. A Cartesian axis has areas 1 and measures that
are widths; a radial axis has areas and measures of circles or spheres. Everything else follows here.

Geometry is NumPy in double precision: concrete also while JAX traces. It is cast where it meets a field.
"""

import abc
import functools as ft

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Inexact, Num

from .._custom_types import ArrayOrNumPy
from ._mask import only_active, open_faces


class AbstractGrid(eqx.Module):
    """Where unknowns live: one number per cell of an orthogonal grid, fields of shape `grid.shape`, axes in order `ij`.

    Grids are static and hashable: no gradient reaches them and each one is compiled for. A grid is a pytree without
    leaves, so it may be a field of any Equinox module.
    """

    shape: eqx.AbstractVar[tuple[int, ...]]

    @property
    @abc.abstractmethod
    def edges(self) -> tuple[Float[np.ndarray, " edges"], ...]:
        """The edges of the cells along each axis, increasing: `shape[axis] + 1` numbers."""

    @abc.abstractmethod
    def face_areas(self, axis: int) -> Float[np.ndarray, " edges"]:
        """The areas of the faces across `axis`, up to a factor that `cell_measures` of the other axes supply."""

    @abc.abstractmethod
    def cell_measures(self, axis: int) -> Float[np.ndarray, " cells"]:
        """The factors along `axis` of the cell volumes."""

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def active(self) -> Bool[np.ndarray, "..."]:
        """Which cells belong to the domain: booleans of `grid.shape`."""
        return np.broadcast_to(np.True_, self.shape)

    @property
    def is_masked(self) -> bool:
        """Whether there are cells that do not belong to the domain."""
        return False

    @property
    def centres(self) -> tuple[Float[np.ndarray, " cells"], ...]:
        """The midpoints of the cells along each axis."""
        return tuple((edges[1:] + edges[:-1]) / 2 for edges in self.edges)

    @property
    def coordinates(self) -> tuple[Float[np.ndarray, "..."], ...]:
        """The coordinates of the cell centres: one array of `grid.shape` per axis."""
        return _coordinates(self)

    @property
    def cell_volumes(self) -> Float[np.ndarray, "..."]:
        """The volumes (areas, lengths) of the cells, an array of `grid.shape`; zero in cells that are not active."""
        return _active_volumes(self, np.dtype(np.float64))

    def widths(self, axis: int) -> Float[np.ndarray, " cells"]:
        """The widths of the cells along `axis`."""
        return np.diff(self.edges[axis])

    def is_uniform(self, axis: int) -> bool:
        """Whether all cells along `axis` have one width and one measure."""
        measures = self.cell_measures(axis)
        return bool(np.all(measures == measures[0]))

    def integrate(self, u: Inexact[ArrayOrNumPy, "..."]) -> Inexact[Array, ""]:
        """`∫ u dV = Σ_i u_i V_i`, in the precision of `u`."""
        u = self._active_part(u, "integrate(u)")
        return jnp.sum(u * self._volumes_like(u))

    def inner(self, u: Inexact[ArrayOrNumPy, "..."], w: Inexact[ArrayOrNumPy, "..."]) -> Inexact[Array, ""]:
        """`∫ conj(u) w dV`, conjugate-linear in the first argument."""
        u, w = self._active_part(u, "inner(u, w)"), self._active_part(w, "inner(u, w)")
        return jnp.sum(jnp.conj(u) * self._volumes_like(u) * w)

    def norm(self, u: Inexact[ArrayOrNumPy, "..."]) -> Inexact[Array, ""]:
        """`sqrt(∫ |u|² dV)`; its derivative at `u = 0` is taken to be zero."""
        u = self._active_part(u, "norm(u)")
        square = jnp.sum((u.real**2 + u.imag**2 if jnp.iscomplexobj(u) else u**2) * self._volumes_like(u.real))
        positive = square > 0.0
        return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, jnp.ones_like(square))), square)

    def gradient(self, u: Inexact[ArrayOrNumPy, "..."]) -> tuple[Inexact[Array, "..."], ...]:
        """`∂u/∂x_i` at the cell centres, one array of `grid.shape` per axis, of second order up to the boundary.

        Inside, the derivative of the parabola through a cell and its two neighbours; in the outermost cells, that of
        the parabola through the three nearest cells (the line, if there are only two; zero if there is one), and so
        beside cells that are not active. Boundary conditions are not used.
        """
        u = self._active_part(u, "gradient(u)")
        return tuple(_axis_gradient(self, u, axis) for axis in range(self.ndim))

    def check_field(self, u: Num[ArrayOrNumPy, "..."], where: str) -> Array:
        """`u` as a JAX array, or a `ValueError` that tells the shape it should have."""
        u = jnp.asarray(u)
        if u.shape != self.shape:
            message = f"`{where}` takes a field of shape {self.shape} (grid.shape), got an array of shape {u.shape}."
            raise ValueError(message)
        return u

    def along(self, axis: int, values: np.ndarray) -> np.ndarray:
        """A list of numbers along one axis, shaped to broadcast against fields."""
        return values.reshape([-1 if i == axis else 1 for i in range(self.ndim)])

    def _active_part(self, u: Inexact[ArrayOrNumPy, "..."], where: str) -> Array:
        return only_active(self, self.check_field(u, where))

    def _volumes_like(self, u: Array) -> Array:
        # The cast of a real number to complex costs nothing beside the reduction that follows.
        return jnp.asarray(_active_volumes(self, np.finfo(u.dtype).dtype)).astype(u.dtype)


@ft.lru_cache(maxsize=64)
def cell_volumes(grid: AbstractGrid, dtype: np.dtype) -> np.ndarray:
    """The volumes of all cells, active or not, in a given precision: the same read-only array at every call.

    The weight of an inner product has to be positive in every cell; where a state is zero for good it does not matter.
    The array of a uniform grid is one number, broadcast: JAX embeds it in a program as that number.
    """
    volumes = np.ones((), np.float64)
    for axis in range(grid.ndim):
        measures = grid.cell_measures(axis)
        volumes = volumes * grid.along(axis, measures[:1] if grid.is_uniform(axis) else measures)
    return np.broadcast_to(volumes.astype(dtype), grid.shape)


@ft.lru_cache(maxsize=64)
def _active_volumes(grid: AbstractGrid, dtype: np.dtype) -> np.ndarray:
    volumes = cell_volumes(grid, dtype)
    if not grid.is_masked:
        return volumes
    volumes = np.where(grid.active, volumes, np.zeros((), dtype))
    volumes.flags.writeable = False
    return volumes


@ft.lru_cache(maxsize=64)
def _coordinates(grid: AbstractGrid) -> tuple[np.ndarray, ...]:
    arrays = np.meshgrid(*grid.centres, indexing="ij")
    for array in arrays:
        array.flags.writeable = False
    return tuple(arrays)


def _axis_gradient(grid: AbstractGrid, u: Array, axis: int) -> Array:
    size = u.shape[axis]
    if size == 1:
        return jnp.zeros_like(u)
    distances = np.diff(grid.centres[axis])
    slopes = jnp.diff(u, axis=axis) / jnp.asarray(grid.along(axis, distances)).astype(u.dtype)
    total = jnp.zeros_like(u)
    for offset, weights in _slope_weights(grid, axis).items():
        # The slope across face `j + offset`, at cell `j`; weights are zero where there is no such face.
        before, after = max(-offset, 0), max(offset + 1, 0)
        start, stop = max(offset, 0), min(size - 1, size + offset)
        if stop <= start:
            continue
        widths = [(before, after) if i == axis else (0, 0) for i in range(u.ndim)]
        shifted = jnp.pad(jax.lax.slice_in_dim(slopes, start, stop, axis=axis), widths)
        total = total + jnp.asarray(weights).astype(u.dtype) * shifted
    return total


@ft.lru_cache(maxsize=64)
def _slope_weights(grid: AbstractGrid, axis: int) -> dict[int, np.ndarray]:
    """The derivative in cell `j` as a sum of the slopes across the faces `j - 2` to `j + 1` (`j`: above the cell).

    The slope of a parabola is linear: between open faces it is interpolated to the centre, where one side is closed it
    is extrapolated from the two nearest faces on the other, or taken from the nearest where there is no second one.
    """

    def shifted(values: np.ndarray, offset: int) -> np.ndarray:
        """`values[j + offset]`; what comes around the end is closed."""
        index = np.arange(values.shape[axis]) + offset
        inside = grid.along(axis, (index >= 0) & (index < values.shape[axis]))
        return np.where(inside, np.roll(values, -offset, axis), 0)

    gaps = grid.along(axis, np.append(np.diff(grid.centres[axis]), 1.0))
    is_open = open_faces(grid, axis, periodic=False)
    below2, below, above, above2 = (shifted(is_open, offset).astype(bool) for offset in (-2, -1, 0, 1))
    gap2_below, gap_below, gap_above, gap2_above = (shifted(gaps, offset) for offset in (-2, -1, 0, 1))
    between = gap_below + gap_above
    both_below = np.where(gap_below > 0, gap_below + gap2_below, 1.0)
    up = np.where(above & ~below & above2, gap_above / (gap_above + gap2_above), 0.0)
    down = np.where(below & ~above & below2, gap_below / both_below, 0.0)
    return {
        -2: -down,
        -1: np.where(below, np.where(above, gap_above / between, 1.0 + down), 0.0),
        0: np.where(above, np.where(below, gap_below / between, 1.0 + up), 0.0),
        1: -up,
    }
