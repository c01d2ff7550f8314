"""The wave equation."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Inexact, PyTree

from ..grid import AbstractGrid, BoundaryLike, Dirichlet, Neumann, Periodic, Robin, resolve_boundary
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

        u_tt = speed² lap u + source

    with `u` a displacement or pressure, `speed` in length per time, `source` an acceleration. The state is
    [`krylovpde.WaveState`][]. The operator `speed² lap` is self-adjoint in the weight `cell_volumes / speed²`.

    On the boundary `∂u/∂n` stands without a coefficient: `Neumann()` reflects as a free end, `Dirichlet()` as a fixed
    one. About eight cells per wavelength are needed for one per cent of the phase over ten wavelengths.
    """

    grid: AbstractGrid
    speed: Array
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
        - `density`, `damping`: not yet supported; must be left out.
        - `source`: an acceleration: a number, an array, a [`krylovpde.Source`][], a [`krylovpde.PointSource`][], or a
            list of these; none if left out.

        **Raises:**

        `ValueError` or `TypeError` for shapes that do not fit, a speed known not to be positive, an unknown boundary,
        and for what comes later.
        """
        check_grid(grid, "Wave")
        for name, value in (("density", density), ("damping", damping)):
            if value is not None:
                message = f"`Wave({name}=...)` comes later; leave it out. `speed` and `source` are supported."
                raise ValueError(message)
        self.grid = grid
        self.speed = as_positive(speed, grid, "Wave(speed)")
        self.boundary = as_boundary(boundary, grid, "Wave", CONDITIONS)
        self.source = as_source(source, grid, "Wave(source)")

    def operator(self) -> FluxOperator:
        """`speed² lap` with homogeneous boundary values, on the displacement."""
        speed, conditions, _ = self._prepared()
        one = np.ones((), speed.dtype)  # geometry: the speed is the only parameter
        return flux_operator(self.grid, (one,) * self.grid.ndim, conditions, scale=speed**2)

    def forcing(self) -> Inexact[Array, "..."] | None:
        """`constant source + speed² (inflow through the walls)`, an acceleration."""
        speed, conditions, source = self._prepared()
        one = np.ones((), speed.dtype)  # geometry: the speed is the only parameter
        inflow = wall_source(self.grid, (one,) * self.grid.ndim, conditions)
        total = add_optional(None if inflow is None else speed**2 * inflow, source)
        return None if total is None else jnp.broadcast_to(total, self.grid.shape)

    def driving(self) -> tuple[tuple[Inexact[Array, "..."], AbstractSignal], ...]:
        """The accelerations that vary in time."""
        structure = jax.ShapeDtypeStruct(self.grid.shape, self._precision())
        return tuple((source.field(structure), source.signal) for source in varying_part(self.source))

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

    def _prepared(self) -> tuple[Array, Any, Array | None]:
        conditions = resolve_boundary(self.boundary, self.grid, CONDITIONS, "Wave")
        return cast_tree((self.speed, conditions, constant_part(self.source)), self._precision())

    def _precision(self) -> np.dtype:
        # The times of a signal do not count.
        return common_precision(self.speed, self.boundary, constant_part(self.source))
