"""What a fit did, iteration by iteration, and what it returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, PyTree


@dataclass(frozen=True)
class Record:
    """One iteration of a fit, as plain numbers. Iteration 0 is the starting model.

    - `value`: the loss at the model that the iteration left.
    - `misfit`: `χ²/N` of the data there; NaN for a loss without data.
    - `gradient_norm`: Euclidean norm of the gradient with respect to the free numbers.
    - `evaluations`: evaluations of the loss so far, line searches included.
    - `accepted`: whether the iteration moved the model.
    - `seconds`: wall time since the fit began, compilation included.
    - `diagnostics`: the user's own quantities (`fit(..., diagnostics=...)`).
    """

    iteration: int
    value: float
    misfit: float
    gradient_norm: float
    evaluations: int
    accepted: bool
    seconds: float
    diagnostics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class History:
    """The records of a fit; `history.value`, `.misfit`, ... are arrays over the iterations."""

    records: tuple[Record, ...] = ()

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Record:
        return self.records[index]

    def append(self, record: Record) -> "History":
        """A history that is one record longer."""
        return History((*self.records, record))

    @property
    def value(self) -> Float[np.ndarray, " iterations"]:
        """The loss."""
        return np.array([record.value for record in self.records])

    @property
    def misfit(self) -> Float[np.ndarray, " iterations"]:
        """`χ²/N` of the data."""
        return np.array([record.misfit for record in self.records])

    @property
    def gradient_norm(self) -> Float[np.ndarray, " iterations"]:
        """The norm of the gradient."""
        return np.array([record.gradient_norm for record in self.records])

    @property
    def seconds(self) -> Float[np.ndarray, " iterations"]:
        """Wall time since the fit began."""
        return np.array([record.seconds for record in self.records])

    def diagnostic(self, name: str) -> Float[np.ndarray, " iterations"]:
        """One of the user's own quantities."""
        return np.array([record.diagnostics[name] for record in self.records])


@dataclass(frozen=True)
class FitResult:
    """What `fit` returns.

    - `model`: the best model found, like the starting model. After a failure it is the best one before it.
    - `history`: a record for each iteration, the starting model first.
    - `reason`: why the fit ended, in words.
    - `stopped_by`: the stop rule that ended it, or `None` (the optimiser's own criterion, a failure, an interruption).
    - `failed`: whether it ended because it could not go on: a failed solve, a loss that stayed non-finite.
    """

    model: PyTree
    history: History
    reason: str
    stopped_by: object | None
    failed: bool
