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
        count, remainder, (_, largest), left, right = carry
        # Reductions along the first axis vectorise; an argmax over the whole matrix is ten times slower.
        column = jnp.argmax(largest)
        down = remainder[:, column]
        row = jnp.argmax(jnp.abs(down))
        pivot = down[row]
        live = _unfinished(carry, room, cut) & (pivot != 0)
        across = jnp.where(live, remainder[row] / jnp.where(pivot == 0, 1.0, pivot), 0.0)
        down = jnp.where(live, down, 0.0)
        index = jnp.minimum(count, room - 1)
        # A lane that is done keeps its factors: it subtracts zero.
        left = left.at[index].set(jnp.where(live, down, left[index]))
        right = right.at[index].set(jnp.where(live, across, right[index]))
        remainder = remainder - down[:, None] * across[None, :]
        return count + live.astype(jnp.int32), remainder, _columns(remainder), left, right

    carry = (jnp.zeros((), jnp.int32), kernel, _columns(kernel), left, right)
    count, _, _, left, right = lax.while_loop(lambda carry: batch_any(_unfinished(carry, room, cut)), body, carry)
    return left, right, count


def _columns(matrix: Array) -> tuple[Array, Array]:
    """Squared length and largest entry of each column."""
    size = jnp.abs(matrix)
    return jnp.sum(size * size, axis=0), jnp.max(size, axis=0)


def _unfinished(carry, room: int, cut: Array) -> Array:
    count, _, (squares, _), _, _ = carry
    return (count < room) & (jnp.sqrt(jnp.sum(squares)) > cut)
