"""Schrödinger's equation."""

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Complex

from ..grid import AbstractGrid, BoundaryLike, Dirichlet, Neumann, Periodic, Robin, resolve_boundary
from ..operator import ImaginaryOperator, cast_tree, common_precision, flux_operator, times_i, wall_source
from ._base import AbstractEquation
from ._checks import as_coefficient, check_grid
from ._diffusion import as_boundary

CONDITIONS = (Neumann, Dirichlet, Periodic, Robin)


class Schrodinger(AbstractEquation):
    r"""A quantum particle in a potential, in units with ħ = m = 1.

        i u_t = -½ lap u + potential u

    with `u` complex (a real initial state becomes complex) and `|u|²` the density of probability. `-iH` is
    skew-adjoint in the cell volumes where the potential is real: `grid.norm(u)` and the energy `<u, H u>` are conserved
    to rounding by `Lanczos` at any tolerance, and by `Chebyshev` to its tolerance. A complex potential with a negative
    imaginary part absorbs; it is served by `Arnoldi`.

    On the boundary `∂u/∂n` stands without a coefficient: `Dirichlet()` is a wall that nothing enters, `Neumann()` a
    mirror. Finite volumes of second order: a wave of `k` radians per length is too slow by `(kh)²/24` of its phase
    velocity, so about fifteen cells per wavelength are needed for one per cent.

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
        - `potential`: a number or an array of `grid.shape`, an energy.
        - `boundary`: a condition, a tuple with one per axis, or a `Boundary`; `Neumann()` if left out.

        **Raises:**

        `ValueError` or `TypeError` for shapes that do not fit and for an unknown boundary.
        """
        check_grid(grid, "Schrodinger")
        self.grid = grid
        self.potential = as_coefficient(potential, grid, "Schrodinger(potential)")
        self.boundary = as_boundary(boundary, grid, "Schrodinger", CONDITIONS)

    def operator(self) -> ImaginaryOperator:
        """`-iH = i (½ lap - potential)` with homogeneous boundary values."""
        half, conditions, potential = self._prepared()
        return ImaginaryOperator(flux_operator(self.grid, half, conditions, reaction=-potential))

    def forcing(self) -> Complex[Array, "..."] | None:
        """`i/2` times the inflow through the walls; `None` where all boundary values are zero by construction."""
        half, conditions, _ = self._prepared()
        inflow = wall_source(self.grid, half, conditions)
        return None if inflow is None else times_i(inflow)

    def _prepared(self) -> tuple[tuple[np.ndarray, ...], Any, Array]:
        precision = common_precision(self.potential, self.boundary)
        conditions = resolve_boundary(self.boundary, self.grid, CONDITIONS, "Schrodinger")
        conditions = tuple(tuple(_with_half(side) for side in pair) for pair in conditions)
        # Geometry: the potential is the only parameter.
        half = (np.full((), 0.5, precision),) * self.grid.ndim
        return half, *cast_tree((conditions, self.potential), precision)


def _with_half(condition: Any) -> Any:
    """The condition on `∂u/∂n` in terms of `½ ∂u/∂n`, which is what the finite volumes know."""
    if isinstance(condition, Neumann) and condition.flux is not None:
        return eqx.tree_at(lambda c: c.flux, condition, 0.5 * condition.flux)
    if isinstance(condition, Robin):
        return eqx.tree_at(lambda c: c.beta, condition, 2.0 * condition.beta)
    return condition
