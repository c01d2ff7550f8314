"""Functions of very stiff self-adjoint operators, from the Krylov space of a resolvent."""

import dataclasses
import functools
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jaxtyping import Array, Inexact, PyTree, Real

from .._custom_types import Weight
from ..krylov._lanczos import LanczosState, lanczos_start, lanczos_step
from ..operator import is_self_adjoint
from ._base import AbstractKrylov, check_max_dimension
from ._family import scalar_family
from ._grow import checkpoints, grow
from ._lanczos import Eigen, diagonalise, functions_of, scaled
from ._reduction import Reduction
from ._self_dual import self_dual, self_dual_lift

_FIRST_CHECK, _CHECK_RATIO = 8, 1.15
_DEFAULT_DIMENSION = 64
# Panels of the quadrature towards both ends of a segment, and nodes in each: every rate up to 2^40 is resolved.
_PANELS, _NODES = 40, 10


class Shifted(eqx.Module):
    """The small matrix `H = (I - T⁻¹) / γ` of a resolvent's tridiagonal `T`, diagonalised; and `γ`."""

    eigen: Eigen
    shift: Real[Array, ""]


class ShiftInvert(AbstractKrylov):
    r"""Lanczos' method with the resolvent $(I - \gamma A)^{-1}$ in the place of $A$, for very stiff diffusion.

    $(I - \gamma A)^{-1} V_m = V_m T_m + \dots$, then $f(tA) v \approx \|v\|\, V_m f(t H_m) e_1$ with
    $H_m = (I - T_m^{-1})/\gamma$. The fast modes, which nobody sees, converge first instead of last: 10 to 32 solves
    whatever the mesh, where a polynomial needs $\sqrt{t\rho}$ applications, $10^5$ for a well test on a radial grid
    (van den Eshof, Hochbruck 2006; Moret, Novati 2004). A space serves output times within a decade.

    Serves operators that are self-adjoint in their weight and tridiagonal: one-dimensional grids, uniform, graded or
    radial, and lineax's tridiagonal operators. Gradients by two such spaces. Forward mode and second derivatives go
    through a polynomial space of the tangent's operator, which a very stiff problem makes fail, and says so.

    **Arguments:**

    - `max_dimension`: how many vectors may be stored; 64 by default.
    - `shift`: `γ` as a share of the duration; 0.02 to 0.04 needs the fewest solves.

    Adjoint: `TwoSidedAdjoint`.
    """

    max_dimension: int | None = eqx.field(default=None, static=True)
    shift: float = eqx.field(default=0.03, static=True)

    def __check_init__(self):
        check_max_dimension(self.max_dimension)
        if not self.shift > 0:
            message = f"`shift` must be positive, but is {self.shift}."
            raise ValueError(message)

    @property
    def name(self) -> str:
        return "ShiftInvert"

    @property
    def max_steps(self) -> int:
        return 64

    @property
    def window(self) -> float | None:
        return 10.0

    def check(self, operator: lx.AbstractLinearOperator) -> None:
        if not (is_self_adjoint(operator) and lx.is_tridiagonal(operator)):
            message = (
                "`method=ShiftInvert()` solves tridiagonal systems: it needs an operator that is self-adjoint in its "
                f"weight and tridiagonal (a one-dimensional grid), and {type(operator).__name__} is not known to be. "
                "Use `krylovpde.Lanczos()` or `krylovpde.Chebyshev()`."
            )
            raise ValueError(message)

    def capacity(self, operator: lx.AbstractLinearOperator) -> int:
        size = sum(leaf.size for leaf in jtu.tree_leaves(operator.in_structure()))
        return min(_DEFAULT_DIMENSION if self.max_dimension is None else self.max_dimension, max(size, 1))

    def reduce(
        self,
        operator: lx.AbstractLinearOperator,
        weight: Weight,
        start: PyTree[Array],
        goal: Real[Array, ""],
        accept: Callable[[Reduction], Array],
    ) -> Reduction:
        capacity = self.capacity(operator)
        shift = jnp.where(goal == 0, 1.0, self.shift * jnp.abs(goal))
        solve = _resolvent(operator, shift)
        reduction = grow(
            lanczos_start(start, weight, capacity, sign=1),
            lambda state: lanczos_step(solve, weight, state),
            functools.partial(_invert, shift),
            lambda trial: accept(_rescaled(trial, shift)),
            checkpoints(capacity, _FIRST_CHECK, _CHECK_RATIO),
        )
        return _rescaled(reduction, shift)

    def coefficients(
        self, order: int, lowest: int, highest: int, t: Real[Array, ""], reduction: Reduction
    ) -> tuple[Inexact[Array, "levels capacity"], Real[Array, ""]]:
        eigen = reduction.small.eigen
        values, growth = functions_of(order, lowest, highest, t, eigen)
        return scaled((values * eigen.vectors[0]) @ eigen.vectors.T, reduction, eigen.real), growth

    def dual_coefficients(
        self, order: int, lowest: int, highest: int, t: Real[Array, ""], reduction: Reduction
    ) -> tuple[Inexact[Array, "levels capacity"], Real[Array, ""]]:
        return self.coefficients(order, lowest, highest, t, reduction)

    def tail(self, order: int, component: int, table: Array, reduction: Reduction) -> Inexact[Array, " capacity"]:
        # The defect is h/γ e_mᵀ T⁻¹ F e_1 (I - γA) v_(m+1); T⁻¹ F_(l+1) = F_(l+1) - γ F_l but for the first entry, and
        # the part with γA, integrated by parts, is at most of the size of γ F_l.
        upper, lower = table[2 * order - 1 - component], table[2 * order - 2 - component]
        shift = reduction.small.shift.astype(table.dtype)
        return jnp.abs(upper - shift * lower) + jnp.abs(shift * lower)

    def longest(self, order: int, reduction: Reduction) -> Real[Array, ""]:
        return jnp.full_like(reduction.norm, jnp.inf)

    def dual(
        self, operator: lx.AbstractLinearOperator, weight: Weight, cotangent: PyTree[Array]
    ) -> tuple[lx.AbstractLinearOperator, Weight, PyTree[Array]]:
        return self_dual(operator, weight, cotangent)

    def dual_lift(
        self, weight: Weight, reduction: Reduction, coefficients: Inexact[Array, "*k capacity"]
    ) -> PyTree[Array]:
        return self_dual_lift(weight, reduction, coefficients)

    def pairing(
        self,
        order: int,
        level_dual: int,
        level: int,
        offset: Real[Array, ""],
        span: Real[Array, ""],
        dual: Reduction,
        primal: Reduction,
    ) -> Inexact[Array, "capacity capacity"]:
        nodes, weights = _graded_quadrature()
        real = span.dtype
        s, w = span * jnp.asarray(nodes, real)[:, None], span * jnp.asarray(weights, real)[:, None]
        rest = span * jnp.asarray(nodes[::-1], real)[:, None]  # span - s, without cancellation
        left, right = dual.small.eigen, primal.small.eigen
        first = scalar_family(order, level_dual, level_dual, rest, left.values)[0] * w
        second = scalar_family(order, level, level, offset + s, right.values)[0]
        kernel = left.vectors[0][:, None] * (first.T @ second) * right.vectors[0][None, :]
        return kernel * (dual.norm * primal.norm).astype(kernel.dtype)

    def sizes(self, capacity: int) -> tuple[int, ...]:
        return (capacity,)

    def to_basis(self, reduction: Reduction, coordinates: Inexact[Array, "k capacity"]) -> Inexact[Array, "k capacity"]:
        return coordinates @ reduction.small.eigen.vectors.T

    def dual_to_basis(
        self, reduction: Reduction, coordinates: Inexact[Array, "k capacity"]
    ) -> Inexact[Array, "k capacity"]:
        return coordinates @ reduction.small.eigen.vectors.T


