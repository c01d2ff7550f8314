"""The wave equation."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Inexact

from ..grid import (
    Absorbing,
    AbstractGrid,
    BoundaryLike,
    Dirichlet,
    Neumann,
    Periodic,
    Robin,
    only_active,
    resolve_boundary,
)
from ..operator import (
    AbsorbedState,
    BlockOperator,
    FluxOperator,
    WaveState,
    add_in_precision,
    cast_tree,
    common_precision,
    flux_operator,
    wall_source,
)
from ..signal import AbstractSignal
from ._absorbed_wave import AbsorbedWave
from ._accuracy import check_accuracy, fourth_order_shares
from ._base import AbstractEquation, driven_terms
from ._checks import as_not_negative, as_positive, as_source, check_grid
from ._diffusion import add_optional, as_boundary, driven_inflow
from ._source import constant_part, varying_part

CONDITIONS = (Neumann, Dirichlet, Periodic, Robin, Absorbing)


class Wave(AbstractEquation):
    r"""Sound, pressure or elastic waves of one kind.

        u_tt + damping u_t = speed² density div(grad u / density) + source

    with `u` a displacement or pressure, `speed` in length per time, `source` an acceleration; `density` in mass per
    volume, or any multiple of it, which reflects waves where it varies; left out, the operator is `speed² lap`. The
    state is [`krylovpde.WaveState`][]. The operator is self-adjoint in the weight
    `cell_volumes / (speed² density)`. `damping`, per time, takes a wave's energy away wherever it is.

    On the boundary `∂u/∂n` stands without a coefficient (with a density: `1/density ∂u/∂n`): `Neumann()` reflects as a
    free end, `Dirichlet()` as a fixed one (of a pressure, a free surface), [`krylovpde.Absorbing`][] lets waves leave.
    Damped and absorbed waves are solved in a form of first order, by `Faber` and `CheckpointedAdjoint`.

    With `accuracy=2`, five points in two dimensions, waves are too slow by `(kh)²/24` of their speed for a wavenumber
    `k` along an axis with cells of width `h`; with `accuracy=4`, nine points, by `(kh)⁴/180` where the density is
    constant. One per cent takes 13 cells per wavelength or 5. An application costs up to twice as much, and the largest
    frequency, to which a solve's applications are proportional, is 15 % higher. `accuracy=4` is for uniform grids all
    of whose cells are active, and for walls that are `Neumann()`, `Dirichlet()` (both by mirror images, without
    boundary values), `Periodic()` or absorbing; in a layer the stencil passes into that of second order.
    """

    grid: AbstractGrid
    speed: Array
    density: Array | None
    damping: Array | None
    boundary: Any
    source: Any
    accuracy: int = eqx.field(static=True)
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
        accuracy: int = 2,
    ):
        """A wave equation.

        **Arguments:**

        - `grid`: where.
        - `speed`: a positive number or an array of `grid.shape`.
        - `boundary`: a condition, a tuple with one per axis, or a `Boundary`; `Neumann()` if left out.
        - `density`: a positive number or an array of `grid.shape`; constant if left out.
        - `damping`: a number or an array of `grid.shape`, not negative; none if left out.
        - `source`: an acceleration: a number, an array, a [`krylovpde.Source`][], a [`krylovpde.PointSource`][], or a
            list of these; none if left out.
        - `accuracy`: the order of accuracy in space, 2 or 4.

        **Raises:**

        `ValueError` or `TypeError` for shapes that do not fit, a speed or density known not to be positive, a damping
        known to be negative, an unknown boundary, layers thicker than the grid, and an `accuracy` of 4 on grids or with
        walls that it is not for.
        """
        check_grid(grid, "Wave")
        self.grid = grid
        self.speed = as_positive(speed, grid, "Wave(speed)")
        self.density = None if density is None else as_positive(density, grid, "Wave(density)")
        self.damping = None if damping is None else as_not_negative(damping, grid, "Wave(damping)")
        self.boundary = as_boundary(boundary, grid, "Wave", CONDITIONS)
        self.source = as_source(source, grid, "Wave(source)")
        self.accuracy = accuracy
        check_accuracy(accuracy, grid, self.boundary, "Wave")

    def operator(self) -> FluxOperator:
        """`speed² density div(grad · / density)` with homogeneous boundary values, on the displacement.

        Without damping and what the layers take out, which [`krylovpde.Wave.first_order_form`][] adds.
        """
        mobility, scale, conditions, _ = self._prepared()
        bending = None
        if self.accuracy == 4:
            layered = resolve_boundary(self.boundary, self.grid, CONDITIONS, "Wave")
            bending = fourth_order_shares(layered, self.grid)
        kappas = (mobility,) * self.grid.ndim
        return flux_operator(self.grid, kappas, conditions, scale=scale, bending=bending)

    def forcing(self) -> Inexact[Array, "..."] | None:
        """`constant source + speed² (inflow through the walls)`, an acceleration."""
        mobility, scale, conditions, source = self._prepared()
        inflow = wall_source(self.grid, (mobility,) * self.grid.ndim, conditions)
        total = add_optional(None if inflow is None else scale * inflow, source)
        return None if total is None else only_active(self.grid, jnp.broadcast_to(total, self.grid.shape))

    def driving(self) -> tuple[tuple[Inexact[Array, "..."], AbstractSignal], ...]:
        """The accelerations and boundary values that vary in time."""
        mobility, scale, _, _ = self._prepared()
        structure = jax.ShapeDtypeStruct(self.grid.shape, scale.dtype)
        kappas = (mobility,) * self.grid.ndim

        def inflow(conditions: Any) -> Array | None:
            field = wall_source(self.grid, kappas, _without_layers(conditions))
            return None if field is None else scale * field

        sources = [(source.field(structure), source.signal) for source in varying_part(self.source)]
        sources += driven_inflow(self.boundary, self.grid, scale.dtype, inflow)
        return tuple((only_active(self.grid, profile), signal) for profile, signal in sources)

    def first_order_form(self) -> AbsorbedWave | None:
        """With damping or absorbing layers, the whole of it as an equation of first order; else `None`."""
        conditions = resolve_boundary(self.boundary, self.grid, CONDITIONS, "Wave")
        sides = [
            (axis, side, condition.width)
            for axis, (lower, upper, *_) in enumerate(conditions)
            for side, condition in ((0, lower), (-1, upper))
            if isinstance(condition, Absorbing)
        ]
        if not sides and self.damping is None:
            return None
        return AbsorbedWave(self, tuple(sides))

    def extended(self, state: WaveState) -> WaveState | AbsorbedState:
        """The state that `vector_field` works on: with absorbing layers their memories beside it, which are zero.

        For other ODE solvers; [`krylovpde.solve`][] takes and gives a plain [`krylovpde.WaveState`][].
        """
        form = self.first_order_form()
        return state if form is None else form.extended(state)

    def first_order_operator(self) -> BlockOperator:
        """`[[0, I], [A, 0]]` on a [`krylovpde.WaveState`][]: `(u, v)_t = (v, A u)`, without damping and layers.

        For comparison with the literature. It has twice the unknowns, a norm far above its spectral radius and no
        diagonal inner product in which it is skew: the second-order form is the better one in every respect.
        """
        operator = self.operator()
        identity = lx.IdentityLinearOperator(operator.in_structure())
        return BlockOperator(((None, identity), (operator, None)), like=WaveState(0, 0))

    def vector_field(self, t: Any, u: Any, args: Any = None) -> Any:
        """`WaveState(velocity, A displacement - damping velocity + b(t))`, for any ODE solver.

        With absorbing layers the state is that of [`krylovpde.Wave.extended`][].
        """
        form = self.first_order_form()
        if form is not None:
            _check_extended(form.sides, u)
            return form.vector_field(t, u, args)
        acceleration, forcing = self.operator().mv(u.displacement), self.forcing()
        for term in (*(() if forcing is None else (forcing,)), *driven_terms(self, t)):
            acceleration = add_in_precision(acceleration, term)
        return WaveState(u.velocity, acceleration)

    def _prepared(self) -> tuple[Any, Array, Any, Array | None]:
        """One over the density, what stands before the divergence, the conditions, the constant source."""
        conditions = _without_layers(resolve_boundary(self.boundary, self.grid, CONDITIONS, "Wave"))
        parameters = (self.speed, self.density, conditions, constant_part(self.source))
        # What varies in time does not count.
        speed, density, conditions, source = cast_tree(parameters, common_precision(parameters, self.damping))
        speed, density = only_active(self.grid, (speed, density), 1.0)
        if density is None:
            # Geometry: the speed is the only parameter.
            return np.ones((), speed.dtype), speed**2, conditions, source
        return 1.0 / density, speed**2 * density, conditions, source


def _without_layers(conditions: Any) -> Any:
    """Behind a layer the field is zero."""
    return tuple(tuple(Dirichlet() if isinstance(c, Absorbing) else c for c in pair) for pair in conditions)


def _check_extended(layers: tuple[Any, ...], state: Any) -> None:
    if isinstance(state, AbsorbedState if layers else WaveState):
        return
    message = (
        f"`Wave.vector_field(t, u)`: the state of this equation is a {'AbsorbedState' if layers else 'WaveState'}, got "
        f"{type(state).__name__}." + (" Make it by `equation.extended(state)`." if layers else "")
    )
    raise TypeError(message)
