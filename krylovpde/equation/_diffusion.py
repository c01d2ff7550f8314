"""The diffusion equation."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Inexact

from ..grid import (
    AbstractGrid,
    BoundaryLike,
    Dirichlet,
    Neumann,
    Periodic,
    Robin,
    TotalFlux,
    driven_walls,
    only_active,
    resolve_boundary,
)
from ..operator import FluxOperator, Transport, cast_tree, common_precision, flux_operator, wall_source
from ..signal import AbstractSignal
from ._base import AbstractEquation
from ._checks import as_diffusivity, as_optional, as_positive, as_source, check_grid
from ._source import constant_part, varying_part

CONDITIONS = (Neumann, Dirichlet, Periodic, Robin, TotalFlux)


class Diffusion(AbstractEquation):
    r"""Diffusion, conduction of heat, flow in a porous medium.

        capacity u_t = div(diffusivity grad u) + reaction_rate u + source

    with `u` a concentration, temperature or head; `diffusivity` in length² per time times the unit of `capacity`
    (transmissivity with storativity as the capacity, conductivity with the heat capacity per volume); `reaction_rate`
    positive for growth, negative for decay; `source` per volume and time.

    Finite volumes of second order, with harmonic means of the diffusivity on the faces: fluxes are exact through
    layers, and mass is conserved to rounding. Self-adjoint in the weight `capacity × cell_volumes`.
    """

    grid: AbstractGrid
    diffusivity: Any
    boundary: Any
    capacity: Array | None
    reaction_rate: Array | None
    source: Any

    def __init__(
        self,
        grid: AbstractGrid,
        diffusivity: Any,
        *,
        boundary: BoundaryLike = None,
        capacity: Any = None,
        reaction_rate: Any = None,
        source: Any = None,
    ):
        """A diffusion equation.

        **Arguments:**

        - `grid`: where.
        - `diffusivity`: a positive number, an array of `grid.shape`, or a tuple of these with one per axis.
        - `boundary`: a condition, a tuple with one per axis, or a `Boundary`; `Neumann()` if left out.
        - `capacity`: a positive number or array; 1 if left out.
        - `reaction_rate`: a number or array; none if left out.
        - `source`: a number, an array, a [`krylovpde.Source`][], a [`krylovpde.PointSource`][], or a list of these;
            none if left out.

        **Raises:**

        `ValueError` or `TypeError` for shapes that do not fit, values known not to be positive, an unknown boundary.
        """
        check_grid(grid, "Diffusion")
        self.grid = grid
        self.diffusivity = as_diffusivity(diffusivity, grid, "Diffusion(diffusivity)")
        self.boundary = as_boundary(boundary, grid, "Diffusion")
        self.capacity = None if capacity is None else as_positive(capacity, grid, "Diffusion(capacity)")
        self.reaction_rate = as_optional(reaction_rate, grid, "Diffusion(reaction_rate)")
        self.source = as_source(source, grid, "Diffusion(source)")

    def operator(self) -> FluxOperator:
        """`(div(diffusivity grad ·) + reaction_rate ·) / capacity`, with homogeneous boundary values."""
        return finite_volume_operator(self)

    def forcing(self) -> Inexact[Array, "..."] | None:
        """`(constant source + inflow through the walls) / capacity`."""
        return finite_volume_forcing(self)

    def driving(self) -> tuple[tuple[Inexact[Array, "..."], AbstractSignal], ...]:
        """The sources and boundary values that vary in time, their profiles divided by the capacity."""
        return finite_volume_driving(self)


def as_boundary(boundary: BoundaryLike, grid: AbstractGrid, where: str, allowed=CONDITIONS) -> Any:
    """The boundary as it is stored, checked."""
    boundary = Neumann() if boundary is None else boundary
    boundary = tuple(boundary) if isinstance(boundary, list) else boundary
    resolve_boundary(boundary, grid, allowed, where)
    return boundary


def finite_volume_operator(equation: Any, transport: Transport | None = None) -> FluxOperator:
    """The linear part of an equation with a diffusivity, a capacity and a reaction rate."""
    grid = equation.grid
    cells, conditions, transport = _prepared(equation, transport)
    reaction, capacity = cells["reaction_rate"], cells["capacity"]
    scale = None if capacity is None else 1.0 / capacity
    return flux_operator(grid, cells["diffusivity"], conditions, transport=transport, reaction=reaction, scale=scale)


def finite_volume_forcing(equation: Any, transport: Transport | None = None) -> Inexact[Array, "..."] | None:
    """The constant part of the same equation."""
    cells, conditions, transport = _prepared(equation, transport)
    inflow = wall_source(equation.grid, cells["diffusivity"], conditions, transport)
    total = add_optional(inflow, cells["source"])
    if total is None:
        return None
    capacity = cells["capacity"]
    total = total if capacity is None else total / capacity
    return only_active(equation.grid, jnp.broadcast_to(total, equation.grid.shape))


def finite_volume_driving(
    equation: Any, transport: Transport | None = None
) -> tuple[tuple[Inexact[Array, "..."], AbstractSignal], ...]:
    """The sources and boundary values of the same equation that vary in time."""
    grid = equation.grid
    cells, _, transport = _prepared(equation, transport)
    precision, capacity = cells["diffusivity"][0].dtype, cells["capacity"]
    structure = jax.ShapeDtypeStruct(grid.shape, precision)
    fields = [(source.field(structure), source.signal) for source in varying_part(equation.source)]
    fields += driven_inflow(
        equation.boundary,
        grid,
        precision,
        lambda conditions: wall_source(grid, cells["diffusivity"], conditions, transport),
    )
    fields = [(only_active(grid, field), signal) for field, signal in fields]
    return tuple((field if capacity is None else field / capacity, signal) for field, signal in fields)


def driven_inflow(
    boundary: Any, grid: AbstractGrid, precision: np.dtype, inflow: Callable[[Any], Array | None]
) -> list[tuple[Array, AbstractSignal]]:
    """The boundary values that vary in time, as sources: `inflow` of a profile on the wall, and signals."""
    walls = driven_walls(boundary, grid, precision)
    fields = [(inflow(cast_tree(conditions, precision)), signal) for conditions, signal in walls]
    return [(field, signal) for field, signal in fields if field is not None]


def add_optional(first: Array | None, second: Array | None) -> Array | None:
    """The sum of what is there."""
    if first is None or second is None:
        return second if first is None else first
    return first + second


def _prepared(equation: Any, transport: Transport | None) -> tuple[dict[str, Any], Any, Transport | None]:
    """All parameters in one precision, finite in all cells, the diffusivity as a tuple."""
    grid = equation.grid
    conditions = resolve_boundary(equation.boundary, grid, CONDITIONS, type(equation).__name__)
    precision = _precision(equation, conditions, transport)
    names = ("diffusivity", "capacity", "reaction_rate")
    cells = {name: only_active(grid, cast_tree(getattr(equation, name), precision), 1.0) for name in names}
    cells["source"] = cast_tree(constant_part(equation.source), precision)
    if isinstance(cells["diffusivity"], jax.Array):
        cells["diffusivity"] = (cells["diffusivity"],) * grid.ndim
    transport = only_active(grid, cast_tree(transport, precision))
    return cells, cast_tree(conditions, precision), transport


def _precision(equation: Any, conditions: Any, transport: Transport | None) -> np.dtype:
    """That of the parameters; what varies in time does not count."""
    names = ("diffusivity", "capacity", "reaction_rate")
    parameters = [getattr(equation, name) for name in names]
    return common_precision(parameters, conditions, constant_part(equation.source), transport)
