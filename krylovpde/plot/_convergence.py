"""How a fit went."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..inverse import History
from ._style import COLOURS, plain

_QUANTITIES = {"misfit": "misfit χ²/N", "loss": "loss", "gradient": "gradient norm, relative to its start"}


def convergence(
    axes: Any,
    history: History,
    *,
    quantities: Sequence[str] | None = None,
    over: str = "iterations",
    target: float | None = 1.0,
    diagnostics: Mapping[str, str] | None = None,
    title: str = "convergence",
):
    """Draw how a fit went over the iterations or over time, on a logarithmic scale.

    **Arguments:**

    - `axes`: where to draw.
    - `history`: of a `FitResult`.
    - `quantities`: which of `"misfit"`, `"loss"` and `"gradient"`. `None`: the misfit, or the loss without data.
    - `over`: `"iterations"`, or `"seconds"` since the fit began, compilation included.
    - `target`: where the discrepancy principle stops; a dashed line. `None` draws none.
    - `diagnostics`: further curves from the history, as `{name: label}`.
    - `title`: above the axes.

    **Raises:** `ValueError` for another quantity, or another `over`.
    """
    has_misfit = not np.all(np.isnan(history.misfit))
    quantities = (("misfit" if has_misfit else "loss"),) if quantities is None else tuple(quantities)
    if over not in ("iterations", "seconds") or not set(quantities) <= set(_QUANTITIES):
        message = (
            f"plot.convergence draws {', '.join(_QUANTITIES)} over iterations or seconds; asked for {quantities} over "
            f"{over!r}."
        )
        raise ValueError(message)
    places = np.arange(len(history)) if over == "iterations" else history.seconds
    colours = iter([COLOURS["blue"], COLOURS["vermilion"], COLOURS["green"], COLOURS["purple"], COLOURS["orange"]])
    for name in quantities:
        values, label = _values(history, name), _QUANTITIES[name]
        axes.semilogy(places, values, "o-", markersize=3, color=next(colours), label=label)
    if has_misfit and "misfit" in quantities and target is not None:
        axes.axhline(target, linestyle="--", linewidth=1, color=COLOURS["grey"], label="noise and mesh error")
    for name, label in (diagnostics or {}).items():
        axes.semilogy(places, history.diagnostic(name), "s-", markersize=3, color=next(colours), label=label)
    axes.set_xlabel("iteration" if over == "iterations" else "time since the start (s)")
    axes.set_title(title)
    axes.grid(visible=True, which="major", linewidth=0.4, alpha=0.5)
    axes.legend(frameon=False)
    plain(axes)


def _values(history: History, name: str) -> np.ndarray:
    if name == "gradient":
        return history.gradient_norm / history.gradient_norm[0]
    return history.misfit if name == "misfit" else history.value
