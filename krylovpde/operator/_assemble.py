"""From parameters of cells to coefficients of faces: done once, outside of every loop, and differentiable."""

from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array

from ..grid import (
    AbstractCondition,
    AbstractGrid,
    BoundaryLike,
    Dirichlet,
    Neumann,
    Periodic,
    Robin,
    inner_walls,
    only_active,
    open_faces,
    resolve_boundary,
)
from ._flux import FluxOperator
from ._kernel import Coefficient, FaceCoefficients, following
from ._scheme import AbstractScheme, Central
from ._walls import Wall, wall

# `(lower, upper)` per axis, or `(lower, upper, inner)`.
Conditions: TypeAlias = tuple[tuple[AbstractCondition, ...], ...]


class Transport(NamedTuple):
    """A velocity, one cell-centred component per axis, and the scheme that interpolates what it carries."""

    velocity: tuple[Coefficient, ...]
    scheme: AbstractScheme


def flux_operator(
    grid: AbstractGrid,
    diffusivity: tuple[Coefficient, ...],
    conditions: Conditions,
    *,
    transport: Transport | None = None,
    reaction: Coefficient | None = None,
    scale: Coefficient | None = None,
    bending: tuple[np.ndarray, ...] | None = None,
) -> FluxOperator:
    """`scale (div(diffusivity grad u) - div(velocity u) + reaction u)` with homogeneous boundary values.

    **Arguments:**

    - `grid`: where.
    - `diffusivity`: one per axis, numbers as arrays of shape `()` or arrays of `grid.shape`; all of one precision. A
        NumPy number is geometry: its coefficients are constants of the operator, no leaves.
    - `conditions`: `(lower, upper)` per axis, or `(lower, upper, inner)`.
    - `transport`, `reaction`, `scale`: in the same precision, or `None`.
    - `bending`: per axis a list with one share per cell, 1 for fourth order and 0 for second: on uniform grids, with
        `Dirichlet`, `Neumann` and `Periodic` conditions, and without transport. `None` is second order.

    Parameters have to be finite in cells that are not active, too (`only_active`). Faces beside these are closed, and
    the rows of `A` are zero there.

    **Returns:**

    The operator. Scalar parameters stay small: their face coefficients are not blown up to fields.
    """
    faces, sinks = [], []
    for axis, kappa in enumerate(diffusivity):
        periodic = isinstance(conditions[axis][0], Periodic)
        coefficients = _face_coefficients(grid, axis, periodic, kappa, transport)
        if grid.is_uniform(axis):
            coefficients = _divide(coefficients, float(grid.cell_measures(axis)[0]))
        if bending is not None:
            coefficients = _bent(coefficients, grid, axis, kappa, conditions[axis], bending[axis])
        faces.append(coefficients)
        sinks += [-part.sink for part in _axis_walls(grid, axis, kappa, conditions, transport) if part.sink is not None]
    if reaction is not None:
        sinks.append(_to_field_rank(_in_active_cells(reaction, grid), grid))
    diagonal = _collect(sinks)
    scale = None if scale is None else jnp.asarray(_to_field_rank(scale, grid))
    periodic_axes = tuple(isinstance(pair[0], Periodic) for pair in conditions)
    return FluxOperator(grid, tuple(faces), diagonal, scale, periodic_axes)


def wall_source(
    grid: AbstractGrid,
    diffusivity: tuple[Coefficient, ...],
    conditions: Conditions,
    transport: Transport | None = None,
) -> Array | None:
    """The inhomogeneous part of the boundary conditions as a source per unit volume, or `None` where all are zero."""
    parts = [
        part.source
        for axis, kappa in enumerate(diffusivity)
        for part in _axis_walls(grid, axis, kappa, conditions, transport)
        if part.source is not None
    ]
    return jnp.broadcast_to(sum(parts[1:], start=parts[0]), grid.shape) if parts else None


def Laplacian(
    grid: AbstractGrid,
    boundary: BoundaryLike = None,
    *,
    dtype: DTypeLike | None = None,
) -> FluxOperator:
    """`div grad` on a grid, by finite volumes of second order, with homogeneous boundary conditions.

    Self-adjoint in the cell volumes and, unless Robin coefficients differ in sign, negative semidefinite.

    **Arguments:**

    - `grid`: where.
    - `boundary`: a condition, a tuple with one per axis, or a `Boundary`; `Neumann()` if left out. Only the linear part
        counts: values and fluxes are taken as zero.
    - `dtype`: of the coefficients, and so of the input that lineax asks for; the default floating-point dtype if left
        out. The field's own precision is kept in any case.

    **Returns:**

    A [`krylovpde.operator.FluxOperator`][].
    """
    conditions = resolve_boundary(boundary, grid, (Neumann, Dirichlet, Periodic, Robin), "Laplacian")
    one = np.ones((), jnp.result_type(float) if dtype is None else dtype)
    return flux_operator(grid, (one,) * grid.ndim, conditions)


def _face_coefficients(
    grid: AbstractGrid, axis: int, periodic: bool, kappa: Coefficient, transport: Transport | None
) -> FaceCoefficients:
    exchange = conductance(grid, axis, periodic, kappa)
    if transport is None:
        return _closed(FaceCoefficients(exchange), grid, axis, periodic)
    velocity = _face_velocity(grid, axis, periodic, transport.velocity[axis])
    carried = transport.scheme.coefficients(grid, axis, periodic, velocity)
    return _closed(carried._replace(exchange=carried.exchange + exchange), grid, axis, periodic)


