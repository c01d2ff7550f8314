"""What a model leaves unexplained: residuals by sensor, by time, by run."""

from ._report import ResidualReport as ResidualReport, residual_report as residual_report
from ._residuals import Residuals as Residuals, ResidualSummary as ResidualSummary
