"""Diffusion whose coefficient depends on what diffuses."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Inexact

from ..grid import AbstractGrid, BoundaryLike, cell_volumes, driven_walls, resolve_boundary
from ..operator import FluxOperator, ZeroOperator, cast, cast_tree, common_precision
from ..signal import AbstractSignal
from ._base import AbstractEquation
from ._checks import as_diffusivity, as_positive, as_source, check_grid
from ._diffusion import CONDITIONS, add_optional, as_boundary
from ._frozen_diffusion import frozen_diffusion
from ._source import constant_part, varying_part


class NonlinearDiffusion(AbstractEquation):
    r"""Diffusion with a coefficient that depends on the solution: porous media, unsaturated soils, crowds of cells.

        capacity u_t = div(factor diffusivity(u) grad u) + reaction(t, x, u) + source

    `diffusivity = lambda u: u**m` is the porous medium equation, whose fronts move at finite speed;
    `lambda u: D * u / K` with the reaction `lambda t, x, u: r * u * (1 - u / K)` is Porous-Fisher.

    Finite volumes in flux form: mass is conserved to rounding. On a face stand the harmonic mean of `factor` and the
    *integral mean* of the diffusivity over the values on both sides, by Simpson's rule:

        (diffusivity(u₁) + 4 diffusivity((u₁ + u₂) / 2) + diffusivity(u₂)) / 6  ≈  ∫ diffusivity du / (u₂ - u₁)

    It is exact for powers up to `u³`, where the flux is then the difference of `∫ diffusivity du`. A harmonic mean
    vanishes beside a dry cell and stops every front; the arithmetic one moves it, with three to eight times the error
    for `u²` and `u³`. Barenblatt's front is met within a cell (`tests/equation/test_nonlinear_diffusion.py`).

    Nothing in it is linear: `operator()` is zero, all is in `nonlinear(t, u)`, and `krylovpde.solve` takes
    [`krylovpde.Rosenbrock`][], which linearises in every step, unless told otherwise. Other integrators solve it, too,
    but explicitly: their steps shrink with the square of the cells.
    """

    grid: AbstractGrid
    diffusivity: Callable[[Any], Any]
    factor: Any
    boundary: Any
    capacity: Array | None
    reaction: Callable[[Any, tuple[np.ndarray, ...], Any], Any] | None
    source: Any
    quasilinear = True

    def __init__(
        self,
        grid: AbstractGrid,
        diffusivity: Callable[[Any], Any],
        *,
        factor: Any = None,
        boundary: BoundaryLike = None,
        capacity: Any = None,
        reaction: Callable[[Any, tuple[np.ndarray, ...], Any], Any] | None = None,
        source: Any = None,
    ):
        """A nonlinear diffusion equation.

        **Arguments:**

        - `grid`: where.
        - `diffusivity`: a function of the solution, element by element, with values that are not negative: a lambda or
            an Equinox module (parameters closed over or held keep their derivatives). It is asked about arrays of any
            shape: cells, faces, walls. Where it needs `u ≥ 0`, let it take `jnp.maximum(u, 0)`.
        - `factor`: what of the coefficient depends on the place: a positive number, an array of `grid.shape`, or a
            tuple of these with one per axis; 1 if left out.
        - `boundary`: a condition, a tuple with one per axis, or a `Boundary`; `Neumann()` if left out. On a wall, the
            mean is taken between the outermost cell and the wall.
        - `capacity`: a positive number or array; 1 if left out.
        - `reaction`: a function of the time, the coordinates (`grid.coordinates`) and the state: what is made per
            volume and time.
        - `source`: as for [`krylovpde.Diffusion`][].

        **Raises:**

        `TypeError` for a diffusivity or a reaction that cannot be called; `ValueError` or `TypeError` as
        [`krylovpde.Diffusion`][].
        """
        check_grid(grid, "NonlinearDiffusion")
        if grid.is_masked:
            message = "`NonlinearDiffusion(grid)`: grids with cells that are not active are not supported here yet."
            raise ValueError(message)
        self.grid = grid
        self.diffusivity = _as_function(diffusivity, "diffusivity", "the solution u")
        self.factor = None if factor is None else as_diffusivity(factor, grid, "NonlinearDiffusion(factor)")
        self.boundary = as_boundary(boundary, grid, "NonlinearDiffusion")
        if driven_walls(self.boundary, grid, np.dtype(np.float32)):
            message = (
                "`NonlinearDiffusion(boundary=...)` has values that vary in time, which are supported for linear "
                "equations only: what a wall lets in is not linear in its value here. Give numbers or arrays."
            )
            raise ValueError(message)
        self.capacity = None if capacity is None else as_positive(capacity, grid, "NonlinearDiffusion(capacity)")
        self.reaction = None if reaction is None else _as_function(reaction, "reaction", "(t, x, u)")
        self.source = as_source(source, grid, "NonlinearDiffusion(source)")

    def operator(self) -> ZeroOperator:
        """Zero, in the inner product of `capacity × cell_volumes`."""
        precision = self._precision()
        weight: Any = cell_volumes(self.grid, precision)
        if self.capacity is not None:
            weight = jnp.asarray(weight) * jax.lax.stop_gradient(cast(self.capacity, precision))
        return ZeroOperator(jax.ShapeDtypeStruct(self.grid.shape, precision), weight)

    def frozen(self, u: Inexact[Array, "..."]) -> tuple[FluxOperator, Inexact[Array, "..."] | None]:
        """`A(u)` and `b(u)` with `div(factor diffusivity(u) grad u) / capacity = A(u) u + b(u)`.

        **Arguments:**

        - `u`: the state in which the coefficient is frozen.

        **Returns:**

        An operator that is self-adjoint in `capacity × cell_volumes`, and the inflow through the walls that the
        boundary values give, `None` where there is none.
        """
        u = self.grid.check_field(u, "NonlinearDiffusion.frozen(u)")
        precision = np.finfo(u.dtype).dtype
        conditions = resolve_boundary(self.boundary, self.grid, CONDITIONS, "NonlinearDiffusion")
        factor, capacity, conditions = cast_tree((self.factor, self.capacity, conditions), precision)
        factors = factor if isinstance(factor, tuple) else (factor,) * self.grid.ndim
        operator, inflow = frozen_diffusion(self.grid, self.diffusivity, factors, conditions, u, capacity)
        return operator, inflow if inflow is None or capacity is None else inflow / capacity

    def forcing(self) -> Inexact[Array, "..."] | None:
        """`constant source / capacity`; what the walls let in depends on the state."""
        source, capacity = cast_tree((constant_part(self.source), self.capacity), self._precision())
        if source is None:
            return None
        return jnp.broadcast_to(source if capacity is None else source / capacity, self.grid.shape)

    def driving(self) -> tuple[tuple[Inexact[Array, "..."], AbstractSignal], ...]:
        """The sources that vary in time, their profiles divided by the capacity."""
        precision = self._precision()
        structure = jax.ShapeDtypeStruct(self.grid.shape, precision)
        capacity = cast_tree(self.capacity, precision)
        fields = [(source.field(structure), source.signal) for source in varying_part(self.source)]
        return tuple((field if capacity is None else field / capacity, signal) for field, signal in fields)

    def nonlinear(self, t: Any, u: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
        """`(div(factor diffusivity(u) grad u) + reaction(t, x, u)) / capacity`, walls included."""
        operator, inflow = self.frozen(u)
        rate = operator.mv(u)
        reaction = None
        if self.reaction is not None:
            made = jnp.broadcast_to(self.reaction(t, self.grid.coordinates, u), u.shape).astype(u.dtype)
            reaction = made if self.capacity is None else made / cast(self.capacity, np.finfo(u.dtype).dtype)
        return add_optional(add_optional(rate, inflow), reaction)  # pyright: ignore[reportReturnType]

    def _precision(self) -> np.dtype:
        return common_precision(self.diffusivity, self.factor, self.boundary, self.capacity, constant_part(self.source))


def _as_function(value: Any, name: str, of: str) -> Callable[..., Any]:
    if not callable(value):
        hint = " For a coefficient that does not depend on u use krylovpde.Diffusion." if name == "diffusivity" else ""
        message = f"`NonlinearDiffusion({name})` must be a function of {of}, got {type(value)}.{hint}"
        raise TypeError(message)
    return value
