"""Minus the logarithm of a Gaussian likelihood."""

from collections.abc import Callable
from typing import Any

import jax.tree_util as jtu
from jaxtyping import Array, PyTree, Shaped

from ._base import AbstractDataLoss
from ._data import measured, predicted, weighted


class LeastSquares(AbstractDataLoss):
    """`½ Σ_i |(prediction_i - data_i) / sigma_i|²`: minus the logarithm of a Gaussian likelihood.

    A standard deviation should hold all that makes a perfect model miss its data: measurement noise *and* the error of
    the mesh. Without the second an inversion fits its own discretisation.

    **Arguments:**

    - `predict`: `predict(model)` gives a pytree like `data`: a function, an `Experiment`, or `Experiments`.
    - `data`: what was measured, a pytree of arrays; `None` takes the data that `predict` carries
        (`predict.measurements`).
    - `sigma`: standard deviations in the unit of the data: one number, or a pytree like `data` whose leaves broadcast
        against the data's. `inf` leaves a datum out; the datum itself may then be NaN. `None` takes those that
        `predict` carries.

    **Raises:** `ValueError` for a `sigma` that is not positive, data that are not finite where `sigma` is, data that
    are neither given nor carried, and predictions that do not have the data's shapes.
    """

    predict: Callable[[Any], PyTree]
    data: PyTree[Shaped[Array, "..."]]
    sigma: PyTree[Shaped[Array, "..."]]

    def __init__(self, predict: Callable[[Any], PyTree], data: PyTree = None, sigma: PyTree = None):
        self.predict = predict
        self.data, self.sigma = measured("LeastSquares", predict, data, sigma)

    def residual(self, model: PyTree) -> PyTree[Array]:
        """`(prediction - data) / sigma`, a pytree like the data; 0 where `sigma` is infinite."""
        prediction = predicted("LeastSquares", self.predict, model, self.data)
        return jtu.tree_map(weighted, prediction, self.data, self.sigma)
