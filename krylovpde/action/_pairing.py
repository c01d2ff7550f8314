"""The integral that pairs a forward with an adjoint Krylov space, for general small matrices."""

import jax.numpy as jnp
from jaxtyping import Array, Inexact, Real

from ._expm import expm
from ._family import chain_generator, natural_rate, start_index


def matrix_pairing(
    order: int,
    level_dual: int,
    level: int,
    offset: Real[Array, ""],
    span: Real[Array, ""],
    dual: Inexact[Array, "k k"],
    primal: Inexact[Array, "m m"],
) -> Inexact[Array, "k m"]:
    """`X = ∫₀ˢ F_i(s - r, G) e_1 (F_l(offset + r, H) e_1)ᵀ dr` for `s = span`.

    With `S` the first-order form of the family and `P` its first component,
    `X = P ∫ exp((s - r) S_G) e_i c(r)ᵀ dr Pᵀ`, `c(r) = exp(r S_H) exp(offset S_H) e_l`, is a block of one exponential
    (Van Loan 1978):

        exp(s [[S_G, e_i c(0)ᵀ], [0, S_Hᵀ]]) = [[·, ∫ exp((s - r) S_G) e_i c(0)ᵀ exp(r S_Hᵀ) dr], [0, ·]]
    """
    rows, columns = dual.shape[0], primal.shape[0]
    dtype = dual.dtype
    rate = natural_rate(order, jnp.abs(offset) + jnp.abs(span), dual, primal)
    left = chain_generator(order, order - 1, rate, dual)
    right = chain_generator(order, max(level, order - 1), rate, primal)
    begun = expm(right * (rate * offset).astype(dtype))[0][:, start_index(order, level, columns)]
    coupling = jnp.zeros((left.shape[0], right.shape[0]), dtype)
    coupling = coupling.at[start_index(order, level_dual, rows)].set(begun)
    block = jnp.block([[left, coupling], [jnp.zeros_like(coupling.T), right.T]])
    exponential = expm(block * (rate * span).astype(dtype))[0]
    unit = (rate ** -(1 + level_dual + level)).astype(dtype)
    return exponential[:rows, left.shape[0] : left.shape[0] + columns] * unit
