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
import time
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import nnls
from scipy.sparse.linalg import norm as sparse_norm

import krylovpde as kp

from .backpropagation import arnoldi_loop, lanczos_loop
from .matrices import SHAPES, generated, is_symmetric, read, symmetric_part
from .report import BLUE, ORANGE, SKY, save

DEPTHS = (5, 10, 20, 35, 50)


class Contestant(NamedTuple):
    """One iteration and one way to differentiate it."""

    iteration: str
    reorthogonalise: bool
    backpropagation: bool

    @property
    def name(self) -> str:
        """As it is printed."""
        how = "with" if self.reorthogonalise else "without"
        return f"{self.iteration} {how}, {'backpropagation' if self.backpropagation else 'adjoint'}"


class Passes(NamedTuple):
    """The compiled passes of one contestant at one depth."""

    forward: Any
    backward: Any
    cotangent: Any
    memory: int
    compile_s: float


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those of this experiment."""
    parser.add_argument("--matrix", type=Path, nargs="+", default=[], help="Matrix Market files in place of generated")
    parser.add_argument("--generated", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--depths", type=int, nargs="+", default=list(DEPTHS))
    parser.add_argument("--repeats", type=int, default=7)


def contestants(symmetric: bool) -> list[Contestant]:
    """Lanczos only where the matrix is symmetric, and without: with reorthogonalisation it is Arnoldi's loop."""
    pairs = [("Arnoldi", True), ("Arnoldi", False)] + ([("Lanczos", False)] if symmetric else [])
    return [Contestant(*pair, backpropagation) for pair in pairs for backpropagation in (False, True)]


def factors(
    who: Contestant, depth: int, operator: kp.SparseOperator, vector: jax.Array, values: jax.Array
) -> dict[str, jax.Array]:
    """What the iteration returns, as a function of the operator's values."""
    operator = eqx.tree_at(lambda it: it.values, operator, values)
    if who.iteration == "Arnoldi" and who.backpropagation:
        basis, matrix, residual = arnoldi_loop(operator.mv, vector, depth, 2 if who.reorthogonalise else 1)
        return {"basis": basis, "matrix": matrix, "residual": residual}
    if who.iteration == "Arnoldi":
        result = kp.arnoldi(operator, vector, depth, reorthogonalise=who.reorthogonalise)
        return {"basis": result.basis, "matrix": result.matrix, "residual": result.residual}
    if who.backpropagation:
        basis, diagonal, offdiagonal, residual = lanczos_loop(operator.mv, vector, depth)
        return {"basis": basis, "diagonal": diagonal, "offdiagonal": offdiagonal, "residual": residual}
    found = kp.lanczos(operator, vector, depth, reorthogonalise=who.reorthogonalise)
    names = ("basis", "diagonal", "offdiagonal", "residual")
    return {name: getattr(found, name) for name in names}


def passes(who: Contestant, depth: int, operator: kp.SparseOperator, vector: jax.Array) -> Passes:
    """Compile; the operator and the vector are arguments, so that XLA folds no constants."""
    arrays, rest = eqx.partition(operator, eqx.is_array)

    def forward(arrays, vector, values):
        function = ft.partial(factors, who, depth, eqx.combine(arrays, rest), vector)
        return jax.vjp(function, values)

    def both(arrays, vector, values, cotangent):
        result, pull = forward(arrays, vector, values)
        return result, pull(cotangent)[0]

    began = time.perf_counter()
    arguments = (arrays, vector, operator.values)
    ahead = jax.jit(forward)
    result, pull = ahead(*arguments)
    keys = jax.random.split(jax.random.key(0), len(result))
    names = zip(keys, sorted(result), strict=True)
    cotangent = {name: jax.random.normal(key, result[name].shape, result[name].dtype) for key, name in names}
    back = jax.jit(lambda pull, cotangent: pull(cotangent)[0])
    jax.block_until_ready(back(pull, cotangent))
    compile_s = time.perf_counter() - began
    memory = jax.jit(both).lower(*arguments, cotangent).compile().memory_analysis()
    return Passes(ft.partial(ahead, *arguments), back, cotangent, memory.temp_size_in_bytes, compile_s)


def clock(call: Any, *arguments: Any) -> tuple[float, Any]:
    """Seconds, and what was returned."""
    began = time.perf_counter()
    result = jax.block_until_ready(call(*arguments))
    return time.perf_counter() - began, result


