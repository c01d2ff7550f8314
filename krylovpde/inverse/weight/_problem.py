"""A regularised problem whose weight is still open: what the rules search in."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree, Scalar

from ..fitting import fit
from ..loss import AbstractDataLoss, AbstractLoss, Scaled, Total
from ._path import WeightPath, WeightPoint


@dataclasses.dataclass(frozen=True)
class RegularisedProblem:
    """`data_loss + weight × penalty`, and how it is minimised.

    - `options`: handed to `fit`.
    - `tell`: called with each `WeightPoint`.
    - `criterion`: what a rule wants to know at each weight, a function of the model, the weight and `χ²/N`.
    """

    data_loss: AbstractLoss
    penalty: AbstractLoss
    optimiser: Any
    options: Mapping[str, Any]
    tell: Callable[[WeightPoint], Any] | None
    criterion: Callable[[PyTree, float, float], float] | None = None

    def visit(self, weight: float, model: PyTree) -> WeightPoint:
        """Fit with this weight, starting from a model."""
        # As an array the weight is a leaf of the loss: every weight runs the program compiled for the first.
        result = fit(self.data_loss + Scaled(self.penalty, np.asarray(weight)), model, self.optimiser, **self.options)
        # The model that `fit` keeps is the last among those of least loss.
        best = min(reversed(result.history.records), key=lambda record: record.value)
        if np.isnan(best.misfit):
            message = (
                "choose_weight: the loss does not know its misfit χ²/N. Use a loss with data, such as LeastSquares, "
                "as `data_loss`, and the penalty whose weight is sought as `penalty`."
            )
            raise ValueError(message)
        penalty = float(_value(self.penalty, result.model))
        criterion = np.nan if self.criterion is None else self.criterion(result.model, weight, best.misfit)
        point = WeightPoint(float(weight), best.misfit, penalty, float(criterion), result)
        if self.tell is not None:
            self.tell(point)
        return point

    def sweep(self, weights: Float[np.ndarray, " weights"], model: PyTree) -> WeightPath:
        """Fit with each weight, from the largest to the smallest, each from the model of the one before."""
        path = WeightPath()
        for weight in np.sort(weights)[::-1]:
            point = self.visit(float(weight), model)
            path, model = path.append(point), point.fit.model
        return path

    @property
    def trainable(self) -> Any:
        """Which leaves are free."""
        return self.options.get("trainable", eqx.is_inexact_array)

    @property
    def data_terms(self) -> tuple[AbstractDataLoss, ...]:
        """The terms that compare with data."""
        return tuple(term for term in self._terms if isinstance(term, AbstractDataLoss))

    @property
    def fixed_terms(self) -> tuple[AbstractLoss, ...]:
        """Penalties beside the data whose weight is not sought."""
        return tuple(term for term in self._terms if not isinstance(term, AbstractDataLoss))

    @property
    def _terms(self) -> tuple[AbstractLoss, ...]:
        return self.data_loss.terms if isinstance(self.data_loss, Total) else (self.data_loss,)


@eqx.filter_jit
def _value(loss: AbstractLoss, model: PyTree) -> Scalar:
    return jnp.asarray(loss(model))
