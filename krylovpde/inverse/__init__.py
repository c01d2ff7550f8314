"""From data to parameters: experiments, losses, parametrisations, regularisers and `fit`."""

from ._fit import fit as fit
from ._history import FitResult as FitResult, History as History, Record as Record
from ._loss import AbstractLoss as AbstractLoss, LeastSquares as LeastSquares, Total as Total
from ._parameter import (
    AbstractParameter as AbstractParameter,
    Bounded as Bounded,
    Positive as Positive,
    value_of as value_of,
)
from ._progress import AbstractProgress as AbstractProgress, Bar as Bar, Lines as Lines, Silent as Silent
from ._stop import (
    AbstractStop as AbstractStop,
    Discrepancy as Discrepancy,
    GradientNorm as GradientNorm,
    MaxIterations as MaxIterations,
    MaxSeconds as MaxSeconds,
    Stagnation as Stagnation,
)
