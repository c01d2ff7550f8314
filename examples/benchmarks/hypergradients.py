"""Hypergradients at equal numbers of Hessian-vector products: Nyström, conjugate gradients and the Neumann series.

    python -m examples.benchmarks.hypergradients logistic    weight decay for each parameter of a logistic regression
    python -m examples.benchmarks.hypergradients field       the trust in each sensor of an inversion on a grid

Each learns hyperparameters with each method, for several numbers of products and for `ρ`, damping or step size from
1e-3 to 1, prints a table, writes it as text and draws a figure. An entry is the validation loss at the end, and in
brackets the median over the outer steps of the error of the hypergradient relative to the dense formula.
"""

import argparse
import functools as ft
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib.pyplot as plt
import numpy as np

from krylovpde.inverse import (
    AbstractInverse,
    ConjugateGradient,
    GaussianSketch,
    LeverageColumns,
    Neumann,
    Nystrom,
)

from . import hypergradient_field as field, hypergradient_logistic as logistic

NOT_RUN = -1.0
#: For how many outer steps a factorisation is kept, and how many times more products it is given.
KEPT = 5
STEPS = {"logistic": 100, "field": 200}
VALUES = (1e-3, 1e-2, 1e-1, 1.0)
_KEY = jr.key(0)
#: By name: a method for a number of products, and a `ρ`, damping or step size.
METHODS: dict[str, Callable[[int, Any], AbstractInverse]] = {
    "conjugate gradients": lambda products, value: ConjugateGradient(products, 1e-12, value),
    "Nystrom, uniform": lambda products, value: Nystrom(products, value, key=_KEY),
    "Nystrom, leverage": lambda products, value: Nystrom(
        products - products // 3, value, key=_KEY, columns=LeverageColumns(products // 3)
    ),
    "Nystrom, Gaussian": lambda products, value: Nystrom(products, value, key=_KEY, columns=GaussianSketch()),
    "Neumann": lambda products, value: Neumann(products, value),
}


class Entry(NamedTuple):
    """One method at one number of products: curves of the outer loss and error, `(values, ..., steps)`."""

    method: str
    products: int
    outer: np.ndarray
    error: np.ndarray


def run_logistic(arguments: argparse.Namespace) -> tuple[list[str], list[Entry]]:
    """Seeds one after the other are one batch, and so are the values."""
    seeds = jnp.arange(1, arguments.seeds + 1)
    entries = []

    def sweep(make: Callable[[Any], AbstractInverse | None], values: Any) -> logistic.Run:
        def one(value: Any, seed: Any) -> logistic.Run:
            return logistic.train(make(value), seed, arguments.steps)

        over_seeds = jax.vmap(one, in_axes=(None, 0))
        return jax.jit(jax.vmap(over_seeds, in_axes=(0, None)))(values, seeds)

    found = sweep(lambda _: None, jnp.zeros(1))
    entries.append(Entry("dense", 100, *map(np.asarray, found)))
    for name, make in _chosen(arguments):
        for products in arguments.products:
            # Damping of zero is what conjugate gradients take by themselves.
            first = {"conjugate gradients": [0.0]}.get(name, [])
            found = sweep(lambda value, make=make, n=products: make(n, value), jnp.asarray([*first, *VALUES]))
            outer, error = map(np.asarray, found)
            if not first:
                outer, error = (np.concatenate([np.full_like(x[:1], NOT_RUN), x]) for x in (outer, error))
            entries.append(Entry(name, products, outer, error))
            print(_row(entries[-1]), flush=True)
    return ["0", *map(str, VALUES)], entries


def run_field(arguments: argparse.Namespace) -> tuple[list[str], list[Entry]]:
    """The first value is the weight of the prior, as it is in each step; for Neumann `1 / λ` of the first step."""
    problems = [field.problem(arguments.cells, seed) for seed in range(1, arguments.seeds + 1)]
    values = [_eigenvalues(at) for at in problems]
    told = [f"{x:.3g}" for x in np.mean(values, axis=0)[[0, 4, 9, 19, 39]]]
    print(f"eigenvalues 1, 5, 10, 20, 40: {', '.join(told)}")
    entries = [_sweep_field(problems, "dense", None, 100, [(jnp.nan,)] * len(problems), arguments.steps)]
    for name, make in _chosen(arguments):
        for products in arguments.products:
            firsts = [1 / (one[0] + 1) if name == "Neumann" else np.nan for one in values]
            grids = [(first, *VALUES) for first in firsts]
            made = ft.partial(make, products)
            entries.append(_sweep_field(problems, name, made, products, grids, arguments.steps))
            print(_row(entries[-1]), flush=True)
    for products in arguments.products:
        made = ft.partial(METHODS["Nystrom, Gaussian"], KEPT * products)
        grids = [(np.nan, *VALUES)] * len(problems)
        entries.append(_sweep_field(problems, "Nystrom, kept", made, products, grids, arguments.steps, KEPT))
        print(_row(entries[-1]), flush=True)
    return ["natural", *map(str, VALUES)], entries


