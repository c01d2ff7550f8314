"""Losses: how far predictions are from data. One measure per file."""

from ._base import (
    AbstractDataLoss as AbstractDataLoss,
    AbstractLoss as AbstractLoss,
    Total as Total,
    half_sum_of_squares as half_sum_of_squares,
)
from ._least_squares import LeastSquares as LeastSquares
from ._scaled import Scaled as Scaled
