"""What crosses the outer faces: a part linear in the outermost cell, and a part that the boundary value gives.

With `u` the value of the outermost cell, `u_b` that on the face, `T = diffusivity / (h/2)` the conductance between them
and `w` the velocity into the domain, per unit area

    inflow = T (u_b - u) + w u_b = source - sink u .

Robin's `alpha u_b + beta T (u_b - u) = value` gives `u_b = (value + beta T u) / (alpha + beta T)`; Dirichlet is
`alpha, beta = 1, 0` and Neumann `0, 1`. Both parts are made as fields that a mask confines to the outermost cells: a
product, which is sharded as the field is, instead of slices, which are not. Where a grid has cells that are not active,
the same holds for the faces beside them: walls in the midst of the field.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..grid import AbstractCondition, AbstractGrid, Dirichlet, Neumann, Periodic, Robin, TotalFlux
from ._kernel import Coefficient
from ._precision import cast


class Wall(NamedTuple):
    """The inflow per unit volume through one side of one axis: `source - sink u`, each `None` where it is zero."""

    sink: Coefficient | None
    source: Coefficient | None


def wall(
    condition: AbstractCondition,
    grid: AbstractGrid,
    axis: int,
    side: int,
    diffusivity: Coefficient,
    velocity: Coefficient | None = None,
    upwinded_outflow: bool = False,
    edge: np.ndarray | None = None,
) -> Wall:
    """The two parts of the inflow through one side.

    **Arguments:**

    - `condition`: of this side.
    - `grid`, `axis`, `side`: which one; `side` is 0 for the lower, -1 for the upper.
    - `diffusivity`: in the cells; broadcasts to a field.
    - `velocity`: along the axis in the cells, or `None`.
    - `upwinded_outflow`: whether a fluid that leaves carries the value of the outermost cell, not that of the face.
    - `edge`: the cells that have an inner wall on this side; `None` for the outer one.

    **Returns:**

    A `Wall`, whose arrays broadcast to a field and are zero outside of the outermost cells.
    """
    if isinstance(condition, Periodic):
        return Wall(None, None)
    precision = np.finfo(diffusivity.dtype).dtype
    if edge is None:
        factor = _area_over_volume(grid, axis, side, precision)
        half_width = _half_width(grid, axis, side, precision)
    else:
        factor = _area_over_volume_inside(grid, axis, side, edge, precision)
        half_width = grid.along(axis, grid.widths(axis) / 2).astype(precision)
    values = _values(condition, axis, grid.ndim, precision, edge)
    if isinstance(condition, TotalFlux):
        return Wall(None, _times(factor, values["value"]))
    diffusive, face = _diffusive_inflow(condition, values, diffusivity / half_width)
    if velocity is None:
        return Wall(_times(factor, diffusive.sink), _times(factor, diffusive.source))
    advective = _advective_inflow(face, velocity if side == 0 else -velocity, upwinded_outflow)
    return Wall(
        _times(factor, _plus(diffusive.sink, advective.sink)), _times(factor, _plus(diffusive.source, advective.source))
    )


def face_value(
    condition: AbstractCondition, grid: AbstractGrid, axis: int, side: int, diffusivity: Coefficient, inner: Coefficient
) -> Coefficient:
    """`u_b` on one side, where the outermost cells have the values `inner`; nothing is transported.

    `diffusivity` and `inner` belong to the outermost cells, with the axis kept.
    """
    precision = np.finfo(diffusivity.dtype).dtype
    values = _values(condition, axis, grid.ndim, precision)
    _, face = _diffusive_inflow(condition, values, diffusivity / _half_width(grid, axis, side, precision))
    linear = jnp.zeros_like(inner) if face.sink is None else -face.sink * inner
    return linear if face.source is None else linear + face.source


def _diffusive_inflow(condition, values: dict[str, Any], conductance: Coefficient) -> tuple[Wall, Wall]:
    """The inflow `T (u_b - u) = source - sink u`, and the face value `u_b = source + (-sink) u` in the same form."""
    if isinstance(condition, Neumann):
        flux = values["flux"]
        minus_one = -np.ones((1,) * conductance.ndim, np.finfo(conductance.dtype).dtype)
        return Wall(None, flux), Wall(minus_one, None if flux is None else flux / conductance)
    if isinstance(condition, Dirichlet):
        value = values["value"]
        return Wall(conductance, None if value is None else conductance * value), Wall(None, value)
    if isinstance(condition, Robin):
        alpha, beta, value = values["alpha"], values["beta"], values["value"]
        total = alpha + beta * conductance
        inflow = Wall(conductance * alpha / total, None if value is None else conductance * value / total)
        return inflow, Wall(-beta * conductance / total, None if value is None else value / total)
    message = f"no wall for {type(condition).__name__}"
    raise TypeError(message)


def _advective_inflow(face: Wall, inward: Coefficient, upwinded_outflow: bool) -> Wall:
    """`w u_b`, with `u_b = u` for `w < 0` where the outflow is upwinded."""
    if not upwinded_outflow:
        return Wall(_times(inward, face.sink), _times(inward, face.source))
    entering, leaving = jnp.maximum(inward, 0.0), jnp.minimum(inward, 0.0)
    return Wall(_plus(_times(entering, face.sink), -leaving), _times(entering, face.source))


def _values(
    condition: AbstractCondition, axis: int, ndim: int, precision: np.dtype, edge: np.ndarray | None = None
) -> dict[str, Any]:
    """The numbers of a condition, shaped to broadcast against a field."""
    return {
        name: None if value is None else _over_face(cast(value, precision), axis, ndim, edge)
        for name, value in vars(condition).items()
    }


def _half_width(grid: AbstractGrid, axis: int, side: int, precision: np.dtype) -> np.ndarray:
    return np.full((1,) * grid.ndim, grid.widths(axis)[side] / 2, precision)


def _area_over_volume(grid: AbstractGrid, axis: int, side: int, precision: np.dtype) -> np.ndarray:
    """`area / cell measure` in the outermost cells, zero in the others."""
    factor = np.zeros(grid.shape[axis])
    factor[side] = grid.face_areas(axis)[side] / grid.cell_measures(axis)[side]
    factor = grid.along(axis, factor).astype(precision)
    return factor * grid.active if grid.is_masked else factor


def _area_over_volume_inside(grid: AbstractGrid, axis: int, side: int, edge: np.ndarray, precision) -> np.ndarray:
    """`area / cell measure` in the cells with an inner wall on one side, zero in the others."""
    areas = grid.face_areas(axis)[:-1] if side == 0 else grid.face_areas(axis)[1:]
    return grid.along(axis, areas / grid.cell_measures(axis)).astype(precision) * edge


def _over_face(value: Array, axis: int, ndim: int, edge: np.ndarray | None) -> Array:
    if value.ndim == 0 and ndim > 0:
        return value
    # Away from the walls a field of values is not read.
    return jnp.expand_dims(value, axis) if edge is None else jnp.where(jnp.asarray(edge), value, 1.0)


def _times(factor: Coefficient | None, value: Coefficient | None) -> Coefficient | None:
    return None if factor is None or value is None else factor * value


def _plus(first: Coefficient | None, second: Coefficient | None) -> Coefficient | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second