def measure(matrix: Any, depths: list[int], repeats: int) -> list[dict[str, Any]]:
    """A row for each contestant and depth, and how far the two gradients are apart."""
    symmetric = is_symmetric(matrix)
    operator = kp.SparseOperator.from_scipy(matrix, tags=kp.self_adjoint_tag if symmetric else ())
    vector = jnp.asarray(np.random.default_rng(0).standard_normal(matrix.shape[0]), matrix.dtype)
    table = {(who, depth): passes(who, depth, operator, vector) for who in contestants(symmetric) for depth in depths}
    seconds: dict[Any, list[tuple[float, float]]] = {key: [] for key in table}
    gradients: dict[Any, np.ndarray] = {}
    for _ in range(repeats):
        for key, both in table.items():
            forward_s, (_, pull) = clock(both.forward)
            backward_s, gradient = clock(both.backward, pull, both.cotangent)
            seconds[key].append((forward_s, backward_s))
            gradients[key] = np.asarray(gradient)
    rows = []
    for (who, depth), both in table.items():
        forward_s, backward_s = np.median(seconds[who, depth], axis=0)
        row = {"name": who.name, **who._asdict(), "depth": depth, "forward_s": forward_s, "backward_s": backward_s}
        row |= {"memory_bytes": both.memory, "compile_s": both.compile_s}
        if not who.backpropagation:
            other = gradients[who._replace(backpropagation=True), depth]
            row["difference"] = difference(matrix, who, gradients[who, depth], other)
        rows.append({key: item.item() if isinstance(item, np.generic) else item for key, item in row.items()})
    return rows


def difference(matrix: Any, who: Contestant, first: np.ndarray, second: np.ndarray) -> float:
    """`‖first - second‖ / ‖second‖`; for Lanczos of the symmetric parts, since the rest belongs to no iteration."""
    if who.iteration == "Arnoldi":
        return float(np.linalg.norm(first - second) / np.linalg.norm(second))
    change, size = (sparse_norm(symmetric_part(matrix, entries)) for entries in (first - second, second))
    return float(change / size)


def fits(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """For each name: the power of the depth that the way back takes, and how much of it at the end is quadratic."""
    found = {}
    for name in dict.fromkeys(row["name"] for row in rows):
        depth, seconds = np.array([(row["depth"], row["backward_s"]) for row in rows if row["name"] == name]).T
        power = np.polyfit(np.log(depth), np.log(seconds), 1)[0] if depth.size > 1 else np.nan
        # Relative weights: every depth counts the same.
        design = np.stack([np.ones_like(depth), depth, depth**2], axis=1) / seconds[:, None]
        (_, _, square), _ = nnls(design, np.ones_like(seconds))
        share = square * depth[-1] ** 2 / seconds[-1]
        found[name] = {"power": float(power), "quadratic_share_at_the_end": float(share)}
    return found


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


def show(name: str, of: dict[str, Any]) -> None:
    """A table for each matrix."""
    print(f"\n{name}: n = {of['n']}, {of['entries']} entries; way back in ms, temporary memory in MB\n")
    head = f"{'':38s} depth  forward     back  ratio    memory  ratio  gradients differ by"
    print(head, flush=True)
    other = {(row["name"].rpartition(", ")[0], row["depth"]): row for row in of["rows"] if row["backpropagation"]}
    for row in of["rows"]:
        text = f"{row['name']:38s} {row['depth']:5d} {1e3 * row['forward_s']:8.2f} {1e3 * row['backward_s']:8.2f}"
        memory = f"{row['memory_bytes'] / 1e6:9.2f}"
        if row["backpropagation"]:
            print(f"{text} {'':6s} {memory}")
            continue
        beside = other[row["name"].rpartition(", ")[0], row["depth"]]
        times, sizes = (beside[key] / row[key] for key in ("backward_s", "memory_bytes"))
        print(f"{text} {times:6.2f} {memory} {sizes:6.1f}  {row['difference']:.0e}")
    print(f"\n{'time of the way back ~ depth^p':38s}     p   share of m² in a + b m + c m² at the largest depth")
    for who, fit in of["fits"].items():
        print(f"{who:38s} {fit['power']:5.2f}   {fit['quadratic_share_at_the_end']:.2f}", flush=True)


def draw(found: dict[str, Any], output: Path) -> None:
    """Time and memory over the depth; adjoints are drawn through, backpropagation is dashed."""
    import matplotlib.pyplot as plt

    count = len(found["matrices"])
    figure, axes = plt.subplots(count, 2, figsize=(9.0, 3.4 * count), layout="constrained", squeeze=False)
    styles = {"Arnoldi with": (BLUE, "o"), "Arnoldi without": (SKY, "v")}
    styles |= {"Lanczos without": (ORANGE, "s")}
    for line, (name, of) in zip(axes, found["matrices"].items(), strict=True):
        for who in dict.fromkeys(row["name"] for row in of["rows"]):
            rows = [row for row in of["rows"] if row["name"] == who]
            kind, _, how = who.rpartition(", ")
            colour, marker = styles[kind]
            style = {"color": colour, "marker": marker, "linestyle": "-" if how == "adjoint" else "--", "label": who}
            depths = [row["depth"] for row in rows]
            line[0].loglog(depths, [1e3 * row["backward_s"] for row in rows], **style)
            line[1].loglog(depths, [row["memory_bytes"] / 1e6 for row in rows], **style)
        line[0].set_ylabel("one vector-Jacobian product, ms")
        line[1].set_ylabel("temporary memory, MB")
        for panel in line:
            panel.set_title(f"{name}: n = {of['n']}, {of['entries']} entries", fontsize="medium")
            panel.set_xlabel("Krylov depth")
    axes[0, 1].legend(frameon=False, fontsize="small")
    save(figure, output)
