"""A multiple of a penalty."""

from typing import Any

import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree, Scalar

from ...grid import is_concrete
from ._base import AbstractDataLoss, AbstractLoss, Total


class Scaled(AbstractLoss):
    """`factor × loss`, with the residual `sqrt(factor) × residual`. Made by `factor * loss`.

    The factor is a leaf: a loop over weights compiles once. It is for penalties; what weighs the data is their `sigma`,
    and a multiple of a `LeastSquares` would no longer be minus the logarithm of a likelihood.

    **Arguments:**

    - `loss`: a penalty, or a sum of penalties.
    - `factor`: not negative, without a unit.

    **Raises:** `TypeError` for a loss with data; `ValueError` for a factor that is negative.
    """

    loss: AbstractLoss
    factor: Float[ArrayLike, ""]

    def __init__(self, loss: AbstractLoss, factor: Any):
        self.loss = loss
        self.factor = jnp.asarray(factor, dtype=None if hasattr(factor, "dtype") else float)
        _refuse_data(loss)
        if is_concrete(self.factor) and not np.asarray(self.factor) >= 0:
            message = f"Scaled: factor must not be negative (the penalty would be a reward), got {factor}."
            raise ValueError(message)

    def __call__(self, model: PyTree) -> Scalar:
        value = self.loss(model)
        return jnp.asarray(self.factor, value.dtype) * value

    def residual(self, model: PyTree) -> PyTree[Array]:
        """`sqrt(factor) × loss.residual(model)`."""

        def scaled(leaf: Array) -> Array:
            return jnp.sqrt(jnp.asarray(self.factor, jnp.finfo(leaf.dtype).dtype)) * leaf

        return jtu.tree_map(scaled, self.loss.residual(model))

    def reduced_misfit(self, model: PyTree, value: Scalar) -> None:
        return None


def _refuse_data(loss: AbstractLoss):
    terms = loss.terms if isinstance(loss, Total) else (loss,)
    for term in terms:
        if isinstance(term, AbstractDataLoss):
            message = (
                f"Scaled: {type(term).__name__} compares with data, and what weighs data is their sigma (divide it by "
                "sqrt(factor)). Multiply the penalty instead."
            )
            raise TypeError(message)
