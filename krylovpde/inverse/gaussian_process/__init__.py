"""Gaussian processes on grids: how large are length, variance and noise, and what does the field look like."""

from ._gaussian_process import GaussianProcess as GaussianProcess
from ._likelihood import LogMarginalLikelihood as LogMarginalLikelihood
