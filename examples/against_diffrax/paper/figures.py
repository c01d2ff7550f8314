"""The figures, next to the JSON files."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def plot_work(report: dict[str, Any], path: Path) -> None:
    """Errors of solution and gradient against products forward and backward."""
    figure, (left, right) = _two_axes()
    rows = [row for row in report["rows"] if "failure" not in row]
    for name in dict.fromkeys(row["method"] for row in rows):
        mine = sorted((row for row in rows if row["method"] == name), key=lambda row: row["forward"])
        left.loglog([r["forward"] for r in mine], [r["value_error"] for r in mine], "o-", label=name, ms=4)
        mine.sort(key=lambda row: row["backward"])
        right.loglog([r["backward"] for r in mine], [r["gradient_error"] for r in mine], "o-", label=name, ms=4)
    _name(left, "products with A for the value", "relative error of the solution")
    _name(right, "products with A for the gradient, after the value", "relative error of the gradient")
    right.legend(fontsize=7)
    _write(figure, path)


def plot_training(report: dict[str, Any], path: Path) -> None:
    """Training loss against seconds and against epochs; one line for each method and seed."""
    figure, (left, right) = _two_axes()
    methods = list(dict.fromkeys(row["method"] for row in report["rows"]))
    for row in report["rows"]:
        first = row["seed"] == report["rows"][0]["seed"]
        colour, label = f"C{methods.index(row['method'])}", row["method"] if first else None
        left.semilogy([0.0, *row["seconds"]], row["losses"], color=colour, label=label, lw=1)
        right.semilogy(range(len(row["losses"])), row["losses"], color=colour, lw=1)
    _name(left, "seconds", "training loss")
    _name(right, "epochs", "training loss")
    left.legend(fontsize=7)
    _write(figure, path)


def _two_axes() -> tuple[Figure, tuple[Axes, Axes]]:
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    axes = figure.subplots(1, 2)
    return figure, (axes[0], axes[1])


def _name(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)


def _write(figure: Figure, path: Path) -> None:
    with mpl.rc_context({"savefig.dpi": 150}):
        figure.savefig(path)
    print(f"written: {path}")
