"""How sure an estimate is: the posterior's normal approximation, and the likelihood's profile."""

from ._curvature import AbstractCurvature as AbstractCurvature, Diagonal as Diagonal, LowRank as LowRank
from ._laplace import (
    diagonal_laplace_posterior as diagonal_laplace_posterior,
    laplace_posterior as laplace_posterior,
)
from ._posterior import LaplacePosterior as LaplacePosterior
from ._prediction import Prediction as Prediction
from ._profile import ProfileLikelihood as ProfileLikelihood, profile_likelihood as profile_likelihood
