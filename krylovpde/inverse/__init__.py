"""From data to parameters: experiments, losses, parametrisations, regularisers and `fit`."""

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
