"""One step of Arnoldi's method, free of side effects: what every loop over a general Krylov space is made of."""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Float, Inexact, Int, PyTree

from .._custom_types import Weight
from ._breakdown import first_progress, next_progress
from ._space import (
    axpy,
    combine,
    common_dtype,
    inner,
    norm,
    normalise,
    project,
    set_row,
    subtract,
    weighted,
    zeros_basis,
)


class ArnoldiState(eqx.Module):
    """A Krylov space under construction, with room for `capacity` vectors.

        A Q = Q H + residual e_kᵀ,      residual_norm = ‖residual‖_M = h_{k+1,k},      k = dimension

    A row is written at the *beginning* of a step, when the residual is normalised; hence `hessenberg` never couples
    the space to rows that are not in it, and the matrix padded with zeros is block diagonal: `f(H) e_1` of the whole
    buffer holds `f(H_k) e_1`, then zeros.

    * `basis`: pytree like the vector with a leading axis `capacity`; rows not reached are zero.
    * `coefficients`: `(capacity, capacity)`, the upper triangle of `H`.
    * `lengths`: `(capacity,)`, real. `lengths[j]` divided the j-th vector: first `‖v‖_M`, then the subdiagonal of `H`.
    * `residual`, `residual_norm`: the next direction, not normalised, and its length, which is exactly zero after a
      breakdown (the residual itself is then rounding).
    * `scale`: the longest `A q` so far, against which a breakdown is judged.
    * `index`: steps taken, the no-operations among them counted. It depends on no number, so that `vmap` keeps it
      unbatched and rows are still written by a dynamic slice.
    * `dimension`: vectors in the basis.
    * `done`: set by a breakdown, or from outside once the space is large enough. From then on a step writes a zero
      row, and changes nothing else but `index`, and `residual` to zero.
    """

    # Under `vmap` a state may be looked at from outside, with its batch axis.
    basis: PyTree[Inexact[Array, "..."]]
    coefficients: Inexact[Array, "*batch capacity capacity"]
    lengths: Float[Array, "*batch capacity"]
    residual: PyTree[Inexact[Array, "..."]]
    residual_norm: Float[Array, "*batch"]
    scale: Float[Array, "*batch"]
    index: Int[Array, "*batch"]
    dimension: Int[Array, "*batch"]
    done: Bool[Array, "*batch"]

    @property
    def hessenberg(self) -> Inexact[Array, "capacity capacity"]:
        """The matrix `H`, zero outside its leading block of size `dimension`."""
        return self.coefficients + jnp.diag(self.lengths[1:].astype(self.coefficients.dtype), -1)


def arnoldi_start(vector: PyTree[Array], weight: Weight, capacity: int) -> ArnoldiState:
    """The empty space, about to be given `vector / ‖vector‖_M` by the first step."""
    dtype = common_dtype(vector)
    length = norm(vector, weight)
    return ArnoldiState(
        basis=zeros_basis(vector, capacity),
        coefficients=jnp.zeros((capacity, capacity), dtype),
        lengths=jnp.zeros((capacity,), length.dtype),
        residual=vector,
        **first_progress(length),
    )


def arnoldi_step(
    mv: Callable[[PyTree[Array]], PyTree[Array]],
    weight: Weight,
    state: ArnoldiState,
    *,
    num_passes: int = 2,
) -> ArnoldiState:
    """Normalise the residual into the next row, apply the operator, orthogonalise against all rows.

    **Arguments:**

    - `mv`: `x -> A x`.
    - `weight`: the diagonal weight `M` of the inner product, a pytree like the vector; None for the Euclidean one.
    - `state`: with room for one more vector, `index < capacity`.
    - `num_passes`: 2 for classical Gram–Schmidt done twice (orthogonal to rounding), 1 for a single pass.

    **Returns:** the next state.
    """
    alive = ~state.done
    vector = normalise(state.residual, state.residual_norm, alive)
    residual = mv(vector)
    column = jnp.zeros_like(state.coefficients[0])
    for _ in range(num_passes):
        # The basis as it was before this step, and the new vector beside it: see `_written_last`.
        image = weighted(residual, weight)
        correction = project(state.basis, image)
        overlap = inner(vector, image).astype(column.dtype)
        residual = axpy(-overlap, vector, subtract(residual, combine(state.basis, correction)))
        column = column + correction.at[state.index].set(overlap)
    residual_norm = norm(residual, weight)
    # Pythagoras instead of one more reduction: ‖A q‖² = ‖h‖² + ‖residual‖².
    image_norm = jnp.hypot(norm(column), residual_norm)
    length = jnp.where(alive, state.residual_norm, jnp.zeros_like(residual_norm))
    return dataclasses.replace(
        state,
        basis=set_row(state.basis, state.index, _written_last(vector, residual, residual_norm)),
        coefficients=jax.lax.dynamic_update_index_in_dim(state.coefficients, column, state.index, 1),
        lengths=jax.lax.dynamic_update_index_in_dim(state.lengths, length, state.index, 0),
        residual=residual,
        **next_progress(state, residual_norm, image_norm),
    )


def _written_last(vector: PyTree, residual: PyTree, residual_norm: Float[Array, ""]) -> PyTree:
    """The vector, in a form that the compiler cannot know before the residual.

    A row that is written before the basis is read makes XLA copy the whole basis, twice in every step (three quarters
    of the time at 256², m = 40). If the write depends on the reads, it happens in place. Only NaN changes the value:
    then all is lost anyway.
    """
    return jtu.tree_map(lambda a, b: jnp.where(jnp.isnan(residual_norm), b, a), vector, residual)
