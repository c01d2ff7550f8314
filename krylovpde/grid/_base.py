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
from jaxtyping import Array, Float, Inexact, Num

from .._custom_types import ArrayOrNumPy


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
    def centres(self) -> tuple[Float[np.ndarray, " cells"], ...]:
        """The midpoints of the cells along each axis."""
        return tuple((edges[1:] + edges[:-1]) / 2 for edges in self.edges)

    @property
    def coordinates(self) -> tuple[Float[np.ndarray, "..."], ...]:
        """The coordinates of the cell centres: one array of `grid.shape` per axis."""
        return _coordinates(self)

    @property
    def cell_volumes(self) -> Float[np.ndarray, "..."]:
        """The volumes (areas, lengths) of the cells, an array of `grid.shape`."""
        return cell_volumes(self, np.dtype(np.float64))

    def widths(self, axis: int) -> Float[np.ndarray, " cells"]:
        """The widths of the cells along `axis`."""
        return np.diff(self.edges[axis])

    def is_uniform(self, axis: int) -> bool:
        """Whether all cells along `axis` have one width and one measure."""
        measures = self.cell_measures(axis)
        return bool(np.all(measures == measures[0]))

    def integrate(self, u: Inexact[ArrayOrNumPy, "..."]) -> Inexact[Array, ""]:
        """`∫ u dV = Σ_i u_i V_i`, in the precision of `u`."""
        u = self.check_field(u, "integrate(u)")
        return jnp.sum(u * self._volumes_like(u))

    def inner(self, u: Inexact[ArrayOrNumPy, "..."], w: Inexact[ArrayOrNumPy, "..."]) -> Inexact[Array, ""]:
        """`∫ conj(u) w dV`, conjugate-linear in the first argument."""
        u, w = self.check_field(u, "inner(u, w)"), self.check_field(w, "inner(u, w)")
        return jnp.sum(jnp.conj(u) * self._volumes_like(u) * w)

    def norm(self, u: Inexact[ArrayOrNumPy, "..."]) -> Inexact[Array, ""]:
        """`sqrt(∫ |u|² dV)`; its derivative at `u = 0` is taken to be zero."""
        u = self.check_field(u, "norm(u)")
        square = jnp.sum((u.real**2 + u.imag**2 if jnp.iscomplexobj(u) else u**2) * self._volumes_like(u.real))
        positive = square > 0.0
        return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, jnp.ones_like(square))), square)

    def gradient(self, u: Inexact[ArrayOrNumPy, "..."]) -> tuple[Inexact[Array, "..."], ...]:
        """`∂u/∂x_i` at the cell centres, one array of `grid.shape` per axis, of second order up to the boundary.

        Inside, the derivative of the parabola through a cell and its two neighbours; in the outermost cells, that of
        the parabola through the three nearest cells (the line, if there are only two; zero if there is one). Boundary
        conditions are not used.
        """
        u = self.check_field(u, "gradient(u)")
        return tuple(_axis_gradient(u, axis, self.centres[axis]) for axis in range(self.ndim))

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

    def _volumes_like(self, u: Array) -> Array:
        # The cast of a real number to complex costs nothing beside the reduction that follows.
        return jnp.asarray(cell_volumes(self, np.finfo(u.dtype).dtype)).astype(u.dtype)


@ft.lru_cache(maxsize=64)
def cell_volumes(grid: AbstractGrid, dtype: np.dtype) -> np.ndarray:
    """The cell volumes in a given precision: the same read-only array at every call.

    The array of a uniform grid is one number, broadcast: JAX embeds it in a program as that number.
    """
    volumes = np.ones((), np.float64)
    for axis in range(grid.ndim):
        measures = grid.cell_measures(axis)
        volumes = volumes * grid.along(axis, measures[:1] if grid.is_uniform(axis) else measures)
    return np.broadcast_to(volumes.astype(dtype), grid.shape)


@ft.lru_cache(maxsize=64)
def _coordinates(grid: AbstractGrid) -> tuple[np.ndarray, ...]:
    arrays = np.meshgrid(*grid.centres, indexing="ij")
    for array in arrays:
        array.flags.writeable = False
    return tuple(arrays)


def _axis_gradient(u: Array, axis: int, centres: np.ndarray) -> Array:
    if u.shape[axis] == 1:
        return jnp.zeros_like(u)
    shape = [-1 if i == axis else 1 for i in range(u.ndim)]

    def constant(values: np.ndarray) -> Array:
        return jnp.asarray(values.reshape(shape)).astype(u.dtype)

    def cut(values: Array, start: int | None, stop: int | None) -> Array:
        return jax.lax.slice_in_dim(values, start, stop, axis=axis)

    distances = np.diff(centres)
    slopes = jnp.diff(u, axis=axis) / constant(distances)
    if u.shape[axis] == 2:
        return jnp.concatenate([slopes, slopes], axis)
    # The slope of a parabola is linear: interpolate it between the midpoints, extrapolate it to the outer centres.
    left, right = distances[:-1], distances[1:]
    inside = cut(slopes, 0, -1) * constant(right / (left + right)) + cut(slopes, 1, None) * constant(
        left / (left + right)
    )
    first, second = cut(slopes, 0, 1), cut(slopes, 1, 2)
    first = first + constant(left[:1] / (left[:1] + right[:1])) * (first - second)
    last, second = cut(slopes, -1, None), cut(slopes, -2, -1)
    last = last + constant(right[-1:] / (left[-1:] + right[-1:])) * (last - second)
    return jnp.concatenate([first, inside, last], axis)
