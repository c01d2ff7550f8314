"""Minus the logarithm of a Gaussian likelihood."""

from collections.abc import Callable
from typing import Any

import jax.tree_util as jtu
from jaxtyping import Array, PyTree, Scalar, Shaped

from ._base import AbstractDataLoss, half_sum_of_squares
from ._data import as_inexact, check_data, check_prediction, count_data, like_data, weighted


class LeastSquares(AbstractDataLoss):
    """`½ Σ_i |(prediction_i - data_i) / sigma_i|²`: minus the logarithm of a Gaussian likelihood.

    A standard deviation should hold all that makes a perfect model miss its data: measurement noise *and* the error of
    the mesh. Without the second an inversion fits its own discretisation.

    **Arguments:**

    - `predict`: `predict(model)` gives a pytree like `data`: a function, an `Experiment`, or `Experiments`.
    - `data`: what was measured, a pytree of arrays.
    - `sigma`: standard deviations in the unit of the data: one number, or a pytree like `data` whose leaves broadcast
        against the data's. `inf` leaves a datum out; the datum itself may then be NaN.

    **Raises:** `ValueError` for a `sigma` that is not positive, data that are not finite where `sigma` is, and
    predictions that do not have the data's shapes.
    """

    predict: Callable[[Any], PyTree]
    data: PyTree[Shaped[Array, "..."]]
    sigma: PyTree[Shaped[Array, "..."]]

    def __init__(self, predict: Callable[[Any], PyTree], data: PyTree, sigma: PyTree):
        self.predict = predict
        self.data = jtu.tree_map(as_inexact, data)
        self.sigma = like_data(sigma, self.data)
        jtu.tree_map(check_data, self.data, self.sigma)

    def __call__(self, model: PyTree) -> Scalar:
        return half_sum_of_squares(self.residual(model))

    def residual(self, model: PyTree) -> PyTree[Array]:
        """`(prediction - data) / sigma`, a pytree like the data; 0 where `sigma` is infinite."""
        prediction = self.predict(model)
        check_prediction(prediction, self.data)
        return jtu.tree_map(weighted, prediction, self.data, self.sigma)

    def reduced_misfit(self, model: PyTree, value: Scalar) -> Scalar:
        return 2 * value / self.num_data

    @property
    def num_data(self) -> Scalar:
        """How many data count: those of finite `sigma`. A float, in the precision of the data."""
        return count_data(self.data, self.sigma)
