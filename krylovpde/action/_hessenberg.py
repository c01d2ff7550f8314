"""Many systems with one Hessenberg matrix, each scaled and shifted: without LAPACK."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Complex, Inexact


def solve_scaled(
    matrix: Inexact[Array, "m m"], factors: Complex[Array, " nodes"], right: Complex[Array, "nodes m"]
) -> Complex[Array, "nodes m"]:
    """`(factor T + I)⁻¹ right` for each factor and its right-hand side, with T upper Hessenberg.

    QR by one rotation per column, row by row, for all systems at once: `m²` operations each. `jax.numpy.linalg.solve`
    of a stack of matrices takes as long (1 ms for 16 of size 64), but on a CPU with two threads two such calls side by
    side waited for each other for ever, in every twentieth Hessian-vector product.
    """
    size = matrix.shape[0]
    index = jnp.arange(size, dtype=jnp.int32)
    rows = jnp.concatenate([matrix[1:], jnp.zeros_like(matrix[:1])]).astype(factors.dtype)
    units = jnp.eye(size, k=1, dtype=factors.dtype)
    following = jnp.concatenate([right[:, 1:], jnp.zeros_like(right[:, :1])], axis=1).T
    first = factors[:, None] * matrix[0].astype(factors.dtype) + jnp.zeros_like(right).at[:, 0].set(1.0)

    def eliminate(carry, given):
        """Rotates the pivot row and the next one, which becomes the pivot row; the finished row goes out."""
        row, entry = carry
        j, next_row, unit, next_entry = given
        below = factors[:, None] * next_row + unit
        cosine, sine = _rotation(_column(row, j), _column(below, j))
        finished = jnp.conj(cosine)[:, None] * row + jnp.conj(sine)[:, None] * below
        finished_entry = jnp.conj(cosine) * entry + jnp.conj(sine) * next_entry
        pivot = cosine[:, None] * below - sine[:, None] * row
        return (pivot, cosine * next_entry - sine * entry), (finished, finished_entry)

    given = (index, rows, units, following)
    _, (triangle, entries) = lax.scan(eliminate, (first, right[:, 0]), given)

    def substitute(solution, given):
        j, row, entry = given
        rest = entry - jnp.sum(row * solution, axis=1)
        value = rest / _column(row, j)
        return lax.dynamic_update_index_in_dim(solution, value[:, None], j, 1), None

    return lax.scan(substitute, jnp.zeros_like(right), (index, triangle, entries), reverse=True)[0]


def _column(rows: Array, j: Array) -> Array:
    return lax.dynamic_index_in_dim(rows, j, 1, keepdims=False)


def _rotation(upper: Array, lower: Array) -> tuple[Array, Array]:
    """Cosine and sine that turn `(upper, lower)` into `(length, 0)`."""
    length = jnp.hypot(jnp.abs(upper), jnp.abs(lower))
    safe = jnp.where(length > 0, length, 1.0).astype(upper.dtype)
    cosine = jnp.where(length > 0, upper / safe, jnp.ones_like(upper))
    return cosine, jnp.where(length > 0, lower / safe, jnp.zeros_like(lower))
