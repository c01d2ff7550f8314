"""Fitting: any optimiser behind one loop, with progress, history, stop rules and the best model kept."""

from ._checkpoint import Checkpoint as Checkpoint
from ._fit import fit as fit
from ._gauss_newton import GaussNewton as GaussNewton
from ._history import FitResult as FitResult, History as History, Record as Record
from ._lbfgs import LBFGS as LBFGS
from ._progress import AbstractProgress as AbstractProgress, Bar as Bar, Lines as Lines, Silent as Silent
from ._stop import (
    AbstractStop as AbstractStop,
    Discrepancy as Discrepancy,
    GradientNorm as GradientNorm,
    MaxIterations as MaxIterations,
    MaxSeconds as MaxSeconds,
    Stagnation as Stagnation,
)
from ._uncertainty import (
    LinearisedUncertainty as LinearisedUncertainty,
    linearised_uncertainty as linearised_uncertainty,
)
