"""Time and memory of one vector-Jacobian product of a Krylov iteration, over its depth: adjoint and backpropagation.

The factorization of a sparse matrix (`kp.SparseOperator`), dense cotangents of all its outputs, and the derivative with
respect to the stored values. Backpropagation is JAX's through the same iteration, written as a loop. The forward pass,
which also writes what the way back needs, and the way back are two programs, timed apart; compiling is in neither. All
contestants at all depths take turns; medians. Memory is XLA's temporary memory of both passes in one program.

The time of the way back is fitted by `c m^p`, and by `a + b m + c m²` with no negative coefficient: the projections of
Arnoldi's method and of its adjoint are `O(n m²)`, all else is `O(m)`.
"""

import argparse
import functools as ft
from pathlib import Path
from typing import Any

import jax
import numpy as np
from scipy.optimize import nnls

from .matrices import SHAPES, generated, read
from .products import measure
from .report import BLUE, ORANGE, SKY, save

DEPTHS = (5, 10, 20, 35, 50)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those of this experiment."""
    parser.add_argument("--matrix", type=Path, nargs="+", default=[], help="Matrix Market files in place of generated")
    parser.add_argument("--generated", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--depths", type=int, nargs="+", default=list(DEPTHS))
    parser.add_argument("--repeats", type=int, default=7)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """All matrices."""
    files = {path.name: ft.partial(read, path) for path in arguments.matrix}
    made = {name: ft.partial(generated, name) for name in arguments.generated}
    found: dict[str, Any] = {"dtype": arguments.dtype, "device": str(jax.devices()[0]), "matrices": {}}
    for name, make in (files or made).items():
        matrix = make().astype(arguments.dtype)
        rows = measure(matrix, sorted(arguments.depths), arguments.repeats)
        size = {"n": int(matrix.shape[0]), "entries": int(matrix.nnz)}
        found["matrices"][name] = {**size, "rows": rows, "fits": fits(rows)}
        show(name, found["matrices"][name])
    return found


def fits(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """For each name: powers of the depth, and how much of the way back is quadratic at the end."""
    found = {}
    for name in dict.fromkeys(row["name"] for row in rows):
        mine = [(row["depth"], row["forward_s"], row["backward_s"]) for row in rows if row["name"] == name]
        depth, forward_s, backward_s = np.array(mine).T
        # Relative weights: every depth counts the same.
        design = np.stack([np.ones_like(depth), depth, depth**2], axis=1) / backward_s[:, None]
        (_, _, square), _ = nnls(design, np.ones_like(backward_s))
        found[name] = {
            "power": power(depth, backward_s),
            "power_of_both_passes": power(depth, forward_s + backward_s),
            "quadratic_share_at_the_end": float(square * depth[-1] ** 2 / backward_s[-1]),
        }
    return found


def power(depth: np.ndarray, seconds: np.ndarray) -> float:
    """`p` of `seconds = c depth^p`, by least squares of the logarithms."""
    return float(np.polyfit(np.log(depth), np.log(seconds), 1)[0]) if depth.size > 1 else float("nan")


def show(name: str, of: dict[str, Any]) -> None:
    """A table for each matrix; the ratios are backpropagation's to the adjoint's."""
    print(f"\n{name}: n = {of['n']}, {of['entries']} entries; milliseconds, temporary memory in megabytes\n")
    print(f"{'':32s} depth  forward     back    memory   ratio of back, both, memory   difference", flush=True)
    other = {(row["name"].rpartition(", ")[0], row["depth"]): row for row in of["rows"] if row["backpropagation"]}
    for row in of["rows"]:
        text = f"{row['name']:32s} {row['depth']:5d} {1e3 * row['forward_s']:8.2f} {1e3 * row['backward_s']:8.2f}"
        text += f"{row['memory_bytes'] / 1e6:10.2f}"
        if not row["backpropagation"]:
            beside = other[row["name"].rpartition(", ")[0], row["depth"]]
            both = (beside["forward_s"] + beside["backward_s"]) / (row["forward_s"] + row["backward_s"])
            back, memory = (beside[key] / row[key] for key in ("backward_s", "memory_bytes"))
            text += f"{back:16.2f} {both:5.2f} {memory:7.1f}   {row['difference']:10.0e}"
        print(text)
    print("\n                                  power of the depth: back, both passes   share of m² in a + b m + c m²")
    for who, fit in of["fits"].items():
        text = f"{fit['power']:26.2f} {fit['power_of_both_passes']:12.2f}"
        print(f"{who:32s} {text} {fit['quadratic_share_at_the_end']:31.2f}", flush=True)


def draw(found: dict[str, Any], output: Path) -> None:
    """Times and memory over the depth; adjoints are drawn through, backpropagation is dashed."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    count = len(found["matrices"])
    figure, axes = plt.subplots(count, 3, figsize=(12.0, 3.2 * count + 0.6), layout="constrained", squeeze=False)
    styles = {"Arnoldi with": (BLUE, "o"), "Arnoldi without": (SKY, "v"), "Lanczos without": (ORANGE, "s")}
    for line, (name, of) in zip(axes, found["matrices"].items(), strict=True):
        depths = sorted({row["depth"] for row in of["rows"]})
        for who in dict.fromkeys(row["name"] for row in of["rows"]):
            rows = [row for row in of["rows"] if row["name"] == who]
            kind, _, how = who.rpartition(", ")
            colour, marker = styles[kind]
            style = {"color": colour, "marker": marker, "linestyle": "-" if how == "adjoint" else "--", "label": who}
            line[0].loglog(depths, [1e3 * row["backward_s"] for row in rows], **style)
            line[1].loglog(depths, [1e3 * (row["forward_s"] + row["backward_s"]) for row in rows], **style)
            line[2].loglog(depths, [row["memory_bytes"] / 1e6 for row in rows], **style)
        for panel, label in zip(line, ("way back, ms", "both passes, ms", "temporary memory, MB"), strict=True):
            panel.set_ylabel(label)
            panel.set_title(f"{name}: n = {of['n']}, {of['entries']} entries", fontsize="small")
            panel.set_xlabel("Krylov depth")
            panel.set_xticks(depths)
            panel.xaxis.set_major_formatter(ScalarFormatter())
            panel.xaxis.set_minor_formatter(NullFormatter())
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    save(figure, output)
