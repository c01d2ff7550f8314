r"""Lanczos' three-term recurrence with its adjoint system as derivative rule: also a three-term recurrence.

For `A` self-adjoint in the real diagonal weight `M`, with real α and positive β (`β_m q_{m+1}` stands for the residual
`r`, `β_0 q_1` for the start vector `v`, so `β_0 = ν`), `m` steps are defined by

    (1)  A q_j = β_{j-1} q_{j-1} + α_j q_j + β_j q_{j+1}        (q_0 = 0)
    (2)  q_j* M q_j = 1        (3)  Re(q_j* M q_{j+1}) = 0        (4)  ν q_1 = v

which is what the recurrence enforces; the rest of the orthogonality follows from them and the self-adjointness.

Derivation of the adjoint system: Theorem 4.2 of Krämer, Moreno-Muñoz, Roy, Hauberg, *Gradients of functions of large
matrices* (2024), here also for a weight and for Hermitian operators. With the pairing `<a, b> = Re(a* b)` and its
cotangents (conjugates of JAX's), the multipliers λ_j of (1), δ_j/2 of (2), ε_j of (3), λ_0 of (4):

    dq_j:  q̄_j + A*λ_j - α_j λ_j - β_j λ_{j+1} - β_{j-1} λ_{j-1} + M (δ_j q_j + ε_j q_{j+1} + ε_{j-1} q_{j-1}) = 0
    dα_j:  Re(q_j* λ_j) = ᾱ_j          dβ_j:  Re(q_j* λ_{j+1}) + Re(q_{j+1}* λ_j) = β̄_j          (dν: Re(q_1* λ_0) = ν̄)
    dr:    λ_m = r̄ + ε_m M q_m

and the gradient is `<λ_0, dv> + Σ_j (<λ_j, dA q_j> + ½ δ_j q_j* dM q_j + ε_j Re(q_j* dM q_{j+1}))`, Corollary 4.3 and
the weight's part. Backwards: `ε_m` from dα_m, then from dq_j the vector β_{j-1} λ_{j-1} up to two numbers, δ_j and
ε_{j-1}, which dβ_{j-1} and dα_{j-1} determine.

A perturbation is assumed to keep the operator self-adjoint in its weight, as every parameter of one does: entries of a
matrix that mirror each other are to change together. A breakdown is treated as in `_arnoldi_adjoint`: `1/β` becomes 0.
"""

import functools as ft
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, Inexact, PyTree

from .._custom_types import Weight
from ._lanczos import lanczos_start, lanczos_step
from ._operand import apply
from ._space import add, axpy, conjugate, inner, normalise, row, scale, weighted


class Factors(NamedTuple):
    """`q_j`, `α_j`, `β_{j-1}` (the first is ν) and `r` of the constraints (1) to (4)."""

    basis: PyTree[Inexact[Array, "..."]]
    diagonal: Float[Array, " m"]
    lengths: Float[Array, " m"]
    residual: PyTree[Inexact[Array, "..."]]


class _AdjointCarry(NamedTuple):
    multiplier: PyTree  # λ_j
    last_multiplier: PyTree  # λ_{j+1}
    last_beta: Array  # β_j
    last_vector: PyTree  # q_{j+1}, or r in the first step
    epsilon: Array  # ε_j
    parameters_bar: PyTree
    weight_bar: PyTree


@ft.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def factorise(
    rest: PyTree, num_steps: int, parameters: PyTree, arrays: PyTree, weight: Weight, vector: PyTree
) -> Factors:
    """`num_steps` of Lanczos' recurrence without reorthogonalisation.

    The operator comes in three parts (`krylovpde.krylov._operand.split`): parameters, other arrays, and the rest.
    Derivatives reach the parameters, the weight and the vector.
    """
    operator = eqx.combine(parameters, arrays, rest)

    def step(_, state):
        return lanczos_step(ft.partial(apply, operator), weight, state)

    state = jax.lax.fori_loop(0, num_steps, step, lanczos_start(vector, weight, num_steps))
    # After a breakdown the residual is rounding, and its length exactly zero.
    residual = normalise(state.residual, jnp.ones_like(state.residual_norm), state.residual_norm != 0.0)
    return Factors(state.basis, state.diagonal, state.lengths, residual)


