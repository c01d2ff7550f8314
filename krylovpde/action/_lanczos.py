"""Functions of (skew-)self-adjoint operators from Lanczos' three-term recurrence."""

import functools
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jax import lax
from jaxtyping import Array, Inexact, PyTree, Real

from .._custom_types import Weight
from .._solution import RESULTS
from ..krylov._lanczos import LanczosState, lanczos_start, lanczos_step
from ..operator import is_self_adjoint, is_skew_adjoint
from ._base import AbstractKrylov, check_max_dimension
from ._batch import batch_max
from ._family import scalar_family
from ._grow import checkpoints, default_capacity, grow
from ._reduction import Reduction
from ._self_dual import self_dual, self_dual_lift

_FIRST_CHECK, _CHECK_RATIO = 6, 1.3


class Eigen(eqx.Module):
    """`T = Q diag(z) Q*`, padded with zeros. `real`: functions of it, applied to real vectors, are real."""

    values: Inexact[Array, " capacity"]
    vectors: Inexact[Array, "capacity capacity"]
    real: bool = eqx.field(static=True)


class Lanczos(AbstractKrylov):
    r"""Lanczos' method for operators that are self-adjoint or skew-adjoint in their weight.

    $A V_m = V_m T_m + h\, v_{m+1} e_m^\top$ with a tridiagonal $T_m$, then
    $f(tA) v \approx \|v\|\, V_m f(tT_m) e_1$. Two inner products a step, no reorthogonalisation: for the entire
    functions of this package a loss of orthogonality costs a few steps, never accuracy (Druskin, Knizhnerman 1989).
    The dimension grows as $\sqrt{t\rho \ln(1/\varepsilon)}$ for diffusion and as $0.35\, t \sqrt{\rho}$ for waves,
    which is why a long recurrence beats restarts: a space that is restarted loses the square root.

    **Arguments:**

    - `max_dimension`: how many vectors may be stored. By default as many as fit into 256 MiB, between 32 and 256. A
        smaller number means more and shorter sub-steps, never a wrong result.

    Serves every operator for which `krylovpde.is_self_adjoint` or `krylovpde.is_skew_adjoint` holds, in any diagonal
    weight, real or complex. Adjoints: `TwoSidedAdjoint` (default), `IterationAdjoint`, `DirectAdjoint`.
    """

    max_dimension: int | None = eqx.field(default=None, static=True)

    def __check_init__(self):
        check_max_dimension(self.max_dimension)

    @property
    def name(self) -> str:
        return "Lanczos"

    @property
    def max_steps(self) -> int:
        return 64

    @property
    def window(self) -> float | None:
        return None

    def check(self, operator: lx.AbstractLinearOperator) -> None:
        if not (is_self_adjoint(operator) or is_skew_adjoint(operator)):
            message = (
                "`method=Lanczos()` needs an operator that is tagged self-adjoint or skew-adjoint in its weight, and "
                f"{type(operator).__name__} is not. Say so with `krylovpde.annotate(operator, "
                "tags=krylovpde.self_adjoint_tag, weight=...)` if it is (`krylovpde.verify.structure_test` checks "
                "it), or use `krylovpde.Arnoldi()`."
            )
            raise ValueError(message)

    def capacity(self, operator: lx.AbstractLinearOperator) -> int:
        structure = operator.in_structure()
        size = sum(leaf.size for leaf in jtu.tree_leaves(structure))
        if self.max_dimension is not None:
            return min(self.max_dimension, max(size, 1))
        return default_capacity(structure, 32, 256)

    def reduce(
        self,
        operator: lx.AbstractLinearOperator,
        weight: Weight,
        start: PyTree[Array],
        goal: Real[Array, ""],
        tolerance: float,
        accept: Callable[[Reduction], Array],
    ) -> Reduction:
        del goal, tolerance  # one space serves all durations, and products are exact
        capacity = self.capacity(operator)
        sign = 1 if is_self_adjoint(operator) else -1
        state = lanczos_start(start, weight, capacity, sign=sign)
        return grow(
            state,
            lambda state: lanczos_step(operator.mv, weight, state),
            diagonalise,
            accept,
            checkpoints(capacity, _FIRST_CHECK, _CHECK_RATIO),
        )

    def coefficients(
        self, order: int, lowest: int, highest: int, t: Real[Array, ""], reduction: Reduction
    ) -> tuple[Inexact[Array, "levels capacity"], Real[Array, ""]]:
        eigen = reduction.small
        values, growth = functions_of(order, lowest, highest, t, eigen)
        rows = (values * jnp.conj(eigen.vectors[0])) @ eigen.vectors.T
        return scaled(rows, reduction, eigen.real), growth

    def dual_coefficients(
        self, order: int, lowest: int, highest: int, t: Real[Array, ""], reduction: Reduction
    ) -> tuple[Inexact[Array, "levels capacity"], Real[Array, ""]]:
        # The small matrix of the dual space is Tᵀ = conj(Q) z Qᵀ.
        eigen = reduction.small
        values, growth = functions_of(order, lowest, highest, t, eigen)
        rows = (values * eigen.vectors[0]) @ jnp.conj(eigen.vectors).T
        return scaled(rows, reduction, eigen.real), growth

    def tail(self, order: int, component: int, table: Array, reduction: Reduction) -> Inexact[Array, " capacity"]:
        return table[2 * order - 1 - component]

    def longest(self, order: int, reduction: Reduction) -> Real[Array, ""]:
        return jnp.full_like(reduction.norm, jnp.inf)

    def outcome(self, reduction: Reduction) -> RESULTS:
        return RESULTS.successful

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
        capacity = dual.small.values.size
        sizes = self.sizes(capacity)
        index = jnp.searchsorted(jnp.asarray(sizes, jnp.int32), batch_max(dual.dimension))
        branches = [functools.partial(_kernel, size, order, level_dual, level) for size in sizes]
        small_dual = eqx.tree_at(lambda e: e.vectors, dual.small, dual.small.vectors[0])
        small_primal = eqx.tree_at(lambda e: e.vectors, primal.small, primal.small.vectors[0])
        index = jnp.minimum(index, len(sizes) - 1)
        kernel = lax.switch(index, branches, offset, span, small_dual, small_primal)
        kernel = kernel * (dual.norm * primal.norm).astype(kernel.dtype)
        if dual.small.real and jnp.iscomplexobj(kernel):
            # Skew and real: the factors are real only in the basis.
            return jnp.real(jnp.conj(dual.small.vectors) @ kernel @ primal.small.vectors.T)
        return kernel

    def sizes(self, capacity: int) -> tuple[int, ...]:
        # Some of the dimensions at which `reduce` diagonalised: a space of d vectors was diagonalised at the first
        # such dimension >= d, so no eigenpair of it lies beyond the first size >= d.
        checks = checkpoints(capacity, _FIRST_CHECK, _CHECK_RATIO)
        return tuple(sorted({*checks[5::5], capacity}))

    def to_basis(self, reduction: Reduction, coordinates: Inexact[Array, "k capacity"]) -> Inexact[Array, "k capacity"]:
        if reduction.small.real and jnp.iscomplexobj(reduction.small.vectors):
            return coordinates
        return coordinates @ reduction.small.vectors.T

    def dual_to_basis(
        self, reduction: Reduction, coordinates: Inexact[Array, "k capacity"]
    ) -> Inexact[Array, "k capacity"]:
        if reduction.small.real and jnp.iscomplexobj(reduction.small.vectors):
            return coordinates
        return coordinates @ jnp.conj(reduction.small.vectors).T


