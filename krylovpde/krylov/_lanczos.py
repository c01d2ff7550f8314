"""One step of Lanczos' method, free of side effects: what every loop over a (skew-)self-adjoint space is made of."""

import dataclasses
from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Float, Inexact, Int, PyTree

from .._custom_types import Weight
from ._breakdown import first_progress, next_progress
from ._space import (
    axpy,
    common_dtype,
    inner,
    norm,
    normalise,
    set_row,
    zeros_basis,
)


class LanczosState(eqx.Module):
    """A Krylov space of a self-adjoint (`sign = 1`) or skew-adjoint (`sign = -1`) operator under construction.

        A Q = Q T + residual e_kᵀ,     T_jj = α_j,   T_{j+1,j} = β_j,   T_{j,j+1} = sign β_j,     k = dimension

    `β_j` is real and positive. `α_j` is real for a self-adjoint operator, imaginary for a skew-adjoint one, which is
    zero if everything is real.

    The fields are those of [`krylovpde.krylov._arnoldi.ArnoldiState`][], except that

    * `diagonal`: `(capacity,)`, the numbers α; real if `sign = 1`, of the vector's dtype if `sign = -1`.
    * `lengths`: `(capacity,)`, real; first `‖v‖_M`, then `β_1, β_2, ...`: the off-diagonal is `lengths[1:]`.
    * `previous`: the last vector of the basis, kept apart so that the basis is written and never read: a loop then
      updates it in place, where reading a row makes XLA copy all of it in every step.
    """

    basis: PyTree[Inexact[Array, "..."]]
    diagonal: Inexact[Array, "*batch capacity"]
    lengths: Float[Array, "*batch capacity"]
    previous: PyTree[Inexact[Array, "..."]]
    residual: PyTree[Inexact[Array, "..."]]
    residual_norm: Float[Array, "*batch"]
    scale: Float[Array, "*batch"]
    index: Int[Array, "*batch"]
    dimension: Int[Array, "*batch"]
    done: Bool[Array, "*batch"]
    sign: Literal[-1, 1] = eqx.field(static=True)

    @property
    def tridiagonal(self) -> Inexact[Array, "capacity capacity"]:
        """The matrix `T`, zero outside its leading block of size `dimension`."""
        beta = self.lengths[1:].astype(self.diagonal.dtype)
        return jnp.diag(self.diagonal) + jnp.diag(beta, -1) + jnp.diag(self.sign * beta, 1)


def lanczos_start(vector: PyTree[Array], weight: Weight, capacity: int, *, sign: Literal[-1, 1] = 1) -> LanczosState:
    """The empty space, about to be given `vector / ‖vector‖_M` by the first step."""
    length = norm(vector, weight)
    return LanczosState(
        basis=zeros_basis(vector, capacity),
        diagonal=jnp.zeros((capacity,), length.dtype if sign == 1 else common_dtype(vector)),
        lengths=jnp.zeros((capacity,), length.dtype),
        previous=jtu.tree_map(jnp.zeros_like, vector),  # there is no vector before the first
        residual=vector,
        **first_progress(length),
        sign=sign,
    )


def lanczos_step(mv: Callable[[PyTree[Array]], PyTree[Array]], weight: Weight, state: LanczosState) -> LanczosState:
    """Normalise the residual into the next row, apply the operator, and continue the three-term recurrence.

    Only the last two vectors are read; nothing is reorthogonalised.

    **Arguments:**

    - `mv`: `x -> A x`, self-adjoint or skew-adjoint in the weight as the state's `sign` says.
    - `weight`: the diagonal weight `M` of the inner product, a pytree like the vector; None for the Euclidean one.
    - `state`: with room for one more vector, `index < capacity`.

    **Returns:** the next state.
    """
    alive = ~state.done
    vector = normalise(state.residual, state.residual_norm, alive)
    residual = axpy(-state.sign * state.residual_norm, state.previous, mv(vector))
    alpha = _diagonal_entry(vector, residual, weight, state.sign)
    residual = axpy(-alpha, vector, residual)
    residual_norm = norm(residual, weight)
    length = jnp.where(alive, state.residual_norm, jnp.zeros_like(residual_norm))
    # ‖A q_j‖² = |β_{j-1}|² + |α_j|² + |β_j|² by orthogonality; β_0, the length of the start vector, is no part of it.
    coupling = jnp.where(state.index > 0, length, jnp.zeros_like(length))
    image_norm = jnp.hypot(jnp.hypot(coupling, jnp.abs(alpha)), residual_norm)
    return dataclasses.replace(
        state,
        basis=set_row(state.basis, state.index, vector),
        diagonal=jax.lax.dynamic_update_index_in_dim(state.diagonal, alpha, state.index, 0),
        lengths=jax.lax.dynamic_update_index_in_dim(state.lengths, length, state.index, 0),
        previous=vector,
        residual=residual,
        **next_progress(state, residual_norm, image_norm),
    )


def _diagonal_entry(vector: PyTree, image: PyTree, weight: Weight, sign: int) -> Array:
    """`α = q* M A q`, without the part that the structure forbids and rounding brings."""
    if sign == 1:
        return jnp.real(inner(vector, image, weight))
    dtype = common_dtype(vector)
    if not jnp.issubdtype(dtype, jnp.complexfloating):
        return jnp.zeros((), dtype)
    imaginary = jnp.imag(inner(vector, image, weight))
    return jax.lax.complex(jnp.zeros_like(imaginary), imaginary)
