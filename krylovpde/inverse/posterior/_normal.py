"""A normal distribution of models, and what can be asked of one: samples, variances, predictions."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Scalar

from ._curvature import AbstractCurvature, LowRank
from ._whitened import WhitenedModel

# Up to so many unknowns, variances are found one by one; for more, from the prior's own variance, or from samples.
_ONE_BY_ONE = 1024
NUM_SAMPLES = 512


class NormalModel(eqx.Module):
    """`z ~ N(centre, (prior I + noise H)^{-1})` in the whitened unknowns of a model.

    - `prior`, `noise`: factors of the two precisions.
    """

    whitened: WhitenedModel
    centre: Float[Array, " n"]
    curvature: AbstractCurvature
    prior: Scalar
    noise: Scalar

    def root(self, vector: Float[Array, " n"]) -> Float[Array, " n"]:
        """The symmetric root of the covariance times a vector."""
        return self.curvature.power(vector, -0.5, self.noise / self.prior) / jnp.sqrt(self.prior)

    def inverse_root(self, vector: Float[Array, " n"]) -> Float[Array, " n"]:
        """The symmetric root of the precision times a vector."""
        return self.curvature.power(vector, 0.5, self.noise / self.prior) * jnp.sqrt(self.prior)

    def free(self, vector: Float[Array, " n"]) -> PyTree:
        """The free leaves of the model for a vector that is standard normal."""
        return self.whitened.free(self.centre + self.root(vector))

    def draw(self, key: PRNGKeyArray) -> PyTree:
        """The free leaves of one model."""
        return self.free(jax.random.normal(key, self.centre.shape, self.centre.dtype))


class Pointwise(eqx.Module):
    """A value, and the variances of its numbers in one row."""

    value: PyTree[Array]
    variance: Float[Array, " q"]


def linearised_variance(normal: NormalModel, function: Callable[[PyTree], PyTree]) -> Pointwise:
    """A function of the model at the centre, and the variances of its linearisation.

    The variance of an output is the squared length of `root` of its gradient: so it is never negative, and as accurate
    as the gradient. By rows of the derivative, or by columns where there are fewer unknowns than outputs.
    """

    def flat(z: Array) -> tuple[Array, PyTree]:
        value = function(normal.whitened.model(z))
        return ravel_pytree(value)[0], value

    outputs, forward, value = jax.linearize(flat, normal.centre, has_aux=True)
    if outputs.size <= normal.centre.size:
        transposed = jax.linear_transpose(forward, normal.centre)

        def squared_length(unit: Array) -> Array:
            return jnp.sum(normal.root(transposed(unit)[0]) ** 2)

        return Pointwise(value, jax.lax.map(squared_length, jnp.eye(outputs.size, dtype=outputs.dtype)))

    def add_column(total: Array, unit: Array) -> tuple[Array, None]:
        return total + forward(normal.root(unit)) ** 2, None

    units = jnp.eye(normal.centre.size, dtype=normal.centre.dtype)
    return Pointwise(value, jax.lax.scan(add_column, jnp.zeros_like(outputs), units)[0])


@eqx.filter_jit
def linearised_prediction(
    normal: NormalModel, function: Callable[[PyTree], PyTree]
) -> tuple[PyTree[Array], PyTree[Array]]:
    """The value, and a pytree like it of variances."""
    found = linearised_variance(normal, function)
    return found.value, ravel_pytree(found.value)[1](found.variance)


@eqx.filter_jit
def sampled(normal: NormalModel, function: Callable[[PyTree], PyTree], keys: Array) -> PyTree[Array]:
    """The function's values for models that are drawn, one after the other, stacked."""
    fixed = normal.whitened.fixed
    return jax.lax.map(lambda key: function(eqx.combine(normal.draw(key), fixed)), keys)


@eqx.filter_jit
def covariance_root(normal: NormalModel) -> Float[Array, "n n"]:
    """`R` with `Rᵀ R` the covariance of the free numbers: one row for each whitened unknown."""
    _, forward = jax.linearize(lambda z: ravel_pytree(normal.whitened.free(z))[0], normal.centre)
    units = jnp.eye(normal.centre.size, dtype=normal.centre.dtype)
    return jax.lax.map(lambda unit: forward(normal.root(unit)), units)


def variance_is_exact(normal: NormalModel) -> bool:
    """Whether `free_variance` is more than an estimate."""
    known = eqx.filter_eval_shape(normal.whitened.prior_variance) is not None
    return normal.centre.size <= _ONE_BY_ONE or (known and isinstance(normal.curvature, LowRank))


@eqx.filter_jit
def free_variance(normal: NormalModel, key: PRNGKeyArray) -> PyTree:
    """Of each free number, like the free leaves."""
    prior = normal.whitened.prior_variance()
    if normal.centre.size <= _ONE_BY_ONE:
        unravel = ravel_pytree(normal.whitened.parameters)[1]
        return unravel(jnp.sum(covariance_root(normal) ** 2, axis=0))
    if prior is not None and isinstance(normal.curvature, LowRank):
        return _prior_less_data(normal, normal.curvature, prior)
    return _by_samples(normal, key)


def _prior_less_data(normal: NormalModel, curvature: LowRank, prior: PyTree) -> PyTree:
    """`prior - Σ_k u_k² + Σ_k u_k² / (1 + ratio λ_k)` with `u_k = L⁻¹ v_k`.

    In two parts, so that what rounding leaves of the first one, which is never negative, does not hide the second.
    """
    _, forward = jax.linearize(normal.whitened.free, normal.centre)
    left = 1 / (1 + normal.noise / normal.prior * curvature.values)

    def add(carry: tuple[PyTree, PyTree], pair: tuple[Array, Array]) -> tuple[tuple[PyTree, PyTree], None]:
        vector, factor = pair
        squares = jtu.tree_map(jnp.square, forward(vector))
        rest = jtu.tree_map(jnp.subtract, carry[0], squares)
        return (rest, jtu.tree_map(lambda t, s: t + factor.astype(s.dtype) * s, carry[1], squares)), None

    zero = jtu.tree_map(jnp.zeros_like, prior)
    (rest, kept), _ = jax.lax.scan(add, (prior, zero), (curvature.vectors, left))
    scale = 1 / normal.prior
    return jtu.tree_map(lambda r, k: scale.astype(r.dtype) * (jnp.maximum(r, 0) + k), rest, kept)


def _by_samples(normal: NormalModel, key: PRNGKeyArray) -> PyTree:
    centre = normal.whitened.parameters

    def add(total: PyTree, one: PRNGKeyArray) -> tuple[PyTree, None]:
        return jtu.tree_map(lambda t, s, m: t + (s - m) ** 2, total, normal.draw(one), centre), None

    total, _ = jax.lax.scan(add, jtu.tree_map(jnp.zeros_like, centre), jax.random.split(key, NUM_SAMPLES))
    return jtu.tree_map(lambda t: t / NUM_SAMPLES, total)


def free_part(whitened: WhitenedModel) -> Callable[[PyTree], Any]:
    """The free leaves of a model, `None` elsewhere."""
    return lambda model: jtu.tree_map(lambda _, leaf: leaf, whitened.parameters, model)
