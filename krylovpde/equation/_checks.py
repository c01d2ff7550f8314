"""Checks of parameters that the equations share."""

from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np

from ..grid import AbstractGrid, as_parameter, known_false, only_active
from ._source import as_sources


def as_coefficient(value: Any, grid: AbstractGrid, where: str) -> jax.Array:
    """A number or an array of `grid.shape` as a leaf."""
    array = as_parameter(value, where)
    if array.shape not in ((), grid.shape):
        message = (
            f"`{where}` must be a number or an array of shape {grid.shape} (grid.shape), got shape {array.shape}. "
            "Coefficients belong to the cells."
        )
        raise ValueError(message)
    return array


def as_optional(value: Any, grid: AbstractGrid, where: str) -> jax.Array | None:
    """The same, with `None` for what is absent by construction."""
    return None if value is None else as_coefficient(value, grid, where)


def as_positive(value: Any, grid: AbstractGrid, where: str) -> jax.Array:
    """A coefficient that must be positive, checked where its numbers are known."""
    array = as_coefficient(value, grid, where)
    if jnp.iscomplexobj(array):
        message = f"`{where}` must be real and positive, got dtype {array.dtype}."
        raise ValueError(message)
    if known_false(lambda a: only_active(grid, a, 1.0) > 0.0, array):
        smallest = np.min(np.broadcast_to(array, grid.shape)[grid.active])
        message = f"`{where}` must be positive, its smallest value is {smallest:.6g}."
        raise ValueError(message)
    return array


def as_not_negative(value: Any, grid: AbstractGrid, where: str) -> jax.Array:
    """A coefficient that may be zero, but not negative, checked where its numbers are known."""
    array = as_coefficient(value, grid, where)
    if jnp.iscomplexobj(array):
        message = f"`{where}` must be real, got dtype {array.dtype}."
        raise ValueError(message)
    if known_false(lambda a: a >= 0.0, array):
        message = f"`{where}` must not be negative, its smallest value is {np.min(np.asarray(array)):.6g}."
        raise ValueError(message)
    return array


def as_diffusivity(value: Any, grid: AbstractGrid, where: str) -> jax.Array | tuple[jax.Array, ...]:
    """One positive coefficient, or a tuple with one per axis."""
    if not isinstance(value, tuple | list):
        return as_positive(value, grid, where)
    _check_count(value, grid, where)
    return tuple(as_positive(part, grid, f"{where}[{axis}]") for axis, part in enumerate(value))


def as_velocity(value: Any, grid: AbstractGrid, where: str) -> tuple[jax.Array, ...]:
    """One coefficient per axis; on a one-dimensional grid the bare component will do."""
    if not isinstance(value, tuple | list):
        if grid.ndim > 1:
            message = (
                f"`{where}` must be a tuple with one cell-centred component per axis ({grid.ndim} of them), got "
                f"{type(value).__name__}."
            )
            raise ValueError(message)
        value = (value,)
    _check_count(value, grid, where)
    return tuple(as_coefficient(part, grid, f"{where}[{axis}]") for axis, part in enumerate(value))


def as_source(value: Any, grid: AbstractGrid, where: str) -> Any:
    """A constant number or field, a `Source` or `PointSource`, or a tuple of these."""
    return as_sources(value, lambda part, where: as_optional(part, grid, where), where)


def as_breakpoints(value: Any, where: str) -> jax.Array | None:
    """The times at which a function jumps, in any order."""
    if value is None:
        return None
    times = as_parameter(value, where)
    if times.ndim != 1 or jnp.iscomplexobj(times):
        message = f"`{where}` must be a list of real times, got shape {times.shape} of {times.dtype}."
        raise ValueError(message)
    return times


def check_grid(grid: Any, where: str) -> None:
    """A `TypeError` for something that is not a grid."""
    if not isinstance(grid, AbstractGrid):
        message = f"`{where}(grid, ...)` takes a Grid or a RadialGrid, got {type(grid).__name__}."
        raise TypeError(message)


def check_operator(operator: Any, where: str) -> None:
    """A `TypeError` for something that is not a linear operator, a `ValueError` for one that is not square."""
    if not isinstance(operator, lx.AbstractLinearOperator):
        message = (
            f"`{where}` takes a lineax linear operator, got {type(operator).__name__}. For a SciPy sparse matrix use "
            "SparseOperator.from_scipy(matrix), for a dense one lineax.MatrixLinearOperator(matrix)."
        )
        raise TypeError(message)
    domain, range_ = operator.in_structure(), operator.out_structure()
    if jax.tree_util.tree_structure(domain) != jax.tree_util.tree_structure(range_) or [
        leaf.shape for leaf in jax.tree_util.tree_leaves(domain)
    ] != [leaf.shape for leaf in jax.tree_util.tree_leaves(range_)]:
        message = f"`{where}` needs a square operator: this one maps {domain} to {range_}."
        raise ValueError(message)


def _check_count(value: Any, grid: AbstractGrid, where: str) -> None:
    if len(value) != grid.ndim:
        message = f"`{where}` has {len(value)} components for a grid with {grid.ndim} axes; give one per axis."
        raise ValueError(message)
