"""From data to parameters: experiments, losses, parametrisations, regularisers and `fit`."""

from .certificate import Finding as Finding, InversionWarning as InversionWarning, certify as certify
from .data import (
    AbstractLayout as AbstractLayout,
    Column as Column,
    Long as Long,
    Matrix as Matrix,
    Observations as Observations,
    Wide as Wide,
    from_xarray as from_xarray,
    read_csv as read_csv,
    read_netcdf as read_netcdf,
    read_npz as read_npz,
)
from .experiment import (
    Experiment as Experiment,
    Experiments as Experiments,
    ExperimentSet as ExperimentSet,
    MemoryFormula as MemoryFormula,
    batch_size_for as batch_size_for,
    equation_of as equation_of,
    memory_formula as memory_formula,
)
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
from .inner_product import (
    H1 as H1,
    L2 as L2,
    AbstractInnerProduct as AbstractInnerProduct,
    Euclidean as Euclidean,
)
from .loss import (
    AbstractDataLoss as AbstractDataLoss,
    AbstractLoss as AbstractLoss,
    Huber as Huber,
    LeastSquares as LeastSquares,
    LogData as LogData,
    NormalisedCorrelation as NormalisedCorrelation,
    Scaled as Scaled,
    StudentT as StudentT,
    Total as Total,
)
from .parameter import (
    AbstractBasis as AbstractBasis,
    AbstractParameter as AbstractParameter,
    ActiveCells as ActiveCells,
    Bounded as Bounded,
    Box as Box,
    DenseBasis as DenseBasis,
    Fixed as Fixed,
    InInnerProduct as InInnerProduct,
    Interpolated as Interpolated,
    KarhunenLoeve as KarhunenLoeve,
    Layers as Layers,
    Named as Named,
    NetworkField as NetworkField,
    Positive as Positive,
    Smoothed as Smoothed,
    Spline as Spline,
    TensorBasis as TensorBasis,
    Zones as Zones,
    bounds_of as bounds_of,
    named_parameters as named_parameters,
    parameter_table as parameter_table,
    value_of as value_of,
)
from .posterior import (
    AbstractCurvature as AbstractCurvature,
    Diagonal as Diagonal,
    LaplacePosterior as LaplacePosterior,
    LowRank as LowRank,
    Prediction as Prediction,
    diagonal_laplace_posterior as diagonal_laplace_posterior,
    laplace_posterior as laplace_posterior,
)
from .regulariser import (
    AbstractPrior as AbstractPrior,
    BiLaplacian as BiLaplacian,
    Gaussian as Gaussian,
    Tikhonov as Tikhonov,
    TotalVariation as TotalVariation,
)
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
