"""The fluxes of a diffusivity that depends on the state, as the operator with the coefficients of one state."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Inexact

from ..grid import AbstractCondition, AbstractGrid, Neumann, Periodic, TotalFlux
from ..operator import FaceCoefficients, FluxOperator, Wall, conductance, face_value, following, pad, wall

Function = Callable[[Any], Any]


def frozen_diffusion(
    grid: AbstractGrid,
    diffusivity: Function,
    factors: tuple[Any, ...],
    conditions: Any,
    u: Inexact[Array, "..."],
    capacity: Array | None,
) -> tuple[FluxOperator, Array | None]:
    """`div(factor diffusivity(u) grad ·) / capacity`, and the inflow per volume that the boundary values give.

    **Arguments:**

    - `factors`: one per axis, a number, a field, or `None`; `conditions`: pairs per axis. All in the precision of `u`.
    """

    def kappa(values: Array) -> Array:
        return jnp.broadcast_to(jnp.asarray(diffusivity(values)), values.shape).astype(u.dtype)

    at_cells = kappa(u)
    faces, sinks, sources = [], [], []
    for axis, given in enumerate(factors):
        periodic = isinstance(conditions[axis][0], Periodic)
        factor = np.ones((), u.dtype) if given is None else given
        beside, at_beside = (_neighbour(values, axis, periodic) for values in (u, at_cells))
        mean = _simpson(at_cells, kappa(0.5 * (u + beside)), at_beside)
        exchange = conductance(grid, axis, periodic, factor) * mean
        faces.append(
            FaceCoefficients(exchange / float(grid.cell_measures(axis)[0]) if grid.is_uniform(axis) else exchange)
        )
        for condition, side in zip(conditions[axis], (0, -1), strict=True):
            inflow = _wall(grid, axis, side, condition, kappa, factor, u)
            sinks += [] if inflow.sink is None else [-jnp.asarray(inflow.sink)]
            sources += [] if inflow.source is None else [inflow.source]
    periodic_axes = tuple(isinstance(pair[0], Periodic) for pair in conditions)
    scale = None if capacity is None else 1.0 / capacity.reshape(capacity.shape or (1,) * grid.ndim)
    operator = FluxOperator(grid, tuple(faces), tuple(sinks), scale, periodic_axes)
    total = jnp.broadcast_to(sum(sources[1:], start=sources[0]), grid.shape) if sources else None
    return operator, total


def _simpson(first: Array, middle: Array, last: Array) -> Array:
    """The mean of a function over an interval from its ends and its middle."""
    return (first + 4.0 * middle + last) / 6.0


def _wall(
    grid: AbstractGrid, axis: int, side: int, condition: AbstractCondition, kappa: Function, factor: Any, u: Array
) -> Wall:
    """What passes one side, with the mean between the outermost cells and the wall."""
    if isinstance(condition, Periodic):
        return Wall(None, None)
    inner = _outermost(u, axis, side)
    scale = factor if factor.ndim == 0 else _outermost(factor, axis, side)
    at_inner = kappa(inner)
    if isinstance(condition, Neumann | TotalFlux):
        return wall(condition, grid, axis, side, scale * at_inner)
    # Robin's value on the wall depends on the conductance: that of the cell is near enough to take the mean with.
    outer = face_value(condition, grid, axis, side, scale * at_inner, inner)
    mean = _simpson(at_inner, kappa(0.5 * (inner + outer)), kappa(outer))
    return wall(condition, grid, axis, side, scale * mean)


def _outermost(values: Array, axis: int, side: int) -> Array:
    """The first or the last layer of cells, with the axis kept."""
    size = values.shape[axis]
    return lax.slice_in_dim(values, *((0, 1) if side == 0 else (size - 1, size)), axis=axis)


def _neighbour(values: Array, axis: int, periodic: bool) -> Array:
    """`values[j + 1]` at `j`. Behind the last cell of an axis that ends stands that cell again.

    That face is a wall and is not read, but a function that is not defined at zero would give derivatives of NaN there.
    """
    if periodic:
        return following(values, axis, True)
    return following(values, axis, False) + pad(_outermost(values, axis, -1), axis, values.shape[axis] - 1, 0)
