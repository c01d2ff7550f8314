"""From data to parameters: experiments, losses, parametrisations, regularisers and `fit`."""

from .certificate import Finding as Finding, InversionWarning as InversionWarning, certify as certify
from .experiment import Experiment as Experiment, Experiments as Experiments, equation_of as equation_of
from .fitting import (
    AbstractProgress as AbstractProgress,
    AbstractStop as AbstractStop,
    Bar as Bar,
    Discrepancy as Discrepancy,
    FitResult as FitResult,
    GradientNorm as GradientNorm,
    History as History,
    Lines as Lines,
    MaxIterations as MaxIterations,
    MaxSeconds as MaxSeconds,
    Record as Record,
    Silent as Silent,
    Stagnation as Stagnation,
    fit as fit,
)
from .loss import (
    AbstractDataLoss as AbstractDataLoss,
    AbstractLoss as AbstractLoss,
    LeastSquares as LeastSquares,
    Scaled as Scaled,
    Total as Total,
)
from .parameter import (
    AbstractParameter as AbstractParameter,
    Bounded as Bounded,
    Positive as Positive,
    Smoothed as Smoothed,
    value_of as value_of,
)
from .regulariser import Tikhonov as Tikhonov, TotalVariation as TotalVariation
from .report import (
    ResidualReport as ResidualReport,
    Residuals as Residuals,
    ResidualSummary as ResidualSummary,
    residual_report as residual_report,
)
from .weight import (
    GCV as GCV,
    AbstractWeightRule as AbstractWeightRule,
    Cooling as Cooling,
    LCurve as LCurve,
    WeightPath as WeightPath,
    WeightPoint as WeightPoint,
    WeightResult as WeightResult,
    choose_weight as choose_weight,
    starting_weight as starting_weight,
)
