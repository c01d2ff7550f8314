"""One look for all figures: colours that colour-blind readers tell apart, and a layout without overlaps."""

from collections.abc import Sequence
from typing import Any

import numpy as np

# Okabe and Ito, https://jfly.uni-koeln.de/color/: distinguishable with every common form of colour blindness.
COLOURS = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
    "grey": "#7F7F7F",
}

# Lines over black dots, in this order.
LINES = tuple(COLOURS[name] for name in ("orange", "blue", "green", "vermilion", "purple", "sky"))

# Even in lightness, and the same to colour-blind readers; the second for differences, white at zero.
SEQUENTIAL = "cividis"
DIVERGING = "PuOr_r"
BLANK = "#D9D9D9"  # of what is missing: neither white, which is zero, nor a colour of a scale


def figure(
    rows: int = 1, columns: int = 1, *, size: tuple[float, float] | None = None, **options: Any
) -> tuple[Any, Any]:
    """A figure with a grid of axes, in constrained layout.

    It belongs to nobody's list of open figures, so it needs no closing; `figure.savefig(path)` writes it.

    **Arguments:**

    - `rows`, `columns`: of axes.
    - `size`: width and height in inches.
    - `options`: of `matplotlib.figure.Figure.subplots`.

    **Returns:** the figure and its axes (an array of them, or one).
    """
    from matplotlib.figure import Figure

    drawing = Figure(figsize=size or (4.5 * columns, 4.0 * rows), layout="constrained")
    return drawing, drawing.subplots(rows, columns, **options)


def colour_bar(mesh: Any, axes: Sequence[Any], label: str, *, extend: str = "neither") -> Any:
    """A colour bar for axes that share a scale: at the last one's side and of its height, where they stand in one row.

    Panels in true proportions are lower than their place in the layout, and a bar of the layout's height towers over
    them; over several rows it does not matter.
    """
    rows = {place.get_subplotspec().rowspan.start for place in axes if place.get_subplotspec() is not None}
    options = {"label": label, "extend": extend}
    if len(rows) > 1:
        return axes[-1].figure.colorbar(mesh, ax=list(axes), shrink=0.9, aspect=30, **options)
    return axes[-1].figure.colorbar(mesh, cax=axes[-1].inset_axes((1.03, 0.0, 0.04, 1.0)), **options)


def plain(axes: Any):
    """Remove the frame's upper and right side."""
    axes.spines[["top", "right"]].set_visible(False)


def readable_ticks(axis: Any, values: Sequence[float] | np.ndarray):
    """Round numbers on a logarithmic axis of less than a decade, where a logarithm's labels collide."""
    from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter

    if len(values) and np.max(values) < 10 * np.min(values):
        axis.set_major_locator(MaxNLocator(4))
        axis.set_major_formatter(ScalarFormatter(useOffset=False))
        axis.set_minor_locator(NullLocator())


def with_unit(name: str, unit: str) -> str:
    """`name (unit)`, or the name alone."""
    return f"{name} ({unit})" if unit else name
