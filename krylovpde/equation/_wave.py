"""The wave equation."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Inexact, PyTree

from ..grid import AbstractGrid, BoundaryLike, Dirichlet, Neumann, Periodic, Robin, only_active, resolve_boundary
from ..operator import (
    BlockOperator,
    FluxOperator,
    add_in_precision,
    cast_tree,
    common_precision,
    flux_operator,
    wall_source,
)
from ._base import AbstractEquation, driven_terms
from ._checks import as_positive, as_source, check_grid
from ._diffusion import add_optional, as_boundary
from ._signal import AbstractSignal
from ._source import constant_part, varying_part

CONDITIONS = (Neumann, Dirichlet, Periodic, Robin)


class WaveState(eqx.Module):
    """The state of an equation of second order in time: the field and its rate of change, pytrees of one structure."""

    displacement: PyTree[Any]
    velocity: PyTree[Any]


class Wave(AbstractEquation):
    r"""Sound, pressure or elastic waves of one kind.

        u_tt = speed² density div(grad u / density) + source

    with `u` a displacement or pressure, `speed` in length per time, `source` an acceleration; `density` in mass per
    volume, or any multiple of it, which reflects waves where it varies; left out, the operator is `speed² lap`. The
    state is [`krylovpde.WaveState`][]. The operator is self-adjoint in the weight
    `cell_volumes / (speed² density)`.

    On the boundary `∂u/∂n` stands without a coefficient (with a density: `1/density ∂u/∂n`): `Neumann()` reflects as a
    free end, `Dirichlet()` as a fixed one. About eight cells per wavelength are needed for one per cent of the phase
    over ten wavelengths.
    """

    grid: AbstractGrid
    speed: Array
    density: Array | None
    boundary: Any
    source: Any
    order = 2

    def __init__(
        self,
        grid: AbstractGrid,
        speed: Any,
        *,
        boundary: BoundaryLike = None,
        density: Any = None,
        damping: Any = None,
        source: Any = None,
    ):
        """A wave equation.

        **Arguments:**

        - `grid`: where.
        - `speed`: a positive number or an array of `grid.shape`.
        - `boundary`: a condition, a tuple with one per axis, or a `Boundary`; `Neumann()` if left out.
        - `density`: a positive number or an array of `grid.shape`; constant if left out.
        - `damping`: not yet supported; must be left out.
        - `source`: an acceleration: a number, an array, a [`krylovpde.Source`][], a [`krylovpde.PointSource`][], or a
            list of these; none if left out.

        **Raises:**

        `ValueError` or `TypeError` for shapes that do not fit, a speed or density known not to be positive, an unknown
        boundary, and for what comes later.
        """
        check_grid(grid, "Wave")
        if damping is not None:
            message = "`Wave(damping=...)` comes later; leave it out. `speed`, `density` and `source` are supported."
            raise ValueError(message)
        self.grid = grid
        self.speed = as_positive(speed, grid, "Wave(speed)")
        self.density = None if density is None else as_positive(density, grid, "Wave(density)")
        self.boundary = as_boundary(boundary, grid, "Wave", CONDITIONS)
        self.source = as_source(source, grid, "Wave(source)")

    def operator(self) -> FluxOperator:
        """`speed² density div(grad · / density)` with homogeneous boundary values, on the displacement."""
        mobility, scale, conditions, _ = self._prepared()
        return flux_operator(self.grid, (mobility,) * self.grid.ndim, conditions, scale=scale)

    def forcing(self) -> Inexact[Array, "..."] | None:
        """`constant source + speed² (inflow through the walls)`, an acceleration."""
        mobility, scale, conditions, source = self._prepared()
        inflow = wall_source(self.grid, (mobility,) * self.grid.ndim, conditions)
        total = add_optional(None if inflow is None else scale * inflow, source)
        return None if total is None else only_active(self.grid, jnp.broadcast_to(total, self.grid.shape))

    def driving(self) -> tuple[tuple[Inexact[Array, "..."], AbstractSignal], ...]:
        """The accelerations that vary in time."""
        structure = jax.ShapeDtypeStruct(self.grid.shape, self._precision())
        sources = varying_part(self.source)
        return tuple((only_active(self.grid, source.field(structure)), source.signal) for source in sources)

    def first_order_operator(self) -> BlockOperator:
        """`[[0, I], [A, 0]]` on a [`krylovpde.WaveState`][]: `(u, v)_t = (v, A u)`.

        For comparison with the literature. It has twice the unknowns, a norm far above its spectral radius and no
        diagonal inner product in which it is skew: the second-order form is the better one in every respect.
        """
        operator = self.operator()
        identity = lx.IdentityLinearOperator(operator.in_structure())
        return BlockOperator(((None, identity), (operator, None)), like=WaveState(0, 0))

    def vector_field(self, t: Any, u: WaveState, args: Any = None) -> WaveState:
        """`WaveState(velocity, A displacement + b(t))`, for any ODE solver."""
        del args
        acceleration, forcing = self.operator().mv(u.displacement), self.forcing()
        for term in (*(() if forcing is None else (forcing,)), *driven_terms(self, t)):
            acceleration = add_in_precision(acceleration, term)
        return WaveState(u.velocity, acceleration)

    def _prepared(self) -> tuple[Any, Array, Any, Array | None]:
        """One over the density, what stands before the divergence, the conditions, the constant source."""
        conditions = resolve_boundary(self.boundary, self.grid, CONDITIONS, "Wave")
        parameters = (self.speed, self.density, conditions, constant_part(self.source))
        speed, density, conditions, source = cast_tree(parameters, self._precision())
        speed, density = only_active(self.grid, (speed, density), 1.0)
        if density is None:
            # Geometry: the speed is the only parameter.
            return np.ones((), speed.dtype), speed**2, conditions, source
        return 1.0 / density, speed**2 * density, conditions, source

    def _precision(self) -> np.dtype:
        # The times of a signal do not count.
        return common_precision(self.speed, self.density, self.boundary, constant_part(self.source))
