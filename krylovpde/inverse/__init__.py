"""From data to parameters: experiments, losses, parametrisations, regularisers and `fit`."""

from ._experiment import Experiment as Experiment, Experiments as Experiments, equation_of as equation_of
from ._fit import fit as fit
from ._history import FitResult as FitResult, History as History, Record as Record
from ._loss import AbstractLoss as AbstractLoss, LeastSquares as LeastSquares, Total as Total
from ._parameter import (
    AbstractParameter as AbstractParameter,
    Bounded as Bounded,
    Positive as Positive,
    Smoothed as Smoothed,
    value_of as value_of,
)
from ._progress import AbstractProgress as AbstractProgress, Bar as Bar, Lines as Lines, Silent as Silent
from ._regulariser import Tikhonov as Tikhonov, TotalVariation as TotalVariation
from ._stop import (
    AbstractStop as AbstractStop,
    Discrepancy as Discrepancy,
    GradientNorm as GradientNorm,
    MaxIterations as MaxIterations,
    MaxSeconds as MaxSeconds,
    Stagnation as Stagnation,
)
