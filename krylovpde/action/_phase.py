"""Cosine and sine of long phases `R s`, right to rounding in single precision, too.

In single precision the product alone is wrong by `R eps`, 5e-5 after a hundred wavelengths, and so would be every
coefficient of an expansion. The numbers `s` are known while tracing: they are split into two floats, the product is
taken exactly in two floats (Dekker 1971), and the multiple of 2π is subtracted in three parts (Cody, Waite 1980).
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# 2π in parts of 8 and 8 bits and the rest: products with up to 2^16 turns are exact.
_PARTS = (6.28125, 0.001934051513671875)
_REST = 2 * np.pi - sum(_PARTS)
_SPLIT = 4097.0  # 2^12 + 1: halves of a float of 24 bits


def cos_sin(
    radians: Float[Array, " n"], factors: np.ndarray, rest: Float[Array, " n"] | None = None
) -> tuple[Float[Array, "n m"], Float[Array, "n m"]]:
    """`cos(R_i s_k)` and `sin(R_i s_k)`; `factors`: s, double precision; `rest`: what R was rounded by."""
    if radians.dtype != jnp.float32:
        phase = radians[:, None] * jnp.asarray(factors, radians.dtype)
        return jnp.cos(phase), jnp.sin(phase)
    high = factors.astype(np.float32)
    low = (factors - high.astype(np.float64)).astype(np.float32)
    r = radians[:, None]
    product, error = _exact_product(r, high)
    error = error + r * low
    if rest is not None:
        error = error + rest[:, None] * high
    turns = jnp.round(product * np.float32(1 / (2 * np.pi)))
    for part in _PARTS:
        product = product - turns * np.float32(part)
    phase = product + (error - turns * np.float32(_REST))
    return jnp.cos(phase), jnp.sin(phase)


def in_two_floats(first: Float[Array, "..."], second: Float[Array, "..."]) -> tuple[Array, Array]:
    """A product and what it was rounded by; in double precision nothing, where nobody has to know."""
    if first.dtype != jnp.float32:
        return first * second, jnp.zeros_like(first * second)
    return _exact_product(first, second)


def _exact_product(r: Array, high: Array | np.ndarray) -> tuple[Array, Array]:
    """`r s` as the sum of two floats."""
    product = r * high
    s_top = np.float32(_SPLIT) * high
    s_top = s_top - (s_top - high)
    s_rest = high - s_top
    r_top = np.float32(_SPLIT) * r
    r_top = r_top - (r_top - r)
    r_rest = r - r_top
    error = ((r_top * s_top - product) + r_top * s_rest + r_rest * s_top) + r_rest * s_rest
    return product, error
