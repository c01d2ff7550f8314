"""One application of a sparse matrix: `kp.SparseOperator` beside SciPy's CSR and JAX's BCOO.

Laplacians of two and three dimensions and a random pattern. Ours and BCOO run as one jitted call and, per application,
inside a jitted loop; SciPy is `A @ x`, on one thread by nature. The contestants take turns; medians and minima.

    OPENBLAS_NUM_THREADS=1 python examples/benchmarks/sparse.py [--cores 1] [--repeats 30]
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from functools import partial, reduce
from pathlib import Path
from typing import Any

import jax
import jax.experimental.sparse as jsparse
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax import lax

import krylovpde as kp

LOOP = 10  # applications in one jitted loop


def laplacian(*shape: int) -> Any:
    """`-Gᵀ diag(c) G` on cells with insulated walls, `G` the differences over the faces and `c` different on each."""
    total = sp.csr_matrix((int(np.prod(shape)),) * 2)
    rng = np.random.default_rng(0)
    for axis, n in enumerate(shape):
        factors = [sp.identity(m) for m in shape]
        factors[axis] = sp.diags([-np.ones(n - 1), np.ones(n - 1)], [0, 1], shape=(n - 1, n))
        difference = reduce(sp.kron, factors)
        total = total - difference.T @ sp.diags(1.0 + rng.random(difference.shape[0])) @ difference
    return total.tocsr()


def irregular(size: int, mean: int) -> Any:
    """A random pattern whose longest row is below three times the mean one."""
    rng = np.random.default_rng(1)
    counts = np.minimum(rng.poisson(mean, size), int(2.9 * mean))
    rows = np.repeat(np.arange(size), counts)
    columns = rng.integers(size, size=rows.size)
    return sp.coo_matrix((rng.normal(size=rows.size), (rows, columns)), shape=(size, size)).tocsr()


MATRICES: dict[str, Callable[[], Any]] = {
    "Laplacian 64²": partial(laplacian, 64, 64),
    "Laplacian 256²": partial(laplacian, 256, 256),
    "Laplacian 512²": partial(laplacian, 512, 512),
    "Laplacian 48³": partial(laplacian, 48, 48, 48),
    "random 65536, mean row 8": partial(irregular, 65536, 8),
    "random 65536, mean row 25": partial(irregular, 65536, 25),
}


def apply_bcoo(matrix: Any, x: Any) -> Any:
    """`A @ x`."""
    return matrix @ x


def apply_ours(operator: Any, x: Any) -> Any:
    """`A.mv(x)`."""
    return operator.mv(x)


def in_loop(apply: Callable[[Any, Any], Any], matrix: Any, x: Any) -> Any:
    """`LOOP` applications, each to the result of the last, scaled so that nothing overflows."""
    return lax.fori_loop(0, LOOP, lambda _, x: apply(matrix, x) * jnp.asarray(1e-6, x.dtype), x)


def contestants(matrix: Any) -> dict[str, tuple[Callable[[], Any], int]]:
    """For each name a call without arguments and the applications that it makes."""
    x = np.random.default_rng(2).normal(size=matrix.shape[1]).astype(matrix.dtype)
    ours, bcoo = kp.SparseOperator.from_scipy(matrix), jsparse.BCOO.from_scipy_sparse(matrix)
    exact = matrix @ x
    table: dict[str, tuple[Callable[[], Any], int]] = {"scipy": (lambda: matrix @ x, 1)}
    for name, apply, held in (("ours", apply_ours, ours), ("bcoo", apply_bcoo, bcoo)):
        once, loop = jax.jit(apply), jax.jit(partial(in_loop, apply))
        error = np.linalg.norm(np.asarray(once(held, x)) - exact) / np.linalg.norm(exact)
        if error > 100 * np.finfo(matrix.dtype).eps:
            message = f"{name} is wrong by {error:.1e}."
            raise ValueError(message)
        device = jnp.asarray(x)
        table[name] = (partial(once, held, device), 1)
        table[f"{name}, loop"] = (partial(loop, held, device), LOOP)
    return table


def measure(name: str, dtype: str, repeats: int) -> dict[str, Any]:
    """One row: microseconds per application, median and minimum."""
    matrix = MATRICES[name]().astype(dtype)
    table = contestants(matrix)
    seconds: dict[str, list[float]] = {key: [] for key in table}
    for repeat in range(repeats + 2):
        for key, (call, applications) in table.items():
            began = time.perf_counter()
            jax.block_until_ready(call())
            if repeat >= 2:  # compiled and warm
                seconds[key].append((time.perf_counter() - began) / applications)
    micro = {
        f"{key}, {kind}": 1e6 * pick(values)
        for key, values in seconds.items()
        for kind, pick in (("median", statistics.median), ("minimum", min))
    }
    return {"matrix": name, "dtype": dtype, "nnz": int(matrix.nnz), **micro}


def show(rows: list[dict[str, Any]]):
    """A Markdown table of the minima, in microseconds, and of their ratios."""
    columns = ["matrix", "dtype", "SciPy", "ours", "ours, loop", "BCOO", "BCOO, loop"]
    columns += ["SciPy / ours", "BCOO / ours", "SciPy / loop", "BCOO / ours, loops"]
    print("| " + " | ".join(columns) + " |")
    print("|---" * len(columns) + "|")
    for row in rows:
        scipy, ours, loop, bcoo, bcoo_loop = (
            row[f"{key}, minimum"] for key in ("scipy", "ours", "ours, loop", "bcoo", "bcoo, loop")
        )
        cells = [f"{number:.0f} µs" for number in (scipy, ours, loop, bcoo, bcoo_loop)]
        ratios = [f"{number:.1f}" for number in (scipy / ours, bcoo / ours, scipy / loop, bcoo_loop / loop)]
        print("| " + " | ".join([row["matrix"], row["dtype"], *cells, *ratios]) + " |")


def main():
    """All rows, as a table and as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--matrices", nargs="+", default=list(MATRICES), choices=list(MATRICES))
    parser.add_argument("--dtypes", nargs="+", default=["float64", "float32"])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--cores", type=int, default=0, help="run on so many cores (0: on all that there are)")
    parser.add_argument("--output", type=Path, default=Path("results/sparse.json"))
    arguments = parser.parse_args()
    if arguments.cores:  # before JAX starts its threads
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    jax.config.update("jax_enable_x64", True)
    rows = [measure(name, dtype, arguments.repeats) for name in arguments.matrices for dtype in arguments.dtypes]
    show(rows)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps({"cores": len(os.sched_getaffinity(0)), "rows": rows}, indent=1))
    print(f"written: {arguments.output}")


if __name__ == "__main__":
    main()