def _eigenvalues(at: field.Problem) -> np.ndarray:
    """Of the Hessian of the data, in coordinates of the prior."""
    rows = at.whitened / jnp.tile(at.inner.terms[0].sigma, 4)[:, None]
    return np.linalg.eigvalsh(np.asarray(rows @ rows.T))[::-1]


def _chosen(arguments: argparse.Namespace) -> list[tuple[str, Callable[[int, Any], AbstractInverse]]]:
    return [(name, METHODS[name]) for name in arguments.methods]


def _sweep_field(
    problems: list[field.Problem],
    name: str,
    make: Callable[[Any], AbstractInverse] | None,
    products: int,
    grids: Sequence[tuple],
    steps: int,
    keep: int = 1,
) -> Entry:
    """One program for all seeds and values."""

    @eqx.filter_jit
    def one(at: field.Problem, value: Any) -> field.Run:
        return field.train(at, make and make(value), steps, keep, value)

    rows = [[one(at, jnp.asarray(value)) for value in grid] for at, grid in zip(problems, grids, strict=True)]
    curves = [[[getattr(run, part) for run in row] for row in rows] for part in ("outer", "error")]
    return Entry(name, products, *(np.swapaxes(np.asarray(one), 0, 1) for one in curves))


def _row(entry: Entry) -> str:
    """Means over seeds."""
    cells = []
    for outer, error in zip(
        entry.outer[..., -1].mean(axis=1), np.median(entry.error, axis=2).mean(axis=1), strict=True
    ):
        known = f"{outer:.4f} ({error:.0e})" if outer < 1e6 else "diverges"  # also where it is NaN
        cells.append("-" if outer == NOT_RUN else known)
    return f"{entry.method:<20s} {entry.products:4d}  " + "  ".join(f"{cell:>15s}" for cell in cells)


def table(columns: list[str], entries: list[Entry]) -> str:
    """One row for each method and number of products."""
    head = f"{'method':<20s} {'H x':>4s}  " + "  ".join(f"{column:>15s}" for column in columns)
    return "\n".join([head, *map(_row, entries)])


def draw(columns: list[str], entries: list[Entry], path: Path):
    """The error over the value for each number of products, and the outer loss in time at the middle one's best."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.0, 4.5), layout="constrained")
    counts = sorted({entry.products for entry in entries if entry.method != "dense"})
    names = list(dict.fromkeys(entry.method for entry in entries))
    for entry in entries:
        color = f"C{names.index(entry.method)}"
        outer = entry.outer.mean(axis=1)
        if entry.method == "dense":
            right.plot(outer[0], color="k", linewidth=3, alpha=0.3, label="dense")
            continue
        width = 1.0 + counts.index(entry.products)
        is_middle = entry.products == counts[len(counts) // 2]
        errors = np.median(entry.error, axis=2).mean(axis=1)
        errors = np.where((errors < 1e3) & (errors != NOT_RUN), errors, np.nan)
        left.semilogy(columns, errors, "o-", color=color, linewidth=width, label=entry.method if is_middle else None)
        if is_middle:
            best = np.argmin(np.where(outer[:, -1] > 0, outer[:, -1], np.inf))  # neither NaN nor not run
            right.plot(outer[best], color=color, label=f"{entry.method}, {columns[best]}")
    left.set(xlabel="ρ, damping, step size", ylabel="error of the hypergradient")
    left.set_title(f"{', '.join(map(str, counts))} products: thin to thick", fontsize=10)
    right.set(xlabel="outer step", ylabel="validation loss", yscale="log")
    right.set_title(f"{counts[len(counts) // 2]} products, the best value of each", fontsize=10)
    right.legend(fontsize=8)
    left.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main():
    """The table, as text and on the screen, and the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=["logistic", "field"])
    parser.add_argument("--methods", nargs="*", choices=[*METHODS], default=[*METHODS])
    parser.add_argument("--products", type=int, nargs="*", default=[5, 10, 20])
    parser.add_argument("--steps", type=int, help=f"outer steps: {STEPS}")
    parser.add_argument("--seeds", type=int, default=3, help="of all data of the regression, of the noise of the field")
    parser.add_argument("--cells", type=int, default=64, help="of the field, along each axis")
    parser.add_argument("--output", type=Path, default=Path("results"), help="the folder")
    arguments = parser.parse_args()
    arguments.steps = STEPS[arguments.study] if arguments.steps is None else arguments.steps
    jax.config.update("jax_enable_x64", True)
    columns, entries = (run_logistic if arguments.study == "logistic" else run_field)(arguments)
    text = table(columns, entries)
    print(f"\n{text}")
    stem = arguments.output / f"hypergradients_{arguments.study}"
    draw(columns, entries, stem.with_suffix(".png"))
    stem.with_suffix(".txt").write_text(text + "\n")
    print(f"written: {stem}.txt, {stem}.png")


if __name__ == "__main__":
    main()
