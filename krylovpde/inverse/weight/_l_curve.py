"""The corner of the L-curve."""

import itertools

import equinox as eqx
import numpy as np
from jaxtyping import Float, PyTree

from ._base import AbstractWeightRule, as_weights, at_the_end
from ._path import WeightPath, WeightResult, chosen
from ._problem import RegularisedProblem

_SAMPLES = 64  # of the spline, between two weights
# Where the curve stands still (more data than unknowns and hardly any penalty), curvature is a quotient of roundings.
_LEAST_SPEED = 1e-4


class LCurve(AbstractWeightRule):
    """The corner of the curve of the penalty over the misfit, both logarithmic: where it bends most.

        κ = (ρ' η'' - ρ'' η') / (ρ'² + η'²)^(3/2),    ρ = log(χ²/N),  η = log(penalty),  ' = d/d log(weight)

    Left of the corner the model follows the noise and the penalty grows; right of it the data are not followed any
    more. It needs no level of the noise. Its weight does not converge to the right one as the noise vanishes, and the
    curve of a very smooth truth may have no corner: then `failed` is set. The curve is interpolated by cubic splines of
    the logarithm of the weight; a last fit is made at the corner itself.

    **Arguments:**

    - `weights`: at least five, from where the penalty is ignored to where it rules: `np.geomspace(1e-4, 1e2, 13)`.

    **Raises:** `ValueError` for fewer or non-positive weights.

    Source: Hansen, *SIAM Review* 34 (1992) 561; Hansen, *Rank-Deficient and Discrete Ill-Posed Problems* (1998), §7.5;
    Hansen, "The L-curve and its use in the numerical treatment of inverse problems", in *Computational Inverse Problems
    in Electrocardiology* (2001). Its limits: Vogel, *Inverse Problems* 12 (1996) 535.
    """

    weights: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, weights: object):
        self.weights = as_weights("LCurve", weights, least=5)

    def search(self, problem: RegularisedProblem, model: PyTree) -> WeightResult:
        path = problem.sweep(np.asarray(self.weights), model)
        weights, curvature = curvature_along(path)
        if not len(weights) or not np.nanmax(curvature) > 0:
            best = path.nearest(float(np.exp(np.mean(np.log(path.weight)))))
            reason = "the curve has no corner; this is the middle of the weights. Use another rule, or wider weights"
            return chosen(best, path, reason, failed=True)
        corner = float(weights[np.nanargmax(curvature)])
        point = problem.visit(corner, path.nearest(corner).fit.model)
        path = path.append(point)
        end = at_the_end(corner, weights)
        reason = (
            f"the L-curve bends most here, curvature {np.nanmax(curvature):.3g}"
            if end is None
            else f"it bends most {end}"
        )
        return chosen(point, path, reason, failed=end is not None)


def curvature_along(path: WeightPath) -> tuple[Float[np.ndarray, " samples"], Float[np.ndarray, " samples"]]:
    """Weights between the second and the last but one of the path, and the curvature there; NaN where it stands still.

    In the first and the last interval a spline knows the curve from one side only.
    """
    from scipy.interpolate import CubicSpline  # here, since importing it takes a while, and few need it

    usable = [p for p in path.points if p.misfit > 0 and p.penalty > 0 and np.isfinite([p.misfit, p.penalty]).all()]
    points = sorted(usable, key=lambda point: point.weight)
    if len(points) < 5:
        return np.array([]), np.array([])
    knots = np.log([point.weight for point in points])
    curves = [
        CubicSpline(knots, np.log([getattr(point, name) for point in points]), bc_type="natural")
        for name in ("misfit", "penalty")
    ]
    places = np.unique(np.concatenate([np.linspace(a, b, _SAMPLES) for a, b in itertools.pairwise(knots[1:-1])]))
    (rho1, eta1), (rho2, eta2) = ([curve(places, order) for curve in curves] for order in (1, 2))
    speed = np.hypot(rho1, eta1)
    moving = speed > _LEAST_SPEED * np.max(speed)
    curvature = np.full(len(places), np.nan)
    curvature[moving] = ((rho1 * eta2 - rho2 * eta1)[moving]) / speed[moving] ** 3
    return np.exp(places), curvature
