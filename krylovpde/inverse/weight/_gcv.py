"""Generalised cross-validation."""

import dataclasses

import equinox as eqx
import jax
import lineax as lx
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from ._base import AbstractWeightRule, as_weights, at_the_end
from ._influence import exact_trace, num_real_data, probed_trace
from ._path import WeightPath, WeightResult, chosen
from ._problem import RegularisedProblem

_LOST = (
    "their conjugate gradients did not converge. Use probes=None, a larger max_steps, or double precision and solves "
    "that are tighter than rtol"
)


class GCV(AbstractWeightRule):
    """Generalised cross-validation: the weight whose model predicts left-out data best, on average.

        V(β) = (‖r‖²/N) / (1 - tr H / N)²,    H = J (Jᵀ J + Rᵀ R)⁻¹ Jᵀ

    with the data's residual `r` in units of `sigma`, its Jacobian `J` and the penalty's `R` (of its residual, at weight
    `β`), both at the model fitted with that weight. `tr H` is the number of parameters that the data decide.

    It needs no level of the noise, and gives one: at the minimum `sqrt(V)` estimates how many times larger the noise is
    than `sigma`. It takes the noise as white in units of `sigma`; where it is correlated the weight comes out too
    small. The minimum is flat, and for few data it may lie at zero. Penalties must be sums of squares.

    **Arguments:**

    - `weights`: at least five, as for `LCurve`.
    - `probes`: how the trace is computed. `None`: exactly, by a dense factorisation, after one derivative for each
        datum or unknown, whichever are fewer; for up to some two thousand unknowns. A number: by as many random probes,
        `tr H ≈ mean zᵀ H z` with `z = ±1`, the same at each weight, each by conjugate gradients; 8 to 32 are enough,
        since the error is at most `sqrt(2 tr H / probes)`, and small beside N.
    - `key`: for the probes.
    - `rtol`: relative residual of the conjugate gradients.
    - `max_steps`: of the conjugate gradients, `None` for lineax's ten times the number of unknowns. A step costs one
        product with `J` and one with `Jᵀ`. Where they do not converge (small weights in single precision), the weight
        does not count, and the reason says so.

    **Raises:** `ValueError` for fewer or non-positive weights, or probes without a key; `TypeError`, in the search, for
    penalties that are not sums of squares.

    Source: Golub, Heath, Wahba, *Technometrics* 21 (1979) 215; probes: Girard, *Numer. Math.* 56 (1989) 1; Hutchinson,
    *Commun. Statist. Simul.* 19 (1990) 433.
    """

    weights: tuple[float, ...] = eqx.field(static=True)
    probes: int | None = eqx.field(static=True)
    key: PRNGKeyArray | None
    rtol: float = eqx.field(static=True)
    max_steps: int | None = eqx.field(static=True)

    def __init__(
        self,
        weights: object,
        probes: int | None = None,
        key: PRNGKeyArray | None = None,
        *,
        rtol: float = 1e-4,
        max_steps: int | None = None,
    ):
        self.weights = as_weights("GCV", weights, least=5)
        self.probes, self.key, self.rtol, self.max_steps = probes, key, rtol, max_steps
        if probes is not None and (probes < 1 or key is None):
            message = f"GCV: {probes} random probes need a number of at least 1 and a `key`; probes=None is exact."
            raise ValueError(message)

    def search(self, problem: RegularisedProblem, model: PyTree) -> WeightResult:
        num_data = num_real_data(problem, model)
        if not num_data > 0:
            message = "GCV: `data_loss` has no data. Use LeastSquares, or another loss with data."
            raise ValueError(message)

        def function(at: PyTree, weight: float, misfit: float) -> float:
            undecided = 1.0 - self._trace(problem, at, weight) / num_data
            return np.inf if undecided <= 0 else misfit / undecided**2

        scored = dataclasses.replace(problem, criterion=function)
        path = scored.sweep(np.asarray(self.weights), model)
        best = _least(path)
        lost = np.count_nonzero(np.isnan(path.criterion))
        told = f"; {lost} of {len(path)} weights do not count: {_LOST}" if lost else ""
        if best is None:
            reason = "V is not finite: are there as many parameters as data? Use larger weights"
            return chosen(path[0], path, reason + told, failed=True)
        path = path.append(scored.visit(best, path.nearest(best).fit.model))
        end = at_the_end(best, path.weight[:-1])
        noise = np.sqrt(path[-1].criterion)
        reason = f"V is least here; the noise is about {noise:.3g} sigma" if end is None else f"V is least {end}"
        return chosen(path[-1], path, reason + told, failed=end is not None)

    def _trace(self, problem: RegularisedProblem, model: PyTree, weight: float) -> float:
        if self.probes is None or self.key is None:
            return exact_trace(problem, model, weight)
        solver = lx.CG(rtol=self.rtol, atol=0.0, max_steps=self.max_steps)
        return probed_trace(problem, model, weight, jax.random.split(self.key, self.probes), solver)


def _least(path: WeightPath) -> float | None:
    """Where the spline through the logarithm of the finite values of V is least."""
    finite = sorted((p for p in path.points if np.isfinite(p.criterion) and p.criterion > 0), key=lambda p: p.weight)
    from scipy.interpolate import CubicSpline  # here, since importing it takes a while, and few need it

    if len(finite) < 2:
        return finite[0].weight if finite else None
    knots = np.log([point.weight for point in finite])
    spline = CubicSpline(knots, np.log([point.criterion for point in finite]))
    lowest = int(np.argmin([point.criterion for point in finite]))
    # Between the neighbours of the least value alone: a spline may swing below it elsewhere.
    places = np.linspace(knots[max(lowest - 1, 0)], knots[min(lowest + 1, len(knots) - 1)], 2001)
    return float(np.exp(places[np.argmin(spline(places))]))
