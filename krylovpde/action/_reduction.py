"""A Krylov space in use: its basis, its small matrix, and sums over its first vectors only."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax
from jaxtyping import Array, Inexact, Int, PyTree, Real

from ..krylov._space import add, combine
from ._batch import batch_max

_BLOCK = 16


class Reduction(eqx.Module):
    """`A V = V H + h v e_mᵀ` from one start vector, as the actions need it.

    * `basis`: rows `v_1 … v_capacity`; rows past `dimension` are zero.
    * `small`: what the method made of `H` to evaluate functions of it.
    * `coupling`: `h`, zero after a breakdown.   * `norm`: `‖start‖` in the operator's weight.
    * `dimension`: how many rows are used.   * `applications`: products with the operator that it took.
    """

    basis: PyTree[Array]
    small: Any
    coupling: Real[Array, ""]
    norm: Real[Array, ""]
    dimension: Int[Array, ""]
    applications: Int[Array, ""]


def lift(reduction: Reduction, coefficients: Inexact[Array, "*k m"]) -> PyTree[Array]:
    """`Σ_j c_j v_j` over the rows in use, for one set of coefficients or a stack of them.

    The buffer is longer than the space that was needed; summing in blocks of rows until the dimension is reached
    reads what is used and no more.
    """
    capacity = coefficients.shape[-1]
    if capacity <= 2 * _BLOCK:
        return _lift_rows(reduction.basis, coefficients)
    used = batch_max(reduction.dimension)

    def body(carry):
        block, total = carry
        # The last block is moved back into the buffer; the rows that it would count twice get coefficient zero.
        start = jnp.minimum(block * _BLOCK, capacity - _BLOCK)
        fresh = start + jnp.arange(_BLOCK, dtype=jnp.int32) >= block * _BLOCK
        part = lax.dynamic_slice_in_dim(coefficients, start, _BLOCK, axis=coefficients.ndim - 1)
        rows = jtu.tree_map(lambda leaf: lax.dynamic_slice_in_dim(leaf, start, _BLOCK, axis=0), reduction.basis)
        return block + 1, add(total, _lift_rows(rows, jnp.where(fresh, part, jnp.zeros_like(part))))

    first = _lift_rows(jtu.tree_map(lambda leaf: leaf[:_BLOCK], reduction.basis), coefficients[..., :_BLOCK])
    return lax.while_loop(lambda carry: carry[0] * _BLOCK < used, body, (jnp.ones((), jnp.int32), first))[1]


def _lift_rows(basis: PyTree[Array], coefficients: Array) -> PyTree[Array]:
    if coefficients.ndim == 1:
        return combine(basis, coefficients)
    return jax.vmap(combine, in_axes=(None, 0))(basis, coefficients)
