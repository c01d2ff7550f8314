"""Losses: how far predictions are from data. One measure per file."""

from ._base import (
    AbstractDataLoss as AbstractDataLoss,
    AbstractLoss as AbstractLoss,
    Total as Total,
    half_sum_of_squares as half_sum_of_squares,
)
from ._huber import Huber as Huber
from ._least_squares import LeastSquares as LeastSquares
from ._log_data import LogData as LogData
from ._normalised_correlation import NormalisedCorrelation as NormalisedCorrelation
from ._scaled import Scaled as Scaled
from ._student_t import StudentT as StudentT
