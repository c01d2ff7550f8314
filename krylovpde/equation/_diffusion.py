"""The diffusion equation."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact

from ..grid import AbstractGrid, BoundaryLike, Dirichlet, Neumann, Periodic, Robin, TotalFlux, resolve_boundary
from ..operator import FluxOperator, Transport, cast_tree, common_precision, flux_operator, wall_source
from ._base import AbstractEquation
from ._checks import as_diffusivity, as_optional, as_positive, as_source, check_grid

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
    source: Array | None

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
        - `source`: a constant number or array; none if left out.

        **Raises:**

        `ValueError` or `TypeError` for shapes that do not fit, values known not to be positive, an unknown boundary,
        values that vary in time.
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
        """`(source + inflow through the walls) / capacity`."""
        return finite_volume_forcing(self)


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
    return jnp.broadcast_to(total if capacity is None else total / capacity, equation.grid.shape)


def add_optional(first: Array | None, second: Array | None) -> Array | None:
    """The sum of what is there."""
    if first is None or second is None:
        return second if first is None else first
    return first + second


def _prepared(equation: Any, transport: Transport | None) -> tuple[dict[str, Any], Any, Transport | None]:
    """All parameters in one precision, the diffusivity as a tuple."""
    precision = common_precision(equation, transport)
    names = ("diffusivity", "capacity", "reaction_rate", "source")
    cells = {name: cast_tree(getattr(equation, name), precision) for name in names}
    if isinstance(cells["diffusivity"], jax.Array):
        cells["diffusivity"] = (cells["diffusivity"],) * equation.grid.ndim
    conditions = resolve_boundary(equation.boundary, equation.grid, CONDITIONS, type(equation).__name__)
    return cells, cast_tree(conditions, precision), cast_tree(transport, precision)
