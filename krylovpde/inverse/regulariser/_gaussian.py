"""Independent numbers that are known with standard deviations."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, ArrayLike, PyTree, Scalar

from ..loss import AbstractLoss, half_sum_of_squares


class Gaussian(AbstractLoss):
    """`½ weight Σ_k |(number_k - reference_k) / standard_deviation_k|²`: independent Gaussian priors.

    For numbers, not for fields: the conductivities of `Zones`, the depths of `Layers`, and the `raw` numbers of a
    `KarhunenLoeve`, whose prior is standard normal. A cell of a finer grid is not worth as much: fields take `Tikhonov`
    or `BiLaplacian`.

    **Arguments:**

    - `numbers`: `numbers(model)`, an array or a pytree of arrays: `lambda model: model.field.raw`.
    - `standard_deviation`: how well they are known, in their unit; broadcasts to each array.
    - `reference`: what they are without data; broadcasts to each array.
    - `weight`: 1 is the prior as told; a factor for rules that choose it.
    """

    numbers: Callable[[Any], PyTree]
    standard_deviation: ArrayLike = 1.0
    reference: ArrayLike = 0.0
    weight: ArrayLike = 1.0

    def __call__(self, model: Any) -> Scalar:
        return half_sum_of_squares(self.residual(model))

    def residual(self, model: Any) -> PyTree[Array]:
        """`sqrt(weight) (number - reference) / standard_deviation`."""

        def scaled(values: Array) -> Array:
            reference, deviation, weight = (
                jnp.asarray(x, values.dtype) for x in (self.reference, self.standard_deviation, self.weight)
            )
            return jnp.sqrt(weight) * (values - reference) / deviation

        return jtu.tree_map(scaled, self.numbers(model))

    def reduced_misfit(self, model: Any, value: Scalar) -> None:
        return None