def _closed(coefficients: FaceCoefficients, grid: AbstractGrid, axis: int, periodic: bool) -> FaceCoefficients:
    """Nothing passes the faces beside cells that are not active: the whole of what a mask means to the stencil."""
    if not grid.is_masked:
        return coefficients
    faces = open_faces(grid, axis, periodic)
    return FaceCoefficients(
        *(None if values is None else values * faces.astype(values.dtype) for values in coefficients)
    )


def _bent(
    coefficients: FaceCoefficients,
    grid: AbstractGrid,
    axis: int,
    kappa: Coefficient,
    conditions: tuple[AbstractCondition, ...],
    shares: np.ndarray,
) -> FaceCoefficients:
    """With the term `-(h²/12) ∂² κ ∂²`, which takes the leading error of the second difference away.

    It is `-L (κ/12h²) L` with the second difference `L` of the axis, walls included: self-adjoint and negative
    semidefinite whatever the coefficients. Walls act by mirror images: even ones are those of a free end, odd ones of a
    field held at zero.
    """
    width = float(grid.widths(axis)[0])
    stiffness = _on_faces(grid, axis, shares / (12.0 * width**2), kappa) * kappa
    held = np.zeros(grid.shape[axis])
    for condition, side in zip(conditions[:2], (0, -1), strict=True):
        held[side] += 2.0 if isinstance(condition, Dirichlet) else 0.0
    return coefficients._replace(
        bending=stiffness, held=grid.along(axis, held).astype(kappa.dtype) if np.any(held) else None
    )


def conductance(grid: AbstractGrid, axis: int, periodic: bool, kappa: Coefficient) -> Coefficient:
    """`area / (h₁/(2κ₁) + h₂/(2κ₂))`: the harmonic mean, exact for a steady flux through a jump of `κ`."""
    widths = grid.widths(axis)
    areas = _upper_face_areas(grid, axis)
    if kappa.ndim == 0:
        return _on_faces(grid, axis, 2.0 * areas / (widths + np.roll(widths, -1)), kappa) * kappa
    own = _on_faces(grid, axis, widths, kappa)
    other = _on_faces(grid, axis, np.roll(widths, -1), kappa)
    next_kappa = following(jnp.asarray(kappa), axis, periodic)
    # Behind the wall `next_kappa` is zero, and so is the conductance there. One vanishing κ is no division by zero.
    return _on_faces(grid, axis, 2.0 * areas, kappa) * kappa * next_kappa / (own * next_kappa + other * kappa)


def _face_velocity(grid: AbstractGrid, axis: int, periodic: bool, velocity: Coefficient) -> Coefficient:
    """The velocity times the area of each face, linear between the cells beside it."""
    areas = _on_faces(grid, axis, _upper_face_areas(grid, axis), velocity)
    if velocity.ndim == 0:
        return areas * velocity
    widths = grid.widths(axis)
    fraction = _on_faces(grid, axis, widths / (widths + np.roll(widths, -1)), velocity)
    return areas * (velocity + fraction * (following(jnp.asarray(velocity), axis, periodic) - velocity))


def _upper_face_areas(grid: AbstractGrid, axis: int) -> np.ndarray:
    return grid.face_areas(axis)[1:]


def _on_faces(grid: AbstractGrid, axis: int, values: np.ndarray, like: Coefficient | np.ndarray) -> np.ndarray:
    """A list along the axis, shaped to broadcast; a single number where all faces are alike."""
    values = values[:1] if grid.is_uniform(axis) and np.all(values == values[0]) else values
    return grid.along(axis, values).astype(like.dtype)


def _divide(coefficients: FaceCoefficients, measure: float) -> FaceCoefficients:
    exchange, *others = coefficients
    return FaceCoefficients(exchange / measure, *(None if values is None else values / measure for values in others))


def _axis_walls(
    grid: AbstractGrid, axis: int, kappa: Coefficient, conditions: Conditions, transport: Transport | None
) -> list[Wall]:
    velocity = None if transport is None else transport.velocity[axis]
    upwinded = (Central() if transport is None else transport.scheme).upwinded_outflow
    lower, upper, *inner = conditions[axis]
    places: list[tuple[AbstractCondition, int, np.ndarray | None]] = [(lower, 0, None), (upper, -1, None)]
    for condition in inner:
        periodic = isinstance(lower, Periodic)
        places += [(condition, side, inner_walls(grid, axis, side, periodic)) for side in (0, -1)]
    return [wall(condition, grid, axis, side, kappa, velocity, upwinded, edge) for condition, side, edge in places]


def _in_active_cells(values: Coefficient, grid: AbstractGrid) -> Coefficient:
    return only_active(grid, jnp.broadcast_to(values, grid.shape)) if grid.is_masked else values


def _to_field_rank(values: Coefficient, grid: AbstractGrid) -> Coefficient:
    return values.reshape((1,) * grid.ndim) if values.ndim == 0 else values


def _collect(terms: list[Coefficient]) -> tuple[Coefficient, ...]:
    """Terms of one shape added up, so that a field is read once and a short list stays short."""
    by_shape: dict[tuple[int, ...], Coefficient] = {}
    for term in terms:
        shape = term.shape
        by_shape[shape] = by_shape[shape] + term if shape in by_shape else term
    return tuple(by_shape.values())
