"""What a search for a weight went through, and what it returns."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, PyTree

from ..fitting import FitResult


@dataclass(frozen=True)
class WeightPoint:
    """The fit at one weight.

    - `weight`: of the penalty.
    - `misfit`: `χ²/N` of the data at the fitted model.
    - `penalty`: the penalty there, at weight 1.
    - `criterion`: what the rule computes at each weight (`GCV`: its function); NaN where it computes nothing.
    - `fit`: the result of the fit.
    """

    weight: float
    misfit: float
    penalty: float
    criterion: float
    fit: FitResult

    def __str__(self) -> str:
        """One line."""
        criterion = "" if np.isnan(self.criterion) else f"  criterion {self.criterion:.5g}"
        iterations = f"{self.fit.history[-1].iteration:3d} iterations"
        return f"weight {self.weight:.4e}  χ²/N {self.misfit:9.4g}  penalty {self.penalty:.4e}{criterion}  {iterations}"


@dataclass(frozen=True)
class WeightPath:
    """The fits of a search, in the order in which they were made; `path.weight`, `.misfit`, ... are arrays."""

    points: tuple[WeightPoint, ...] = ()

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> WeightPoint:
        return self.points[index]

    def __str__(self) -> str:
        """A line for each weight."""
        return "\n".join(str(point) for point in self.points)

    def append(self, point: WeightPoint) -> "WeightPath":
        """A path that is one point longer."""
        return WeightPath((*self.points, point))

    def nearest(self, weight: float) -> WeightPoint:
        """The point whose weight is closest by ratio."""
        return min(self.points, key=lambda point: abs(np.log(point.weight / weight)))

    @property
    def weight(self) -> Float[np.ndarray, " points"]:
        """The weights."""
        return np.array([point.weight for point in self.points])

    @property
    def misfit(self) -> Float[np.ndarray, " points"]:
        """`χ²/N` of the data."""
        return np.array([point.misfit for point in self.points])

    @property
    def penalty(self) -> Float[np.ndarray, " points"]:
        """The penalty at weight 1."""
        return np.array([point.penalty for point in self.points])

    @property
    def criterion(self) -> Float[np.ndarray, " points"]:
        """What the rule computed."""
        return np.array([point.criterion for point in self.points])


@dataclass(frozen=True)
class WeightResult:
    """What `choose_weight` returns. `print` it for the table.

    - `weight`: the one chosen.
    - `fit`: the `FitResult` there; `result.model` is its model.
    - `path`: all weights that were tried. Where a rule finds the best weight between two of them, it fits there, too.
    - `reason`: how the weight was chosen, in words.
    - `failed`: whether the rule's condition is not met; the result is then the closest to it.
    """

    weight: float
    fit: FitResult
    path: WeightPath
    reason: str
    failed: bool

    @property
    def model(self) -> PyTree:
        """The model fitted with the chosen weight."""
        return self.fit.model

    def __str__(self) -> str:
        """A line for each weight, and the choice."""
        return f"{self.path}\n{'NOT MET' if self.failed else 'chosen'}: weight {self.weight:.4e}: {self.reason}"


def chosen(point: WeightPoint, path: WeightPath, reason: str, *, failed: bool = False) -> WeightResult:
    """The result that a rule returns for one of its points."""
    return WeightResult(point.weight, point.fit, path, reason, failed)
