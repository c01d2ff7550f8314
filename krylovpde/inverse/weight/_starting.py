"""A weight to begin with."""

from typing import Any

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from ..loss import AbstractLoss

_POWER_STEPS = 4  # two digits are not needed of a number that is the start of a search


def starting_weight(
    data_loss: AbstractLoss,
    penalty: AbstractLoss,
    model: PyTree,
    *,
    key: PRNGKeyArray,
    trainable: Any = eqx.is_inexact_array,
) -> float:
    """The weight at which penalty and data pull with the same strength on what the data see best.

        β = vᵀ Jᵀ J v / vᵀ Rᵀ R v

    with the Jacobians of the residuals of the data and of the penalty at the model, and `v` four power iterations of
    `Jᵀ J` away from a random vector. Smaller weights let the data decide one direction after the other: `Cooling`
    starts well at this weight, or at ten times it.

    **Arguments:**

    - `data_loss`, `penalty`: as for `choose_weight`; both must be sums of squares.
    - `model`: where to linearise: the starting model.
    - `key`: for the random vector.
    - `trainable`: which leaves are free, as in `fit`.

    **Returns:** a positive number; infinite where the penalty does not see `v`.

    Source: power iterations for a starting weight as in Cockett et al., *Computers & Geosciences* 85 (2015) 142.
    """
    free, fixed = eqx.partition(model, trainable)
    return float(_balance(data_loss, penalty, free, fixed, key))


@eqx.filter_jit
def _balance(data_loss: AbstractLoss, penalty: AbstractLoss, free: PyTree, fixed: PyTree, key: PRNGKeyArray) -> Scalar:
    vector, unravel = jax.flatten_util.ravel_pytree(free)

    def data(x: Array) -> PyTree[Array]:
        return data_loss.residual(eqx.combine(unravel(x), fixed))

    def rough(x: Array) -> PyTree[Array]:
        return penalty.residual(eqx.combine(unravel(x), fixed))

    tangent, pullback = jax.linearize(data, vector)[1], jax.vjp(data, vector)[1]

    def power(_: Array, v: Array) -> Array:
        v = pullback(tangent(v))[0]
        return v / jnp.linalg.norm(v)

    v = jax.lax.fori_loop(0, _POWER_STEPS, power, jax.random.normal(key, vector.shape, vector.dtype))
    return _sum_of_squares(tangent(v)) / _sum_of_squares(jax.jvp(rough, (vector,), (v,))[1])


def _sum_of_squares(tree: PyTree[Array]) -> Scalar:
    flat, _ = jax.flatten_util.ravel_pytree(tree)
    return jnp.sum(jnp.abs(flat) ** 2)
