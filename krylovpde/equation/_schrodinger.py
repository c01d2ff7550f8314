"""Schrödinger's equation."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Real

from ..grid import AbstractGrid, BoundaryLike, Dirichlet, Neumann, Periodic, Robin, resolve_boundary
from ..operator import ImaginaryOperator, cast, cast_tree, common_precision, flux_operator, times_i, wall_source
from ..signal import AbstractSignal, AbstractSource
from ._base import AbstractEquation, merge_breakpoints
from ._checks import as_coefficient, check_grid
from ._diffusion import as_boundary, driven_inflow
from ._source import as_sources, constant_part, varying_part

CONDITIONS = (Neumann, Dirichlet, Periodic, Robin)


class Schrodinger(AbstractEquation):
    r"""A quantum particle in a potential, in units with ħ = m = 1.

        i u_t = -½ lap u + potential u

    with `u` complex (a real initial state becomes complex) and `|u|²` the density of probability. `-iH` is
    skew-adjoint in the cell volumes where the potential is real: `grid.norm(u)` and the energy `<u, H u>` are conserved
    to rounding by `Lanczos` at any tolerance, and by `Chebyshev` to its tolerance. A complex potential with a negative
    imaginary part absorbs; it is served by `Arnoldi`.

    On the boundary `∂u/∂n` stands without a coefficient: `Dirichlet()` is a wall that nothing enters, `Neumann()` a
    mirror. Finite volumes of second order: a wave of `k` radians per length is too slow by `(kh)²/12` of its phase
    velocity, so about eighteen cells per wavelength are needed for one per cent.

    `jax.grad` of a real function with respect to a complex state is that of JAX's convention, `∂f/∂x - i ∂f/∂y`:
    descend along its conjugate.
    """

    grid: AbstractGrid
    potential: Any
    boundary: Any

    def __init__(self, grid: AbstractGrid, potential: Any, *, boundary: BoundaryLike = None):
        """Schrödinger's equation.

        **Arguments:**

        - `grid`: where.
        - `potential`: an energy: a number or an array of `grid.shape`; a function of time that returns one (an Equinox
            module, for the gradient of its parameters); or a list of a number or array and [`krylovpde.Source`][]s,
            each a profile times a signal. What varies in time is solved by [`krylovpde.Magnus4`][].
        - `boundary`: a condition, a tuple with one per axis, or a `Boundary`; `Neumann()` if left out.

        **Raises:**

        `ValueError` or `TypeError` for shapes that do not fit and for an unknown boundary.
        """
        check_grid(grid, "Schrodinger")
        self.grid = grid
        self.potential = _as_potential(potential, grid)
        self.boundary = as_boundary(boundary, grid, "Schrodinger", CONDITIONS)

    def operator(self) -> ImaginaryOperator:
        """`-iH = i (½ lap - potential)`, homogeneous boundary values; with the constant part of the potential."""
        return self._with(self._constant())

    def operator_at(self, t: Any) -> ImaginaryOperator | None:
        """`-iH(t)`; `None` where the potential does not depend on time."""
        if _is_function(self.potential):
            return self._with(as_coefficient(self.potential(t), self.grid, "Schrodinger(potential)(t)"))
        sources = varying_part(self.potential)
        if not sources:
            return None
        structure = jax.ShapeDtypeStruct(self.grid.shape, self._precision())
        total = cast(self._constant(), structure.dtype)
        for source in sources:
            value = source.signal(jnp.asarray(t, jnp.result_type(float)))
            total = total + source.field(structure) * cast(value, structure.dtype)
        return self._with(total)

    def forcing(self) -> Complex[Array, "..."] | None:
        """`i/2` times the inflow through the walls; `None` where all boundary values are zero by construction."""
        half, conditions = self._kinetic(self._precision())
        inflow = wall_source(self.grid, half, conditions)
        return None if inflow is None else times_i(inflow)

    def driving(self) -> tuple[tuple[Complex[Array, "..."], AbstractSignal], ...]:
        """The boundary values that vary in time, as `forcing` has the constant ones."""
        precision = self._precision()
        half, _ = self._kinetic(precision)
        walls = driven_inflow(
            self.boundary,
            self.grid,
            precision,
            lambda conditions: wall_source(self.grid, half, _in_halves(conditions)),
        )
        return tuple((times_i(field), signal) for field, signal in walls)

    @property
    def breakpoints(self) -> Real[Array, " breaks"]:
        """Those of the boundary values and of the potential's sources."""
        signals = [signal for _, signal in self.driving()]
        signals += [source.signal for source in ([] if _is_function(self.potential) else varying_part(self.potential))]
        return merge_breakpoints([signal.breakpoints for signal in signals])

    def _constant(self) -> Array:
        constant = None if _is_function(self.potential) else constant_part(self.potential)
        return jnp.asarray(0.0) if constant is None else constant  # weak: it decides about no precision

    def _with(self, potential: Array) -> ImaginaryOperator:
        precision = self._precision(potential)
        half, conditions = self._kinetic(precision)
        potential = jnp.broadcast_to(cast(potential, precision), self.grid.shape) if self._varies else potential
        return ImaginaryOperator(flux_operator(self.grid, half, conditions, reaction=-cast(potential, precision)))

    @property
    def _varies(self) -> bool:
        return _is_function(self.potential) or bool(varying_part(self.potential))

    def _precision(self, *others: Array) -> np.dtype:
        # Of the boundary what is constant counts, of the potential also the profiles.
        return common_precision(self.potential, *others, self._conditions())

    def _conditions(self) -> Any:
        return resolve_boundary(self.boundary, self.grid, CONDITIONS, "Schrodinger")

    def _kinetic(self, precision: np.dtype) -> tuple[tuple[np.ndarray, ...], Any]:
        conditions = _in_halves(self._conditions())
        # Geometry: the potential is the only parameter.
        half = (np.full((), 0.5, precision),) * self.grid.ndim
        return half, cast_tree(conditions, precision)


def _is_function(potential: Any) -> bool:
    return callable(potential) and not isinstance(potential, jax.Array | np.ndarray)


def _as_potential(potential: Any, grid: AbstractGrid) -> Any:
    where = "Schrodinger(potential)"
    if _is_function(potential):
        return potential
    if not isinstance(potential, list | tuple | AbstractSource):
        return as_coefficient(potential, grid, where)
    return as_sources(potential, lambda part, where: as_coefficient(part, grid, where), where)


def _in_halves(conditions: Any) -> Any:
    return tuple(tuple(_with_half(side) for side in pair) for pair in conditions)


def _with_half(condition: Any) -> Any:
    """The condition on `∂u/∂n` in terms of `½ ∂u/∂n`, which is what the finite volumes know."""
    if isinstance(condition, Neumann) and condition.flux is not None:
        return eqx.tree_at(lambda c: c.flux, condition, 0.5 * condition.flux)
    if isinstance(condition, Robin):
        return eqx.tree_at(lambda c: c.beta, condition, 2.0 * condition.beta)
    return condition
