"""The entrance to the choice of a weight."""

from collections.abc import Callable
from typing import Any

from jaxtyping import PyTree

from ..loss import AbstractLoss
from ._base import AbstractWeightRule
from ._path import WeightPoint, WeightResult
from ._problem import RegularisedProblem


def choose_weight(
    data_loss: AbstractLoss,
    penalty: AbstractLoss,
    model: PyTree,
    optimiser: Any,
    rule: AbstractWeightRule,
    *,
    tell: Callable[[WeightPoint], Any] | None = print,
    **fit_options: Any,
) -> WeightResult:
    """Minimise `data_loss + weight × penalty`, and choose the weight.

    Each weight takes a fit of its own, which starts from the model of the weight before; weights go from large to
    small, because a smooth model is a safe start for a less smooth one. All of them run one compiled program.

    - `Cooling` where the standard deviations are known: the largest weight at which the data are fitted as well as they
        are known. The cheapest.
    - `GCV` where the noise is white, but its level is not known.
    - `LCurve` where it is neither white nor known.

    **Arguments:**

    - `data_loss`: `LeastSquares`, or another loss with data. Penalties whose weight is fixed may be added to it.
    - `penalty`: what is weighted: `Tikhonov(grid, field, weight=1.0)`, or a sum of penalties that keep their ratio.
    - `model`: where the first fit starts.
    - `optimiser`: as for `fit`. It should converge: a path of half-finished fits has no corner and no minimum.
    - `rule`: `Cooling(...)`, `LCurve(...)` or `GCV(...)`.
    - `tell`: called with each `WeightPoint`; `print` writes a line, `None` is silent.
    - `fit_options`: of `fit`: `stop`, `max_iterations`, `trainable`, `progress` (here `None`, if not given), ... but no
        `checkpoint`, which belongs to a single fit.

    **Returns:** a `WeightResult` of weight, fit and path; `kp.plot.l_curve` draws it.

    **Raises:** `TypeError` for a penalty that is no loss, or a rule of another kind; `ValueError` where `data_loss` has
    no data; and what `fit` raises.
    """
    if not isinstance(data_loss, AbstractLoss) or not isinstance(penalty, AbstractLoss):
        message = (
            f"choose_weight: data_loss is a {type(data_loss).__name__} and penalty a {type(penalty).__name__}; both "
            "must be losses of kp.inverse (for a function of your own subclass kp.inverse.AbstractLoss)."
        )
        raise TypeError(message)
    if not isinstance(rule, AbstractWeightRule):
        message = f"choose_weight: rule must be Cooling(...), LCurve(...) or GCV(...), got {rule!r}."
        raise TypeError(message)
    if fit_options.get("checkpoint") is not None:
        message = (
            "choose_weight: a checkpoint belongs to one fit, and each weight makes another, which would go on from the "
            "end of the last. Choose the weight, then fit with it: fit(data_loss + result.weight * penalty, ...)."
        )
        raise ValueError(message)
    options = {"progress": None, **fit_options}
    return rule.search(RegularisedProblem(data_loss, penalty, optimiser, options, tell), model)
