"""Independent numbers that are known with standard deviations."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, ArrayLike, PyTree, Scalar

from ._prior import AbstractPrior


class Gaussian(AbstractPrior):
    """`½ weight Σ_k |(number_k - reference_k) / standard_deviation_k|²`: independent Gaussian priors.

    For numbers, not for fields: the conductivities of `Zones`, the depths of `Layers`, and the `raw` numbers of a
    `KarhunenLoeve`, whose prior is standard normal. A cell of a finer grid is not worth as much: fields take `Tikhonov`
    or `BiLaplacian`.

    **Arguments:**

    - `numbers`: `numbers(model)`, an array or a pytree of arrays: `lambda model: model.field.raw`; for the weights of a
        network `lambda model: eqx.filter(model.field.network, eqx.is_inexact_array)`.
    - `standard_deviation`: how well they are known, in their unit; broadcasts to each array.
    - `reference`: what they are without data; broadcasts to each array.
    - `weight`: 1 is the prior as told; a factor for rules that choose it.
    """

    numbers: Callable[[Any], PyTree]
    standard_deviation: ArrayLike = 1.0
    reference: ArrayLike = 0.0
    weight: ArrayLike = 1.0

    def selected(self, model: Any) -> PyTree[Array]:
        """`numbers(model)`."""
        return self.numbers(model)

    def whiten(self, values: PyTree[Array]) -> PyTree[Array]:
        """`sqrt(weight) (number - reference) / standard_deviation`."""
        return jtu.tree_map(lambda v: (v - jnp.asarray(self.reference, v.dtype)) / self._spread(v), values)

    def colour(self, noise: PyTree[Array]) -> PyTree[Array]:
        """`reference + standard_deviation z / sqrt(weight)`."""
        return jtu.tree_map(lambda z: jnp.asarray(self.reference, z.dtype) + self._spread(z) * z, noise)

    def variance(self, values: PyTree[Array]) -> PyTree[Array]:
        """`standard_deviation² / weight`."""
        return jtu.tree_map(lambda v: jnp.broadcast_to(self._spread(v) ** 2, v.shape), values)

    def log_determinant(self, values: PyTree[Array]) -> Scalar:
        """Minus the sum of the logarithms of the standard deviations."""
        parts = [-jnp.sum(jnp.log(jnp.broadcast_to(self._spread(v), v.shape))) for v in jtu.tree_leaves(values)]
        return sum(parts[1:], parts[0])

    def _spread(self, values: Array) -> Array:
        """The standard deviation with the weight, in the values' precision."""
        return jnp.asarray(self.standard_deviation, values.dtype) / jnp.sqrt(jnp.asarray(self.weight, values.dtype))
