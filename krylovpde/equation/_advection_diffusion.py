"""The advection–diffusion equation."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact

from ..grid import AbstractGrid, BoundaryLike, is_concrete, only_active
from ..operator import AbstractScheme, Central, FluxOperator, Transport, cast_tree, common_precision
from ..signal import AbstractSignal
from ._base import AbstractEquation
from ._checks import as_diffusivity, as_optional, as_positive, as_source, as_velocity, check_grid
from ._diffusion import as_boundary, finite_volume_driving, finite_volume_forcing, finite_volume_operator


class AdvectionDiffusion(AbstractEquation):
    r"""Something carried by a flow that it does not change, and spread by diffusion or dispersion.

        capacity u_t + div(velocity u) = div(diffusivity grad u) + reaction_rate u + source

    with `u` a concentration or temperature, `velocity` in length per time (a Darcy flux, with the porosity as the
    capacity). Conservative to rounding, for velocities with divergence too. Not self-adjoint.

    On the boundary, [`krylovpde.Dirichlet`][] fixes the value that flows in, [`krylovpde.Neumann`][] the diffusive flux
    alone (`Neumann()` is a free outflow), [`krylovpde.TotalFlux`][] both fluxes together (`TotalFlux()` is a wall). The
    velocity on a wall is that of the cell beside it.
    """

    grid: AbstractGrid
    diffusivity: Any
    velocity: tuple[Array, ...]
    scheme: AbstractScheme
    boundary: Any
    capacity: Array | None
    reaction_rate: Array | None
    source: Any

    def __init__(
        self,
        grid: AbstractGrid,
        diffusivity: Any,
        velocity: Any,
        *,
        scheme: AbstractScheme | None = None,
        boundary: BoundaryLike = None,
        capacity: Any = None,
        reaction_rate: Any = None,
        source: Any = None,
    ):
        """An advection–diffusion equation.

        **Arguments:**

        - `grid`: where.
        - `diffusivity`: a positive number, an array of `grid.shape`, or a tuple of these with one per axis.
        - `velocity`: a tuple with one component per axis, each a number or an array of `grid.shape`.
        - `scheme`: `Central()` (if left out), `Upwind(order=1)` or `Upwind(order=3)`.
        - `boundary`: a condition, a tuple with one per axis, or a `Boundary`; `Neumann()` if left out.
        - `capacity`, `reaction_rate`, `source`: as for [`krylovpde.Diffusion`][].

        **Raises:**

        `ValueError` or `TypeError` as [`krylovpde.Diffusion`][]. Warns of a cell Péclet number above 2 where the scheme
        is central and the numbers are known.
        """
        check_grid(grid, "AdvectionDiffusion")
        self.grid = grid
        self.diffusivity = as_diffusivity(diffusivity, grid, "AdvectionDiffusion(diffusivity)")
        self.velocity = as_velocity(velocity, grid, "AdvectionDiffusion(velocity)")
        self.scheme = as_scheme(scheme)
        self.boundary = as_boundary(boundary, grid, "AdvectionDiffusion")
        self.capacity = None if capacity is None else as_positive(capacity, grid, "AdvectionDiffusion(capacity)")
        self.reaction_rate = as_optional(reaction_rate, grid, "AdvectionDiffusion(reaction_rate)")
        self.source = as_source(source, grid, "AdvectionDiffusion(source)")
        if isinstance(self.scheme, Central):
            _warn_of_peclet_number(grid, self.diffusivity, self.velocity)

    def operator(self) -> FluxOperator:
        """`(div(diffusivity grad ·) - div(velocity ·) + reaction_rate ·) / capacity`, homogeneous boundary values."""
        return finite_volume_operator(self, Transport(self.velocity, self.scheme))

    def forcing(self) -> Inexact[Array, "..."] | None:
        """`(constant source + inflow through the walls) / capacity`."""
        return finite_volume_forcing(self, Transport(self.velocity, self.scheme))

    def driving(self) -> tuple[tuple[Inexact[Array, "..."], AbstractSignal], ...]:
        """The sources and boundary values that vary in time, their profiles divided by the capacity."""
        return finite_volume_driving(self, Transport(self.velocity, self.scheme))


def as_scheme(scheme: Any) -> AbstractScheme:
    """The scheme, `Central()` if left out."""
    if scheme is None:
        return Central()
    if not isinstance(scheme, AbstractScheme):
        message = (
            f"`AdvectionDiffusion(scheme=...)` takes Central(), Upwind(order=1) or Upwind(order=3), got {scheme!r} of "
            f"type {type(scheme).__name__}."
        )
        raise TypeError(message)
    return scheme


def cell_peclet_number(grid: AbstractGrid, diffusivity: Any, velocity: tuple[Array, ...]) -> Inexact[Array, ""]:
    """The largest `|velocity| h / diffusivity` over cells and axes."""
    precision = common_precision(diffusivity, velocity)
    diffusivity, velocity = cast_tree((diffusivity, velocity), precision)
    diffusivity, velocity = only_active(grid, diffusivity, 1.0), only_active(grid, velocity)
    kappas = (diffusivity,) * grid.ndim if isinstance(diffusivity, jax.Array) else diffusivity
    numbers = [
        jnp.max(jnp.abs(v) * jnp.asarray(grid.along(axis, grid.widths(axis)).astype(precision)) / kappa)
        for axis, (v, kappa) in enumerate(zip(velocity, kappas, strict=True))
    ]
    return jnp.max(jnp.stack(numbers))


def _warn_of_peclet_number(grid: AbstractGrid, diffusivity: Any, velocity: tuple[Array, ...]) -> None:
    if not all(map(is_concrete, jax.tree_util.tree_leaves((diffusivity, velocity)))):
        return
    with jax.ensure_compile_time_eval():
        number = float(cell_peclet_number(grid, diffusivity, velocity))
    if number > 2.0:
        warnings.warn(
            f"AdvectionDiffusion: the cell Péclet number |velocity| h / diffusivity reaches {number:.3g}; above 2 the "
            "central scheme oscillates where the solution is steep. Refine the grid, or use "
            "scheme=Upwind(order=3) or Upwind(order=1).",
            stacklevel=3,
        )