def _resolvent(operator: lx.AbstractLinearOperator, shift: Array) -> Callable[[Array], Array]:
    main, lower, upper = lx.tridiagonal(operator)

    def solve(x: Array) -> Array:
        parts = [-shift.astype(x.dtype) * part.astype(x.dtype) for part in (main, lower, upper)]
        matrix = lx.TridiagonalLinearOperator(1.0 + parts[0], parts[1], parts[2])
        return lx.linear_solve(matrix, x.reshape(-1), lx.Tridiagonal(), throw=False).value.reshape(x.shape)

    return solve


def _invert(shift: Array, state: LanczosState, count: int) -> Shifted:
    """The eigenvalues of `A` from those of the resolvent, which lie in (0, 1]; padding stays zero."""
    eigen = diagonalise(state, count)
    safe = jnp.maximum(eigen.values, jnp.finfo(eigen.values.dtype).eps)
    values = (1.0 - 1.0 / safe) / shift.astype(safe.dtype)
    return Shifted(dataclasses.replace(eigen, values=values), shift)


def _rescaled(reduction: Reduction, shift: Array) -> Reduction:
    return dataclasses.replace(reduction, coupling=reduction.coupling / shift.astype(reduction.coupling.dtype))


@functools.cache
def _graded_quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Gauss–Legendre on panels that halve towards both ends of [0, 1]; symmetric, so `1 - nodes = nodes[::-1]`."""
    x, w = np.polynomial.legendre.leggauss(_NODES)
    edges = np.concatenate([[0.0], 0.5 ** np.arange(_PANELS, 0, -1)])
    lengths = np.diff(edges)
    nodes = np.concatenate([edge + length * (x + 1) / 2 for edge, length in zip(edges[:-1], lengths, strict=True)])
    weights = np.concatenate([length * w / 2 for length in lengths])
    return np.concatenate([nodes, (1.0 - nodes)[::-1]]), np.concatenate([weights, weights[::-1]])