def diagonalise(state: LanczosState, count: int) -> Eigen:
    """Eigenvalues and vectors of the leading block; `eigh` only, also for skew operators, where `iT` is Hermitian."""
    capacity = state.lengths.size
    block = state.tridiagonal[:count, :count]
    real = not any(jnp.iscomplexobj(leaf) for leaf in jtu.tree_leaves(state.basis))
    if state.sign == 1:
        values, vectors = jnp.linalg.eigh(block)
    else:
        dtype = np.result_type(block.dtype, np.complex64)
        values, vectors = jnp.linalg.eigh(block.astype(dtype) * 1j)
        values = values.astype(dtype) * -1j
    pad = capacity - count
    return Eigen(jnp.pad(values, (0, pad)), jnp.pad(vectors, ((0, pad), (0, pad))), real)


def functions_of(order: int, lowest: int, highest: int, t: Array, eigen: Eigen) -> tuple[Array, Array]:
    """`F_l(t, z)` of the eigenvalues, and the growth."""
    family = scalar_family(order, min(lowest, 0), max(highest, 0), t, eigen.values)
    start = -min(lowest, 0)
    growth = jnp.maximum(jnp.max(jnp.abs(family[start])), 1.0)
    return family[lowest + start : highest + start + 1], growth


def scaled(rows: Array, reduction: Reduction, real: bool) -> Array:
    """Coefficients for the start itself, real where they are."""
    rows = jnp.real(rows) if real else rows
    return rows * reduction.norm.astype(rows.dtype)


def _kernel(size: int, order: int, level_dual: int, level: int, offset, span, dual: Eigen, primal: Eigen) -> Array:
    """`p_a conj(q_b) ∫ F_i(span - s, γ_a) F_l(offset + s, λ_b) ds` by Gauss–Legendre quadrature.

    The closed forms are divided differences that cancel where γ ≈ λ; a quadrature has positive weights and no
    cancellation. Each factor is resolved in its space of dimension <= `size`, a polynomial of degree about 1.4 `size`
    in s for waves (frequency up to 2.7 dimensions) and less for diffusion, so 1.5 `size` + 16 nodes integrate their
    product to rounding.
    """
    nodes, weights = np.polynomial.legendre.leggauss(int(1.5 * size) + 16)
    dtype = dual.vectors.dtype
    real = span.dtype
    s = (span * jnp.asarray((nodes + 1.0) / 2.0, real))[:, None]
    w = span * jnp.asarray(weights / 2.0, real)
    left = scalar_family(order, level_dual, level_dual, span - s, dual.values[:size])[0]
    right = scalar_family(order, level, level, offset + s, primal.values)[0]
    kernel = (left * w[:, None].astype(left.dtype)).T @ right
    kernel = dual.vectors[:size, None] * kernel.astype(dtype) * jnp.conj(primal.vectors)[None, :]
    return jnp.pad(kernel, ((0, dual.values.size - size), (0, 0)))
