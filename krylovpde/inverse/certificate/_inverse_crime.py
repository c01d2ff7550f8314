"""Data that were made by what is to explain them."""

from typing import Any

from jaxtyping import PyTree

from ..experiment import equation_of
from ._experiments_of import data_terms, experiments_of
from ._finding import Finding


def inverse_crimes(loss: Any, model: PyTree) -> list[Finding]:
    """One finding, if there are data that were made on the model's own grid.

    Source: Colton, Kress, *Inverse Acoustic and Electromagnetic Scattering Theory* (1992), §5.3, who named it.
    """
    experiments = [experiment for term in data_terms(loss) for experiment in experiments_of(term)]
    synthetic = [e for e in experiments if getattr(e, "made_on", None) is not None]
    if not synthetic:
        return []
    grid = getattr(equation_of(model), "grid", None)
    if not any(getattr(e, "made_on", None) == grid for e in synthetic):
        return []
    message = (
        f"inverse crime: data were made on the inversion's own grid, {grid}, so that its mesh error cancels and the "
        "result is better than measured data allow. Make the data on a grid with half of the spacing or less, and add "
        "the mesh error of this one to sigma."
    )
    return [Finding("inverse crime", message)]
