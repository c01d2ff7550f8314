"""Few terms for a small matrix: Gaussian elimination with complete pivoting."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Inexact, Int, Real

from ..action._batch import batch_any


def eliminate(
    kernel: Inexact[Array, "rows columns"], cut: Real[Array, ""]
) -> tuple[Inexact[Array, "rank rows"], Inexact[Array, "rank columns"], Int[Array, ""]]:
    """Factors with `kernel ≈ Σ_{k < count} left_k right_kᵀ`, the remainder's Frobenius norm being at most `cut`.

    The kernel of a Krylov gradient is numerically of low rank, so `count` rank-one terms, each the row and column of
    the largest remaining entry, replace a singular value decomposition at a fraction of its cost: `count` passes over
    the matrix. The buffers hold full rank: nothing is ever cut off for lack of room.
    """
    rows, columns = kernel.shape
    room = min(rows, columns)
    left = jnp.zeros((room, rows), kernel.dtype)
    right = jnp.zeros((room, columns), kernel.dtype)

    def body(carry):
        count, remainder, left, right = carry
        row, column = jnp.unravel_index(jnp.argmax(jnp.abs(remainder)), remainder.shape)
        pivot = remainder[row, column]
        # A lane that is done keeps its factors: it subtracts zero.
        live = (_size(remainder) > cut) & (pivot != 0)
        across = jnp.where(live, remainder[row] / jnp.where(pivot == 0, 1.0, pivot), 0.0)
        down = jnp.where(live, remainder[:, column], 0.0)
        index = jnp.minimum(count, room - 1)
        old_left, old_right = left[index], right[index]
        left = left.at[index].set(jnp.where(live, down, old_left))
        right = right.at[index].set(jnp.where(live, across, old_right))
        return count + live.astype(jnp.int32), remainder - down[:, None] * across[None, :], left, right

    def working(carry):
        count, remainder, _, _ = carry
        return batch_any((count < room) & (_size(remainder) > cut))

    count, _, left, right = lax.while_loop(working, body, (jnp.zeros((), jnp.int32), kernel, left, right))
    return left, right, count


def _size(matrix: Array) -> Array:
    return jnp.linalg.norm(matrix)
