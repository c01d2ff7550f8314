r"""Arnoldi's factorization with its adjoint system as derivative rule: O(n m) memory, no loop is ever unrolled.

The factorization of `m` steps is defined by four constraints on `Q` (n × m), `H` (upper Hessenberg, its subdiagonal
real), the residual `r` and the norm `ν`, in the inner product with the real diagonal weight `M`:

    (1)  A Q = Q H + r e_mᵀ        (2)  Q* M Q = I        (3)  Q* M r = 0        (4)  ν Q e_1 = v

Derivation of the adjoint system: Theorem 4.1 of Krämer, Moreno-Muñoz, Roy, Hauberg, *Gradients of functions of large
matrices* (2024), here also for a weight and for complex numbers. Write `<a, b> = Re tr(a* b)`, and let a bar denote
the cotangent in this pairing, so that a loss changes by `<Q̄, dQ> + <H̄, dH> + <r̄, dr> + ν̄ dν`. (JAX pairs without the
conjugate: its cotangents are the conjugates of these, at the entrance and at the exit.) Add the differential of each
constraint, times a multiplier:

      <Λ, dA Q + A dQ - dQ H - Q dH - dr e_mᵀ>                            Λ = [λ_1 ... λ_m],  n × m
    + ½ <Γ, dQ* M Q + Q* M dQ + Q* dM Q>                                  Γ Hermitian, as is what it multiplies
    + <γ, dQ* M r + Q* M dr + Q* dM r> + <λ_0, dv - dν q_1 - ν dq_1>

and let the factors of dQ, dH, dr, dν vanish:

    dQ:  Q̄ + A*Λ - Λ H* + M Q Γ + M r γ* - ν λ_0 e_1ᵀ = 0                  (A* = conj(A)ᵀ, without the weight)
    dH:  (Q*Λ)_ij = H̄_ij for i ≤ j,    Re (Q*Λ)_{j+1,j} = Re H̄_{j+1,j}     (only these entries can change)
    dr:  λ_m = r̄ + M Q γ                  dν:  Re (q_1* λ_0) = ν̄

What is left of the loss is the gradient:  `<λ_0, dv> + Σ_j <λ_j, dA q_j> + ½ <Γ, Q* dM Q> + <γ, Q* dM r>`. The second
term is Corollary 4.3: one vector–Jacobian product with respect to the parameters per step. The last two are the
derivative with respect to the weight, which the factorization does depend on (a function of `A` alone does not).

Solve backwards. With `h_j` the entry (j, j-1) of `H` (`h_1 = ν`), column j of dQ reads

    h_j λ_{j-1} = q̄_j + A*λ_j - Σ_{k≥j} λ_k conj(H_jk) + M r conj(γ_j) + M Σ_i q_i Γ_ij

Here Γ_ij for i > j is conj(Γ_ji), known from the steps before; Γ_ij for i ≤ j is found from row conditions dH of column
j-1 (for j = 1: dν), as `M Q` times a correction, which is a projection and can be repeated against rounding: this is
the re-projection of the paper's Appendix. The last column (dr) has the same form, with r in place of q_{m+1}.

A breakdown at step k: `h_{k+1} = 0` and everything past it is constant zero. `1/h` is replaced by 0, the recurrence
starts again from the conditions dH of column k alone, and no number becomes infinite.
"""

import functools as ft
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, Inexact, PyTree

from .._custom_types import Weight
from ._arnoldi import arnoldi_start, arnoldi_step
from ._operand import apply
from ._space import (
    add,
    axpy,
    combine,
    conjugate,
    normalise,
    project,
    row,
    scale,
    set_row,
    subtract,
    weighted,
    zeros_basis,
)


class Factors(NamedTuple):
    """`basis`, `matrix`, `residual` and `norm` of the constraints (1) to (4)."""

    basis: PyTree[Inexact[Array, "..."]]
    matrix: Inexact[Array, "m m"]
    residual: PyTree[Inexact[Array, "..."]]
    norm: Float[Array, ""]


class _AdjointCarry(NamedTuple):
    multiplier: PyTree  # λ_j
    multipliers: PyTree  # the rows λ_k, k ≥ j, of a basis; the others are zero
    gamma: Array  # Γ, its columns i > j on and above the diagonal; the others are zero
    parameters_bar: PyTree
    weight_bar: PyTree


@ft.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def factorise(
    rest: PyTree, num_steps: int, num_passes: int, parameters: PyTree, arrays: PyTree, weight: Weight, vector: PyTree
) -> Factors:
    """`num_steps` of Arnoldi's method, with `num_passes` of Gram–Schmidt in each.

    The operator comes in three parts (`krylovpde.krylov._operand.split`): parameters, other arrays, and the rest.
    Derivatives reach the parameters, the weight and the vector.
    """
    operator = eqx.combine(parameters, arrays, rest)

    def step(_, state):
        return arnoldi_step(ft.partial(apply, operator), weight, state, num_passes=num_passes)

    state = jax.lax.fori_loop(0, num_steps, step, arnoldi_start(vector, weight, num_steps))
    # After a breakdown the residual is rounding, and its length exactly zero.
    residual = normalise(state.residual, jnp.ones_like(state.residual_norm), state.residual_norm != 0.0)
    return Factors(state.basis, state.hessenberg, residual, state.lengths[0])


def _forward(rest, num_steps, num_passes, parameters, arrays, weight, vector):
    # Through the rule itself, so that a second derivative does not look into the loop.
    factors = factorise(rest, num_steps, num_passes, parameters, arrays, weight, vector)
    return factors, (parameters, arrays, weight, factors)


