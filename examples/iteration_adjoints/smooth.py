"""Smooth data: the derivative of the iteration is exact for what was computed, and wrong for the solution.

Heat in a rod and a wave on a string, both by Arnoldi's method in one step of a fixed dimension (the wave as a system of
first order). For each dimension: the error of `exp(tA) v`, and the errors of the gradient of `<g, exp(tA) v>` by the
discrete adjoint of that iteration (`kp.IterationAdjoint`) and by two Krylov spaces of that dimension. For the wave also
what `kp.solve` gives by default, in second-order form and for several tolerances. Errors are relative, against the
dense exponential; with `--dtype float32` that is in single precision too.
"""

import argparse
from pathlib import Path
from typing import Any

from .heat import heat
from .report import BLUE, GREEN, ORANGE, save
from .smooth_errors import errors_over_dimension
from .wave import default_errors, wave

STYLES = {
    "value": ("k", "o", "value"),
    "discrete adjoint": (ORANGE, "s", "gradient, discrete adjoint"),
    "two-sided adjoint": (BLUE, "^", "gradient, two-sided adjoint"),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those of this experiment: none; it is small, and a claim of the documentation."""
    del parser


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Both equations, printed as tables."""
    found: dict[str, Any] = {"dtype": arguments.dtype}
    for name, make in (("heat", heat), ("wave", wave)):
        case = make(arguments.dtype)
        errors = errors_over_dimension(case)
        found[name] = {"dimensions": list(case.dimensions), "errors": errors}
        print(f"\n{name}\ndimension  " + "  ".join(f"{column:>18s}" for column in errors))
        for row, dimension in enumerate(case.dimensions):
            print(f"{dimension:9d}  " + "  ".join(f"{column[row]:18.1e}" for column in errors.values()), flush=True)
    found["wave"]["default"] = default_errors(wave(arguments.dtype))
    print("\nwave, kp.solve by default\n     rtol  applications       value    gradient  method")
    for row in found["wave"]["default"]:
        print("{rtol:9.0e} {applications:13d} {value:11.1e} {gradient:11.1e}  {method}".format(**row))
    return found


def draw(found: dict[str, Any], output: Path) -> None:
    """Errors over the Krylov dimension, the equations side by side."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10.0, 4.0), layout="constrained")
    titles = {"heat": "One-dimensional heat, smooth data", "wave": "One-dimensional wave, smooth data"}
    for axes, (name, title) in zip((left, right), titles.items(), strict=True):
        for curve, (colour, marker, label) in STYLES.items():
            axes.semilogy(
                found[name]["dimensions"], found[name]["errors"][curve], marker=marker, color=colour, label=label
            )
        axes.axhline(1.0, color="0.7", linewidth=0.8)
        axes.set_xlabel("Krylov dimension")
        axes.set_ylabel("relative error")
        axes.set_title(title)
    rows = found["wave"]["default"]
    style = {"marker": "D", "color": GREEN, "label": "gradient, kp.solve by default"}
    right.semilogy([row["applications"] for row in rows], [row["gradient"] for row in rows], **style)
    right.set_xlabel("Krylov dimension; applications of the operator")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    save(figure, output)
