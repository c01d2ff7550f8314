"""The entrance to the checks."""

import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
from jaxtyping import PyTree, Scalar

from ._finding import Finding, InversionWarning
from ._inverse_crime import inverse_crimes
from ._rate import slow_parameters
from ._tolerance import coarse_tolerances


def certify(
    loss: Callable[[Any], Scalar],
    model: PyTree,
    optimiser: Any = None,
    *,
    max_iterations: int | None = None,
    trainable: Any = eqx.is_inexact_array,
) -> list[Finding]:
    """Look for three mistakes that no error message tells of, and warn. No equation is solved for it.

    [`krylovpde.inverse.fit`][] does this by itself.

    - **tolerance**: the solver may be wrong by more than the data are: `rtol` times the size of the state (the root
        mean square of the data, or of the initial state where that is larger) is more than a third of most data's
        `sigma`. The fit then stops at the solver's errors, not at the noise. Seen in experiments that a loss predicts
        with; not inside of functions of your own.
    - **inverse crime**: synthetic data were made on the grid of the inversion (`Experiment(made_on=grid)`). Its mesh
        error is then in data and predictions alike, cancels, and the result looks better than any measured data allow.
    - **rate**: an optimiser whose step does not depend on the size of the gradient (Adam and its relatives: a thousand
        times the gradient, the same step) cannot change a parameter by 1 % of its root mean square in
        `max_iterations`. A wave speed of 1500 m/s under `optax.adam(1e-3)` moves by 0.1 m/s in a hundred iterations,
        and the loss looks converged. Parametrisations are seen through: what counts is the change of `.value`. An
        unknown that starts at zero has no scale and is not judged.

    A fourth mistake, a gradient that is not the derivative of the loss, costs solves to find, and has a test of its
    own: `kp.verify.taylor_test(loss, model, key=key)` takes every loss and model of this module.

    **Arguments:**

    - `loss`: of the fit; checked as far as its terms are losses with data.
    - `model`: the starting model.
    - `optimiser`: of the fit; `None` leaves the rate unchecked. Optimisers that search along a line, and those that are
        not optax's, pass.
    - `max_iterations`: of the fit; `None` is its default of 100.
    - `trainable`: which leaves of the model are free, as in `fit`.

    **Returns:** the findings; none, if nothing was found. Each is also a warning, an `InversionWarning`.
    """
    findings = findings_of(loss, model, optimiser, max_iterations, trainable)
    warn_of(findings, stacklevel=3)
    return findings


def findings_of(
    loss: Callable[[Any], Scalar], model: PyTree, optimiser: Any, max_iterations: int | None, trainable: Any
) -> list[Finding]:
    """What `certify` finds, without a warning."""
    findings = [*coarse_tolerances(loss, model), *inverse_crimes(loss, model)]
    if optimiser is not None:
        iterations = 100 if max_iterations is None else max_iterations
        findings += slow_parameters(model, optimiser, iterations, trainable)
    return findings


def warn_of(findings: list[Finding], *, stacklevel: int):
    """A warning for each; `stacklevel` is that of `warnings.warn`, seen from here."""
    for finding in findings:
        warnings.warn(str(finding), InversionWarning, stacklevel=stacklevel)
