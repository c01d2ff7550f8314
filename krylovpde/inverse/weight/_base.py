"""Rules that choose the weight of a penalty."""

import abc

import equinox as eqx
import numpy as np
from jaxtyping import Float, PyTree

from ._path import WeightResult
from ._problem import RegularisedProblem


class AbstractWeightRule(eqx.Module):
    """A rule for `choose_weight`: `Cooling`, `LCurve` or `GCV`."""

    @abc.abstractmethod
    def search(self, problem: RegularisedProblem, model: PyTree) -> WeightResult:
        """Fit with some weights, starting from a model, and choose one.

        `problem.visit(weight, model)` makes one fit, `problem.sweep(weights, model)` one after the other.
        """


def as_weights(name: str, weights: object, least: int) -> tuple[float, ...]:
    """A rule's weights, in increasing order, as plain numbers."""
    found = np.unique(np.asarray(weights, float).ravel())
    if len(found) < least or not (np.isfinite(found) & (found > 0)).all():
        message = (
            f"{name}: weights must be at least {least} different positive numbers, got {np.asarray(weights).tolist()}. "
            "np.geomspace(1e-4, 1e2, 13) is a good first choice."
        )
        raise ValueError(message)
    return tuple(float(weight) for weight in found)


def at_the_end(weight: float, weights: Float[np.ndarray, " weights"]) -> str | None:
    """Whether the best weight is the least or the largest of those tried, in words."""
    if np.min(weights) * (1 + 1e-9) < weight < np.max(weights) * (1 - 1e-9):
        return None
    smallest = weight <= np.min(weights) * (1 + 1e-9)
    return (
        f"at the {'smallest' if smallest else 'largest'} of the weights: add {'smaller' if smallest else 'larger'} ones"
    )
