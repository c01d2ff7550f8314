"""Least squares of logarithms."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, PyTree, Shaped

from ...grid import is_concrete
from ._base import AbstractDataLoss
from ._data import measured, predicted, refuse_complex, weighted


class LogData(AbstractDataLoss):
    """`½ Σ_i (log(prediction_i / data_i) / sigma_i)²`: data that range over decades, with errors of some per cent.

    Minus the logarithm of a log-normal likelihood. Concentrations far from a source then count as much as those near
    it. Predictions have to be positive: where one is not, the loss is NaN, and an optimiser that checks its trials
    (`fit` does) shortens its step. Data at the level of the noise have no logarithm worth fitting: leave them out.

    **Arguments:**

    - `predict`, `data`: as for `LeastSquares`; positive.
    - `sigma`: *relative* standard deviations, that of the logarithm: 0.05 is an error of 5 %. `inf` leaves a datum out,
        which may then be zero, negative or NaN, and so may be its prediction.

    **Raises:** `ValueError` as for `LeastSquares`, and for data that count and are not positive; `TypeError` for
    complex data.
    """

    predict: Callable[[Any], PyTree]
    data: PyTree[Shaped[Array, "..."]]
    sigma: PyTree[Shaped[Array, "..."]]

    def __init__(self, predict: Callable[[Any], PyTree], data: PyTree = None, sigma: PyTree = None):
        self.predict = predict
        self.data, self.sigma = measured("LogData", predict, data, sigma)
        refuse_complex("LogData", self.data)
        jtu.tree_map(_check_positive, self.data, self.sigma)

    def residual(self, model: PyTree) -> PyTree[Array]:
        """`log(prediction / data) / sigma`, a pytree like the data; 0 where `sigma` is infinite."""
        prediction = predicted("LogData", self.predict, model, self.data)
        return jtu.tree_map(_log_residual, prediction, self.data, self.sigma)


def _log_residual(prediction: Array, data: Array, sigma: Array) -> Array:
    counted = jnp.isfinite(sigma)

    def logarithm(values: Array) -> Array:
        return jnp.log(jnp.where(counted, values.astype(prediction.dtype), 1))

    return weighted(logarithm(prediction), logarithm(data), sigma)


def _check_positive(data: Array, sigma: Array):
    if not (is_concrete(data) and is_concrete(sigma)):
        return
    values, counted = np.asarray(data), np.broadcast_to(np.isfinite(np.asarray(sigma)), data.shape)
    bad = counted & ~(values > 0)
    if bad.any():
        message = (
            f"LogData: {bad.sum()} of {values.size} data are not positive, the least is {values[bad].min():.6g}. "
            "They have no logarithm: give sigma = inf there, or use LeastSquares."
        )
        raise ValueError(message)
