"""One look for all figures: colours that colour-blind readers tell apart, and a layout without overlaps."""

from typing import Any

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


def plain(axes: Any):
    """Remove the frame's upper and right side."""
    axes.spines[["top", "right"]].set_visible(False)


def with_unit(name: str, unit: str) -> str:
    """`name (unit)`, or the name alone."""
    return f"{name} ({unit})" if unit else name
