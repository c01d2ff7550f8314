"""Point sensors: multilinear interpolation between cell centres, as a linear map."""

import functools as ft
import itertools as it
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Inexact

from .._parameter import is_concrete
from ._base import AbstractGrid
from ._mask import contains, only_active


class Sensors(lx.AbstractLinearOperator):
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
        if not is_concrete(points):
            message = "`Sensors(points=...)`: the points are static, but were traced by JAX. Make them outside of jit."
            raise TypeError(message)
        array = np.array(points, dtype=np.float64)
        if array.ndim == 1 and grid.ndim == 1:
            array = array[:, None]
        if array.ndim != 2 or array.shape[1] != grid.ndim or array.shape[0] == 0:
            message = f"`Sensors(points=...)` must have shape (n, {grid.ndim}) with n > 0, got {array.shape}."
            raise ValueError(message)
        outside = ~contains(grid, array)
        if np.any(outside):
            index = int(np.argmax(outside))
            lower, upper = (np.array([edges[end] for edges in grid.edges]) for end in (0, -1))
            message = (
                f"`Sensors(points=...)`: {int(outside.sum())} of {len(array)} points lie outside of the grid"
                f"{' or in cells that are not active' if grid.is_masked else ''}; the first is number {index} at "
                f"{array[index]}; the grid reaches from {lower} to {upper}."
            )
            raise ValueError(message)
        self.grid = grid
        self.num_points = len(array)
        self.points_bytes = array.tobytes()
        self.dtype = np.dtype(jnp.result_type(float) if dtype is None else dtype)

    @property
    def points(self) -> np.ndarray:
        """The positions, of shape `(n, dimension)`."""
        return np.frombuffer(self.points_bytes).reshape(self.num_points, self.grid.ndim)

    def __call__(self, u: Inexact[Array, "..."]) -> Inexact[Array, " n"]:
        """The same as `mv`."""
        return self.mv(u)

    def mv(self, vector: Inexact[Array, "..."]) -> Inexact[Array, " n"]:
        """The values at the points: a weighted sum of the `2^dimension` cells around each."""
        field = only_active(self.grid, self.grid.check_field(vector, "Sensors(u)"))
        # Indices per axis, not into a ravelled field: that would gather a sharded one.
        corners = [
            field[tuple(indices)] * jnp.asarray(weights).astype(field.dtype) for indices, weights in _corners(self)
        ]
        return sum(corners[1:], start=corners[0])

    def transpose(self) -> lx.AbstractLinearOperator:
        """From `(n,)` numbers to a field: spreads each over the cells around its point."""
        return SensorsTranspose(self)

    def as_matrix(self) -> Inexact[Array, "n cells"]:
        """The dense matrix, of shape `(n, number of cells)`."""
        return self.transpose().as_matrix().T

    def in_structure(self) -> jax.ShapeDtypeStruct:
        """A field."""
        return jax.ShapeDtypeStruct(self.grid.shape, self.dtype)

    def out_structure(self) -> jax.ShapeDtypeStruct:
        """One number per point."""
        return jax.ShapeDtypeStruct((self.num_points,), self.dtype)


class SensorsTranspose(lx.AbstractLinearOperator):
    """The transpose of [`krylovpde.Sensors`][]."""

    sensors: Sensors

    def mv(self, vector: Inexact[Array, " n"]) -> Inexact[Array, "..."]:
        """The field `Σ_p vector_p w_p`, with `w_p` the interpolation weights of point `p`."""
        field = jnp.zeros(self.sensors.grid.shape, vector.dtype)
        # A few numbers into a large field: the scatter is the cheap form here, and points may share cells.
        for indices, weights in _corners(self.sensors):
            field = field.at[tuple(indices)].add(vector * jnp.asarray(weights).astype(vector.dtype))
        return field

    def transpose(self) -> lx.AbstractLinearOperator:
        """The sensors."""
        return self.sensors

    def as_matrix(self) -> Inexact[Array, "cells n"]:
        """The dense matrix, of shape `(number of cells, n)`."""
        unit = jnp.eye(self.sensors.num_points, dtype=self.sensors.dtype)
        return jax.vmap(lambda row: self.mv(row).reshape(-1), out_axes=1)(unit)

    def in_structure(self) -> jax.ShapeDtypeStruct:
        """One number per point."""
        return self.sensors.out_structure()

    def out_structure(self) -> jax.ShapeDtypeStruct:
        """A field."""
        return self.sensors.in_structure()


@ft.lru_cache(maxsize=64)
def _corner_table(grid: AbstractGrid, num_points: int, points_bytes: bytes) -> tuple:
    points = np.frombuffer(points_bytes).reshape(num_points, grid.ndim)
    per_axis = [_bracket(points[:, axis], centres) for axis, centres in enumerate(grid.centres)]
    table = []
    for sides in it.product((0, 1), repeat=grid.ndim):
        indices = tuple(per_axis[axis][0][side] for axis, side in enumerate(sides))
        weights = np.prod([per_axis[axis][1][side] for axis, side in enumerate(sides)], axis=0)
        table.append((indices, weights * grid.active[indices]))
    total = sum(weights for _, weights in table)
    # The products of a bracket's weights add up to 1 already, to rounding.
    return tuple((indices, weights / total if grid.is_masked else weights) for indices, weights in table)


def _corners(sensors: Sensors) -> tuple:
    return _corner_table(sensors.grid, sensors.num_points, sensors.points_bytes)


def _bracket(x: np.ndarray, centres: np.ndarray) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """The two cells around each point, and their weights; both the outermost cell beyond its centre."""
    last = len(centres) - 1
    left = np.clip(np.searchsorted(centres, x, side="right") - 1, 0, max(last - 1, 0))
    right = np.minimum(left + 1, last)
    gap = np.where(right > left, centres[right] - centres[left], 1.0)
    fraction = np.clip((x - centres[left]) / gap, 0.0, 1.0)
    return (left.astype(np.int32), right.astype(np.int32)), (1.0 - fraction, fraction)


for _check in (
    lx.is_symmetric,
    lx.is_diagonal,
    lx.is_tridiagonal,
    lx.has_unit_diagonal,
    lx.is_lower_triangular,
    lx.is_upper_triangular,
    lx.is_positive_semidefinite,
    lx.is_negative_semidefinite,
):

    @_check.register(Sensors)
    @_check.register(SensorsTranspose)
    def _(operator):
        del operator
        return False


@lx.linearise.register(Sensors)
@lx.linearise.register(SensorsTranspose)
@lx.conj.register(Sensors)
@lx.conj.register(SensorsTranspose)
def _(operator):
    return operator


@lx.materialise.register(Sensors)
@lx.materialise.register(SensorsTranspose)
def _(operator):
    return lx.materialise(lx.FunctionLinearOperator(operator.mv, operator.in_structure()))


@lx.diagonal.register(Sensors)
@lx.diagonal.register(SensorsTranspose)
def _(operator):
    return jnp.diagonal(operator.as_matrix())


@lx.tridiagonal.register(Sensors)
@lx.tridiagonal.register(SensorsTranspose)
def _(operator):
    matrix = operator.as_matrix()
    return tuple(jnp.diagonal(matrix, offset=offset) for offset in (0, -1, 1))
