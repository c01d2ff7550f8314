"""Gradient and divergence between cells and faces, adjoint to each other."""

from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Inexact

from ..grid import (
    AbstractGrid,
    BoundaryLike,
    Neumann,
    Periodic,
    cell_volumes,
    only_active,
    open_faces,
    resolve_boundary,
)
from ._base import AbstractOperator
from ._kernel import following, preceding
from ._precision import apply_in_precision

FaceFields: TypeAlias = tuple[Inexact[Array, "..."], ...]


class Gradient(AbstractOperator):
    r"""`∂u/∂n` on the faces between cells, along each axis.

    Face fields have the shape of the grid: entry `j` belongs to the face between cells `j` and `j + 1`. The last entry
    along an axis is the wall, where the gradient is zero; on a periodic axis, the face between the last and the first
    cell. It is zero beside cells that are not active.

    `-Gradient` is the adjoint of [`krylovpde.Divergence`][], exactly, in the cell volumes and the face volumes (area ×
    distance of the centres): `<f, Gradient u>_faces = -<Divergence f, u>_cells`.
    """

    grid: AbstractGrid
    periodic: tuple[bool, ...] = eqx.field(static=True)
    dtype: Any = eqx.field(static=True)

    def __init__(self, grid: AbstractGrid, boundary: BoundaryLike = None, *, dtype: DTypeLike | None = None):
        """The gradient on a grid.

        **Arguments:**

        - `grid`: where.
        - `boundary`: which axes are periodic: `Neumann()` (if left out) or `Periodic()`, one or a tuple.
        - `dtype`: of the input that lineax asks for; the field's own precision is kept in any case.
        """
        self.grid, self.periodic, self.dtype = grid, _periodic_axes(grid, boundary, "Gradient"), _dtype(dtype)

    def mv(self, vector: Inexact[Array, "..."]) -> FaceFields:
        """A field in cells to a tuple of face fields, one per axis."""
        u = only_active(self.grid, self.grid.check_field(vector, "Gradient.mv(vector)"))
        return tuple(self._along(u, axis) for axis in range(self.grid.ndim))

    def _along(self, u: Array, axis: int) -> Array:
        def jump(reciprocal: Array, u: Array) -> Array:
            return (following(u, axis, self.periodic[axis]) - u) * reciprocal

        reciprocal = self.grid.along(axis, 1.0 / _distances(self.grid, axis))
        return apply_in_precision(jump, reciprocal * open_faces(self.grid, axis, self.periodic[axis]), u)

    def in_structure(self) -> jax.ShapeDtypeStruct:
        """A field."""
        return jax.ShapeDtypeStruct(self.grid.shape, self.dtype)

    def out_structure(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        """A tuple of face fields."""
        return (self.in_structure(),) * self.grid.ndim

    @property
    def weight(self) -> np.ndarray:
        """The cell volumes."""
        return cell_volumes(self.grid, np.finfo(self.dtype).dtype)

    @property
    def spectral_bound(self) -> None:
        """None: it maps between different spaces."""

    @property
    def tags(self) -> frozenset[object]:
        """None."""
        return frozenset()


class Divergence(AbstractOperator):
    r"""`div f` in the cells, of fluxes `f` per unit area on the faces between them.

    Face fields are those of [`krylovpde.Gradient`][]. Nothing passes the walls: the last entry along an axis that is
    not periodic is not read, nor is any beside a cell that is not active. So `Σ_i V_i (Divergence f)_i = 0` to
    rounding, and `Divergence @ Gradient` is the [`krylovpde.Laplacian`][] with `Neumann()`.
    """

    grid: AbstractGrid
    periodic: tuple[bool, ...] = eqx.field(static=True)
    dtype: Any = eqx.field(static=True)

    def __init__(self, grid: AbstractGrid, boundary: BoundaryLike = None, *, dtype: DTypeLike | None = None):
        """The divergence on a grid.

        **Arguments:**

        - `grid`: where.
        - `boundary`: which axes are periodic: `Neumann()` (if left out) or `Periodic()`, one or a tuple.
        - `dtype`: of the input that lineax asks for; the fields' own precision is kept in any case.
        """
        self.grid, self.periodic, self.dtype = grid, _periodic_axes(grid, boundary, "Divergence"), _dtype(dtype)

    def mv(self, vector: FaceFields) -> Inexact[Array, "..."]:
        """A tuple of face fields, one per axis, to a field in cells."""
        if not isinstance(vector, tuple) or len(vector) != self.grid.ndim:
            message = f"`Divergence.mv(vector)` takes a tuple of {self.grid.ndim} face fields, one per axis."
            raise ValueError(message)
        total = jnp.zeros(self.grid.shape)
        for axis, flux in enumerate(vector):
            flux = self.grid.check_field(flux, f"Divergence.mv(vector)[{axis}]")
            part = self._along(flux, axis)
            total = total + part if axis > 0 else part
        return total

    def _along(self, flux: Array, axis: int) -> Array:
        periodic = self.periodic[axis]

        def outflow(coefficients: tuple[Array, Array], flux: Array) -> Array:
            areas, reciprocal = coefficients
            through = areas * flux
            return (through - preceding(through, axis, periodic)) * reciprocal

        areas = self.grid.along(axis, self.grid.face_areas(axis)[1:]) * open_faces(self.grid, axis, periodic)
        reciprocal = self.grid.along(axis, 1.0 / self.grid.cell_measures(axis))
        return apply_in_precision(outflow, (areas, reciprocal), flux)

    def in_structure(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        """A tuple of face fields."""
        return (self.out_structure(),) * self.grid.ndim

    def out_structure(self) -> jax.ShapeDtypeStruct:
        """A field."""
        return jax.ShapeDtypeStruct(self.grid.shape, self.dtype)

    @property
    def weight(self) -> tuple[np.ndarray, ...]:
        """The face volumes, area × distance of the centres beside the face."""
        precision = np.finfo(self.dtype).dtype
        return tuple(face_volumes(self.grid, axis).astype(precision) for axis in range(self.grid.ndim))

    @property
    def spectral_bound(self) -> None:
        """None: it maps between different spaces."""

    @property
    def tags(self) -> frozenset[object]:
        """None."""
        return frozenset()


def face_volumes(grid: AbstractGrid, axis: int) -> Inexact[np.ndarray, "..."]:
    """The volume that belongs to each face across `axis`: its area times the distance of the centres beside it."""
    along = grid.along(axis, grid.face_areas(axis)[1:] * _distances(grid, axis))
    across = cell_volumes(grid, np.dtype(np.float64)) / grid.along(axis, grid.cell_measures(axis))
    return along * across


def _distances(grid: AbstractGrid, axis: int) -> np.ndarray:
    """From each centre to the next, around the end for the last one."""
    widths = grid.widths(axis)
    return (widths + np.roll(widths, -1)) / 2


def _periodic_axes(grid: AbstractGrid, boundary: BoundaryLike, where: str) -> tuple[bool, ...]:
    conditions = resolve_boundary(boundary, grid, (Neumann, Periodic), where)
    return tuple(isinstance(lower, Periodic) for lower, *_ in conditions)


def _dtype(dtype: DTypeLike | None) -> np.dtype:
    return np.dtype(jnp.result_type(float) if dtype is None else dtype)
