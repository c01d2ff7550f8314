"""How a fit went."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..inverse import History
from ._style import COLOURS, plain


def convergence(
    axes: Any,
    history: History,
    *,
    target: float | None = 1.0,
    diagnostics: Mapping[str, str] | None = None,
    title: str = "convergence",
):
    """Draw the misfit over the iterations (the loss, where it has no data), on a logarithmic scale.

    **Arguments:**

    - `axes`: where to draw.
    - `history`: of a `FitResult`.
    - `target`: where the discrepancy principle stops; a dashed line. `None` draws none.
    - `diagnostics`: further curves from the history, as `{name: label}`.
    - `title`: above the axes.
    """
    iterations = np.arange(len(history))
    has_misfit = not np.all(np.isnan(history.misfit))
    main = history.misfit if has_misfit else history.value
    colours = iter([COLOURS["blue"], COLOURS["vermilion"], COLOURS["green"], COLOURS["purple"]])
    axes.semilogy(
        iterations, main, "o-", markersize=3, color=next(colours), label="misfit χ²/N" if has_misfit else "loss"
    )
    if has_misfit and target is not None:
        axes.axhline(target, linestyle="--", linewidth=1, color=COLOURS["grey"], label="noise and mesh error")
    for name, label in (diagnostics or {}).items():
        axes.semilogy(iterations, history.diagnostic(name), "s-", markersize=3, color=next(colours), label=label)
    axes.set_xlabel("iteration")
    axes.set_title(title)
    axes.grid(visible=True, which="major", linewidth=0.4, alpha=0.5)
    axes.legend(frameon=False)
    plain(axes)
