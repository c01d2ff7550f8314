"""The exponential of a small matrix by scaling and squaring, with the growth that it passed through."""

import math

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

_DEGREE = 16


def expm(matrix: Array, block: int | None = None) -> tuple[Array, Array]:
    """Returns `exp(matrix)` and the growth `max_k ‖exp(matrix / 2ᵏ)‖` of its leading `block`.

    Taylor polynomial of degree 16 (six products, Paterson and Stockmeyer) on `matrix / 2ˢ` with
    `‖matrix / 2ˢ‖₁ <= 1`, where its remainder 1/17! is below double precision's rounding, then `s` squarings. `s` is
    dynamic and unbounded: `jax.scipy.linalg.expm` returns NaN past a fixed number of squarings. Only products are
    used, no solve. The growth is measured by `sqrt(‖·‖₁ ‖·‖∞)`, an upper bound of the spectral norm.
    """
    block = matrix.shape[0] if block is None else block
    one_norm = jnp.max(jnp.sum(jnp.abs(matrix), axis=0))
    squarings = jnp.ceil(jnp.log2(jnp.maximum(one_norm, 1.0)))
    squarings = jnp.where(jnp.isfinite(squarings), squarings, 0).astype(jnp.int32)
    scaled = matrix * (0.5 ** squarings.astype(one_norm.dtype)).astype(matrix.dtype)
    exponential = _taylor(scaled)

    def square(carry):
        k, power, growth = carry
        power = power @ power
        return k + 1, power, jnp.maximum(growth, _norm_bound(power[:block, :block]))

    carry = (jnp.zeros((), jnp.int32), exponential, _norm_bound(exponential[:block, :block]))
    _, exponential, growth = lax.while_loop(lambda carry: carry[0] < squarings, square, carry)
    return exponential, jnp.maximum(growth, 1.0)


def _taylor(matrix: Array) -> Array:
    # Σ_{j<=16} Xʲ/j! in blocks of four powers: Horner in X⁴ with cubic coefficients.
    identity = jnp.eye(matrix.shape[0], dtype=matrix.dtype)
    square = matrix @ matrix
    powers = (identity, matrix, square, square @ matrix)
    fourth = square @ square
    result = identity / float(math.factorial(_DEGREE))  # as an integer it does not fit 32 bits
    for start in range(_DEGREE - 4, -1, -4):
        block = sum(power / float(math.factorial(start + j)) for j, power in enumerate(powers))
        result = fourth @ result + block
    return result


def _norm_bound(matrix: Array) -> Array:
    size = jnp.abs(matrix)
    return jnp.sqrt(jnp.max(jnp.sum(size, axis=0)) * jnp.max(jnp.sum(size, axis=1)))
