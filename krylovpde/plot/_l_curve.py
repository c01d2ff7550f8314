"""Misfit against penalty, and what a rule made of it."""

from typing import Any

import numpy as np

from ..inverse import WeightResult
from ._style import COLOURS, plain, readable_ticks


def l_curve(axes: Any, result: WeightResult, *, target: float | None = None, title: str = "L-curve", every: int = 3):
    """Draw the penalty over the misfit for all weights of a search, and mark the chosen one.

    **Arguments:**

    - `axes`: where to draw; both scales become logarithmic.
    - `result`: of `choose_weight`.
    - `target`: of `χ²/N`, a dashed line; `None` draws none.
    - `title`: above the axes.
    - `every`: which weights are written beside their dots: every third by default, 0 for none.
    """
    order = np.argsort(result.path.weight)
    path = result.path
    weight, misfit, penalty = (values[order] for values in (path.weight, path.misfit, path.penalty))
    drawn = (misfit > 0) & (penalty > 0)
    weight, misfit, penalty = weight[drawn], misfit[drawn], penalty[drawn]
    axes.loglog(misfit, penalty, ".-", color=COLOURS["blue"], linewidth=1, markersize=6, label="weights tried")
    chosen = int(np.argmin(np.abs(np.log(weight / result.weight))))
    style = {"markersize": 11, "markerfacecolor": "none", "markeredgewidth": 1.8}
    label = f"chosen, {result.weight:.3g}"
    axes.plot(misfit[chosen], penalty[chosen], "o", color=COLOURS["vermilion"], label=label, **style)
    if target is not None:
        axes.axvline(target, color=COLOURS["grey"], linestyle="--", linewidth=1, label=f"target {target:.3g}")
    for i in range(0, len(weight), every) if every else ():
        style = {"xytext": (5, 5), "textcoords": "offset points", "fontsize": "x-small", "color": COLOURS["grey"]}
        axes.annotate(f"{weight[i]:.0e}", (misfit[i], penalty[i]), **style)
    axes.set_xlabel("misfit χ²/N")
    axes.set_ylabel("penalty at weight 1")
    readable_ticks(axes.xaxis, misfit)
    axes.set_title(title)
    axes.grid(visible=True, which="major", linewidth=0.4, alpha=0.5)
    axes.legend(frameon=False)
    plain(axes)


def weight_criterion(axes: Any, result: WeightResult, *, title: str = "cross-validation"):
    """Draw what the rule computed over the weights: the function of `GCV`, with the chosen weight.

    **Arguments:**

    - `axes`: where to draw; both scales become logarithmic.
    - `result`: of `choose_weight` with a rule that computes something at each weight.
    - `title`: above the axes.

    **Raises:** `ValueError` for a path without such numbers.
    """
    known = np.isfinite(result.path.criterion)
    if not known.any():
        message = "plot.weight_criterion: this rule computes nothing at each weight. GCV does; else use plot.l_curve."
        raise ValueError(message)
    order = np.argsort(result.path.weight[known])
    weight, criterion = (values[known][order] for values in (result.path.weight, result.path.criterion))
    axes.loglog(weight, criterion, ".-", color=COLOURS["blue"], linewidth=1, markersize=6)
    axes.axvline(result.weight, color=COLOURS["vermilion"], linewidth=1.4, label=f"chosen, {result.weight:.3g}")
    axes.set_xlabel("weight")
    axes.set_ylabel("V(weight)")
    readable_ticks(axes.yaxis, criterion)
    axes.set_title(title)
    axes.grid(visible=True, which="major", linewidth=0.4, alpha=0.5)
    axes.legend(frameon=False)
    plain(axes)
