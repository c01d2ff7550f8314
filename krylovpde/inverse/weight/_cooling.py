"""The discrepancy principle, approached from above."""

import equinox as eqx
import numpy as np
from jaxtyping import PyTree

from ._base import AbstractWeightRule
from ._path import WeightPath, WeightPoint, WeightResult, chosen
from ._problem import RegularisedProblem

# A bracket of a factor of ten in the weight is closed to a per mille of the misfit in four or five; more are wasted.
_MAX_REFINEMENTS = 12


class Cooling(AbstractWeightRule):
    """Morozov's discrepancy principle: the largest weight at which `χ²/N <= target`.

    A large weight is lowered by a factor until the data are fitted as well as they are known; a smaller weight would
    fit their errors. It asks for standard deviations that are right: with `sigma` too small by half, `χ²/N = 1` cannot
    be reached or is paid for with artefacts.

    **Arguments:**

    - `start`: the first weight, at which the penalty rules; `starting_weight` estimates one.
    - `factor`: between successive weights, between 0 and 1. Nonlinear problems want 0.3 to 0.5, linear ones bear 0.1.
    - `target`: of `χ²/N`. 1 where `sigma` holds all errors, see `Discrepancy`.
    - `tolerance`: if given, the weight is refined until `χ²/N` lies within this fraction of the target (0.02 is good:
        `χ²/N` itself is uncertain by `sqrt(2/N)`). A start that is too low is then raised, too. `None` takes the first
        weight that reaches the target.
    - `max_weights`: the most weights before the search is given up; a refinement may add 12.

    **Raises:** `ValueError` for arguments outside their range.

    Source: Engl, Hanke, Neubauer, *Regularization of Inverse Problems* (1996), §4.3; cooling: Haber, *Computational
    Methods in Geophysical Electromagnetics* (2014), ch. 6.
    """

    start: float = eqx.field(static=True, converter=float)
    factor: float = eqx.field(static=True, converter=float, default=0.3)
    target: float = eqx.field(static=True, converter=float, default=1.0)
    tolerance: float | None = eqx.field(static=True, default=None)
    max_weights: int = eqx.field(static=True, default=30)

    def __check_init__(self):
        if not (self.start > 0 and np.isfinite(self.start)):
            message = f"Cooling: start must be a positive weight, got {self.start}. See kp.inverse.starting_weight."
            raise ValueError(message)
        if not 0 < self.factor < 1:
            message = f"Cooling: factor must lie between 0 and 1, got {self.factor}: each weight is factor × the last."
            raise ValueError(message)
        if not self.target > 0 or not (self.tolerance is None or self.tolerance > 0):
            message = f"Cooling: target and tolerance must be positive, got {self.target} and {self.tolerance}."
            raise ValueError(message)
        if self.max_weights < 1:
            message = f"Cooling: max_weights must be at least 1, got {self.max_weights}."
            raise ValueError(message)

    def search(self, problem: RegularisedProblem, model: PyTree) -> WeightResult:
        path = WeightPath((problem.visit(self.start, model),))
        if not self._reached(path[0]):
            return self._cool(problem, path)
        if self.tolerance is None or self._met(path[0]):
            reason = f"{self._says(path[0])} at the first weight already: a larger start may do, too"
            return chosen(path[0], path, reason)
        return self._heat(problem, path)

    def _cool(self, problem: RegularisedProblem, path: WeightPath) -> WeightResult:
        """Lower the weight until the target is reached."""
        while not self._reached(path[-1]):
            if len(path) >= self.max_weights:
                closest = min(path.points, key=lambda point: point.misfit)
                reason = (
                    f"{self._says(closest)} after {len(path)} weights, above the target {self.target:.4g}: are sigma "
                    "too small, the mesh too coarse, the model too stiff, the fits converged?"
                )
                return chosen(closest, path, reason, failed=True)
            path = path.append(problem.visit(path[-1].weight * self.factor, path[-1].fit.model))
        return self._refine(problem, path, above=path[-2], below=path[-1])

    def _heat(self, problem: RegularisedProblem, path: WeightPath) -> WeightResult:
        """Raise the weight until the target is missed."""
        while self._reached(path[-1]):
            if len(path) >= self.max_weights:
                return chosen(
                    path[-1], path, f"{self._says(path[-1])}, however large the weight: the penalty costs nothing"
                )
            path = path.append(problem.visit(path[-1].weight / self.factor, path[-1].fit.model))
        return self._refine(problem, path, above=path[-1], below=path[-2])

    def _refine(
        self, problem: RegularisedProblem, path: WeightPath, above: WeightPoint, below: WeightPoint
    ) -> WeightResult:
        """Close the bracket by regula falsi in the logarithms of weight and misfit, which make the curve straighter."""
        if self.tolerance is None:
            return chosen(below, path, f"{self._says(below)} reached the target {self.target:.4g}")
        # Illinois: an end that stays has its value halved, so that both ends move.
        heights, stayed = {True: self._height(above), False: self._height(below)}, None
        for _ in range(_MAX_REFINEMENTS):
            if self._met(path[-1]):
                break
            share = heights[True] / (heights[True] - heights[False])
            weight = above.weight * (below.weight / above.weight) ** min(max(share, 0.02), 0.98)
            path = path.append(problem.visit(weight, path.nearest(weight).fit.model))
            is_above = not self._reached(path[-1])
            heights[is_above] = self._height(path[-1])
            heights[not is_above] *= 0.5 if stayed == (not is_above) else 1.0
            above, below = (path[-1], below) if is_above else (above, path[-1])
            stayed = not is_above
        closest = min(path.points, key=lambda point: abs(self._height(point)))
        reason = f"{self._says(closest)}, target {self.target:.4g} within {self.tolerance:.2g} of itself"
        return chosen(closest, path, reason, failed=not self._met(closest))

    def _height(self, point: WeightPoint) -> float:
        return float(np.log(max(point.misfit, 1e-300) / self.target))

    def _reached(self, point: WeightPoint) -> bool:
        return point.misfit <= self.target

    def _met(self, point: WeightPoint) -> bool:
        return self.tolerance is not None and abs(point.misfit - self.target) <= self.tolerance * self.target

    def _says(self, point: WeightPoint) -> str:
        return f"χ²/N = {point.misfit:.4g}"
