"""From data to parameters: experiments, losses, parametrisations, regularisers and `fit`."""

from .experiment import Experiment as Experiment, Experiments as Experiments, equation_of as equation_of
from .fitting import (
    LBFGS as LBFGS,
    AbstractProgress as AbstractProgress,
    AbstractStop as AbstractStop,
    Bar as Bar,
    Checkpoint as Checkpoint,
    Discrepancy as Discrepancy,
    FitResult as FitResult,
    GaussNewton as GaussNewton,
    GradientNorm as GradientNorm,
    History as History,
    LinearisedUncertainty as LinearisedUncertainty,
    Lines as Lines,
    MaxIterations as MaxIterations,
    MaxSeconds as MaxSeconds,
    Record as Record,
    Silent as Silent,
    Stagnation as Stagnation,
    fit as fit,
    linearised_uncertainty as linearised_uncertainty,
)
from .loss import (
    AbstractDataLoss as AbstractDataLoss,
    AbstractLoss as AbstractLoss,
    LeastSquares as LeastSquares,
    Total as Total,
)
from .parameter import (
    AbstractParameter as AbstractParameter,
    Bounded as Bounded,
    Box as Box,
    Positive as Positive,
    Smoothed as Smoothed,
    bounds_of as bounds_of,
    value_of as value_of,
)
from .regulariser import Tikhonov as Tikhonov, TotalVariation as TotalVariation
