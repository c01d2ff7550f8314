"""What a posterior says of anything that is computed from the model."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, PRNGKeyArray, PyTree
from scipy.special import ndtri

from ..loss._data import like_data

# The products that a pointwise variance may cost: one for each unknown or each output, whichever are fewer.
MOST_PRODUCTS = 4096


class Prediction(eqx.Module):
    """Mean, standard deviation and band of a function of the model: pytrees like what the function returns.

    - `mean`: the function at the estimate, or the mean over samples.
    - `standard_deviation`: pointwise.
    - `lower`, `upper`: the band that each number is in with a probability of `level`: a normal distribution's, or
        quantiles of samples. It holds for each point by itself, not for all of them together.
    - `samples`: the function's values, stacked, where samples were drawn.
    - `level`: the probability.
    """

    mean: PyTree[Array]
    standard_deviation: PyTree[Array]
    lower: PyTree[Array]
    upper: PyTree[Array]
    samples: PyTree[Array] | None
    level: float = eqx.field(static=True)


def normal_prediction(value: PyTree[Array], variance: PyTree[Array], sigma: Any, level: float) -> Prediction:
    """From the value at the estimate and the variances around it."""
    noise = _noise(sigma, value)
    deviation = jtu.tree_map(lambda v, s: jnp.sqrt(v + s**2), variance, noise)
    width = float(ndtri((1 + level) / 2))
    lower = jtu.tree_map(lambda m, s: m - width * s, value, deviation)
    upper = jtu.tree_map(lambda m, s: m + width * s, value, deviation)
    return Prediction(value, deviation, lower, upper, None, level)


def sample_prediction(samples: PyTree[Array], sigma: Any, level: float, key: PRNGKeyArray) -> Prediction:
    """From values that were drawn; measurements are samples with noise."""
    mean = jtu.tree_map(lambda s: jnp.mean(s, axis=0), samples)
    leaves, structure = jtu.tree_flatten(samples)
    keys = structure.unflatten(list(jax.random.split(key, len(leaves))))
    noise = _noise(sigma, mean)
    measured = jtu.tree_map(
        lambda s, deviation, k: s + deviation * jax.random.normal(k, s.shape, s.dtype), samples, noise, keys
    )
    deviation = jtu.tree_map(lambda s, e: jnp.sqrt(jnp.var(s, axis=0, ddof=1) + e**2), samples, noise)
    ends = [(1 - level) / 2, (1 + level) / 2]
    lower, upper = (jtu.tree_map(lambda s, end=end: jnp.quantile(s, end, axis=0), measured) for end in ends)
    return Prediction(mean, deviation, lower, upper, samples, level)


def check_outputs(shapes: PyTree, num_unknowns: int):
    """Refuse what is not real, and what would cost too many products."""
    leaves = jtu.tree_leaves(shapes)
    if not leaves or not all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
        message = "predict: the function must return real arrays of floats. Give real and imaginary parts as a pair."
        raise TypeError(message)
    num_outputs = sum(leaf.size for leaf in leaves)
    if min(num_outputs, num_unknowns) > MOST_PRODUCTS:
        message = (
            f"predict: {num_outputs} outputs of {num_unknowns} unknowns would take {min(num_outputs, num_unknowns)} "
            f"products, more than {MOST_PRODUCTS}. Give `key`, for a band by samples, or predict fewer numbers."
        )
        raise ValueError(message)


def _noise(sigma: Any, mean: PyTree[Array]) -> PyTree[Array]:
    """Standard deviations of measurements, of the prediction's shapes; zeros for `None`."""
    deviations = like_data("predict", 0.0 if sigma is None else sigma, mean)
    return jtu.tree_map(lambda s, m: jnp.broadcast_to(s, m.shape), deviations, mean)