def _backward(rest, num_steps, num_passes, saved, cotangent: Factors):
    parameters, arrays, weight, factors = saved

    def application(values, vector):
        return apply(eqx.combine(values, arrays, rest), vector)

    # JAX's cotangents to those of the pairing above; those of the basis are conjugated row by row.
    system = _System(weight, factors, jnp.conj(cotangent.matrix), cotangent.norm, num_passes)
    residual_bar = conjugate(cotangent.residual)
    multiplier, gamma_last = system.constrain(residual_bar, num_steps)
    step = ft.partial(_adjoint_step, application, parameters, system, gamma_last, cotangent.basis)
    first = _AdjointCarry(
        multiplier=multiplier,
        multipliers=set_row(zeros_basis(multiplier, num_steps), num_steps - 1, multiplier),
        gamma=jnp.zeros_like(factors.matrix),
        parameters_bar=jtu.tree_map(jnp.zeros_like, parameters),
        # <γ, Q* dM r>; the other term of dM is gathered on the way.
        weight_bar=_weight_bar(weight, factors.residual, combine(factors.basis, gamma_last)),
    )
    last, _ = jax.lax.scan(step, first, jnp.arange(num_steps), reverse=True)
    return last.parameters_bar, None, last.weight_bar, conjugate(last.multiplier)


factorise.defvjp(_forward, _backward)


class _System(NamedTuple):
    """The adjoint system's right-hand sides, and the conditions dH and dν."""

    weight: Weight
    factors: Factors
    matrix_bar: Array
    norm_bar: Array
    num_passes: int

    def constrain(self, candidate: PyTree, j) -> tuple[PyTree, Array]:
        """Adds to a candidate for `λ_{j}`, j from 0 to m, the `M Q c` by which it satisfies the conditions; and `c`.

        Conditions dH of column j (counted from 1): all entries above the subdiagonal, and the subdiagonal's real part;
        for j = 0, dν: the real part of the first.
        """
        m = self.matrix_bar.shape[0]
        rows = jnp.arange(m)
        wanted = jnp.where(
            j > 0,
            jax.lax.dynamic_index_in_dim(self.matrix_bar, jnp.maximum(j - 1, 0), 1, keepdims=False),
            jnp.zeros((m,), self.matrix_bar.dtype).at[0].set(self.norm_bar.astype(self.matrix_bar.dtype)),
        )
        total = jnp.zeros_like(wanted)
        for _ in range(self.num_passes):
            missing = wanted - project(self.factors.basis, candidate)
            # Row number j (from 0) is the subdiagonal of column j (from 1).
            correction = jnp.where(rows < j, missing, jnp.zeros_like(missing))
            correction = jnp.where(rows == j, jnp.real(missing).astype(missing.dtype), correction)
            candidate = add(candidate, weighted(combine(self.factors.basis, correction), self.weight))
            total = total + correction
        return candidate, total


def _adjoint_step(application, parameters, system: _System, gamma_last, basis_bar, carry: _AdjointCarry, j):
    """From `λ_j` to `λ_{j-1}`; `j` counts from zero, so `h_j` is the entry (j, j-1) of H and row j of Γ is Γ_j·."""
    basis, matrix, residual, length = system.factors
    vector = row(basis, j)
    _, pull = jax.vjp(application, parameters, vector)
    parameters_bar, image_bar = pull(conjugate(carry.multiplier))

    matrix_row = jax.lax.dynamic_index_in_dim(matrix, j, 0, keepdims=False)
    gamma_known = jnp.conj(jax.lax.dynamic_index_in_dim(carry.gamma, j, 0, keepdims=False))  # Γ_ij, i > j
    basis_gamma = combine(basis, gamma_known)
    right_side = add(conjugate(row(basis_bar, j)), conjugate(image_bar))
    right_side = subtract(right_side, combine(carry.multipliers, jnp.conj(matrix_row)))
    right_side = add(right_side, weighted(axpy(jnp.conj(gamma_last[j]), residual, basis_gamma), system.weight))

    subdiagonal = jnp.real(matrix_row[jnp.maximum(j - 1, 0)])
    h = jnp.where(j > 0, subdiagonal, length)
    multiplier, correction = system.constrain(normalise(right_side, h, h > 0.0), j)
    gamma_found = h.astype(correction.dtype) * correction  # Γ_ij, i ≤ j
    # ½ <Γ, Q* dM Q>, column j
    basis_gamma = add(basis_gamma, combine(basis, gamma_found))
    return _AdjointCarry(
        multiplier=multiplier,
        # Written after it was read, so in place. The last of all, λ_0, lands on the row of λ_1, which is done with.
        multipliers=set_row(carry.multipliers, jnp.maximum(j - 1, 0), multiplier),
        gamma=jax.lax.dynamic_update_index_in_dim(carry.gamma, gamma_found, j, 1),
        parameters_bar=jtu.tree_map(jnp.add, carry.parameters_bar, parameters_bar),
        weight_bar=_add_optional(carry.weight_bar, _weight_bar(system.weight, scale(0.5, vector), basis_gamma)),
    ), None


def _weight_bar(weight: Weight, first: PyTree, second: PyTree) -> Weight:
    """The cotangent of a diagonal `M` from a term `Re(first* dM second)`; None where there is no weight."""
    if weight is None:
        return None
    return jtu.tree_map(lambda w, a, b: jnp.real(jnp.conj(a) * b).astype(w.dtype), weight, first, second)


def _add_optional(first: Weight, second: Weight) -> Weight:
    return None if first is None else jtu.tree_map(jnp.add, first, second)