def _forward(rest, num_steps, parameters, arrays, weight, vector):
    # Through the rule itself, so that a second derivative does not look into the loop.
    factors = factorise(rest, num_steps, parameters, arrays, weight, vector)
    return factors, (parameters, arrays, weight, factors)


def _backward(rest, num_steps, saved, cotangent: Factors):
    parameters, arrays, weight, factors = saved

    def application(values, vector):
        return apply(eqx.combine(values, arrays, rest), vector)

    # dr and dα_m: λ_m and ε_m
    residual_bar = conjugate(cotangent.residual)
    last = row(factors.basis, num_steps - 1)
    epsilon = cotangent.diagonal[-1] - _real_part(last, residual_bar)
    first = _AdjointCarry(
        multiplier=axpy(epsilon, weighted(last, weight), residual_bar),
        last_multiplier=jtu.tree_map(jnp.zeros_like, residual_bar),
        last_beta=jnp.zeros_like(epsilon),
        last_vector=factors.residual,
        epsilon=epsilon,
        parameters_bar=jtu.tree_map(jnp.zeros_like, parameters),
        weight_bar=jtu.tree_map(jnp.zeros_like, weight),
    )
    step = ft.partial(_adjoint_step, application, parameters, weight, factors, cotangent)
    carry, _ = jax.lax.scan(step, first, jnp.arange(num_steps), reverse=True)
    return carry.parameters_bar, None, carry.weight_bar, conjugate(carry.multiplier)


factorise.defvjp(_forward, _backward)


def _adjoint_step(application, parameters, weight, factors: Factors, cotangent: Factors, carry: _AdjointCarry, j):
    """From `λ_j` to `λ_{j-1}`; `j` counts from zero, so that `lengths[j]` is `β_{j-1}`."""
    vector = row(factors.basis, j)
    # There is no vector before the first: its conditions then read zero.
    is_inner = (j > 0).astype(carry.epsilon.dtype)
    before = jnp.maximum(j - 1, 0)
    previous = scale(is_inner, row(factors.basis, before))
    alpha, beta = factors.diagonal[j], factors.lengths[j]

    _, pull = jax.vjp(application, parameters, vector)
    parameters_bar, image_bar = pull(conjugate(carry.multiplier))
    # dq_j without the terms of δ_j and ε_{j-1}
    right_side = add(conjugate(row(cotangent.basis, j)), conjugate(image_bar))
    right_side = axpy(-alpha, carry.multiplier, right_side)
    right_side = axpy(-carry.last_beta, carry.last_multiplier, right_side)
    right_side = axpy(carry.epsilon, weighted(carry.last_vector, weight), right_side)

    candidate = normalise(right_side, beta, beta > 0.0)
    # dβ_{j-1} (for the first: dν) and dα_{j-1}; δ_j = β δ, ε_{j-1} = β ε
    delta = cotangent.lengths[j] - _real_part(previous, carry.multiplier) - _real_part(vector, candidate)
    epsilon = is_inner * cotangent.diagonal[before] - _real_part(previous, candidate)
    correction = axpy(epsilon, previous, scale(delta, vector))
    multiplier = add(candidate, weighted(correction, weight))

    weight_bar = _weight_bar(weight, vector, axpy(0.5 * beta * delta, vector, scale(carry.epsilon, carry.last_vector)))
    return _AdjointCarry(
        multiplier=multiplier,
        last_multiplier=carry.multiplier,
        last_beta=beta,
        last_vector=vector,
        epsilon=beta * epsilon,
        parameters_bar=jtu.tree_map(jnp.add, carry.parameters_bar, parameters_bar),
        weight_bar=jtu.tree_map(jnp.add, carry.weight_bar, weight_bar),
    ), None


def _real_part(x: PyTree, y: PyTree) -> Array:
    """`Re(x* y)`."""
    return jnp.real(inner(x, y))


def _weight_bar(weight: Weight, first: PyTree, second: PyTree) -> Weight:
    """The cotangent of a diagonal `M` from a term `Re(first* dM second)`; None where there is no weight."""
    if weight is None:
        return None
    return jtu.tree_map(lambda w, a, b: jnp.real(jnp.conj(a) * b).astype(w.dtype), weight, first, second)
