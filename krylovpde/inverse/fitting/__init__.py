"""Fitting: any optimiser behind one loop, with progress, history, stop rules and the best model kept."""

from ._fit import fit as fit
from ._history import FitResult as FitResult, History as History, Record as Record
from ._progress import AbstractProgress as AbstractProgress, Bar as Bar, Lines as Lines, Silent as Silent
from ._stop import (
    AbstractStop as AbstractStop,
    Discrepancy as Discrepancy,
    GradientNorm as GradientNorm,
    MaxIterations as MaxIterations,
    MaxSeconds as MaxSeconds,
    Stagnation as Stagnation,
)
