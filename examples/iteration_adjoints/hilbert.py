"""Hilbert matrices: how much of the derivative survives ill-conditioning, with and without re-projection.

At full depth `A = Q H Qᵀ`, whatever `A` is, so that the Jacobian `J` of the map from `A` to `Q H Qᵀ` is the identity.
The factorization starts from `ones / sqrt(n)`; for each size the root-mean-square of `(J + Jᵀ) / 2 - identity`, and of
`J - identity`, by the adjoint of the iteration and by backpropagation, each with reorthogonalisation and re-projection
and without; for comparison matfree's, where it is installed. The condition numbers rise from 1 to 1.5e10.
"""

import argparse
import functools as ft
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np

import krylovpde as kp
from krylovpde.krylov._unrolled import unrolled_arnoldi

from .report import BLUE, GREEN, ORANGE, number, save

# From a matrix and a start vector to the basis (in rows) and the small matrix, at full depth.
Factorise = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those of this experiment."""
    parser.add_argument("--size", type=int, default=8, help="the largest matrix")


def ours(reorthogonalise: bool, matrix: jax.Array, vector: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`kp.arnoldi`, whose derivative is the adjoint system."""
    operator = lx.MatrixLinearOperator(matrix)
    factors = kp.arnoldi(operator, vector, vector.size, reorthogonalise=reorthogonalise)
    return factors.basis, factors.matrix


def unrolled(num_passes: int, matrix: jax.Array, vector: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Modified Gram–Schmidt in a Python loop, differentiated by JAX: the reference of the package's tests."""

    def apply(x: jax.Array) -> jax.Array:
        return jnp.matmul(matrix, x, precision="highest")

    basis, small, *_ = unrolled_arnoldi(apply, vector, None, vector.size, num_passes=num_passes)
    return basis, small


def peer(reortho: str, custom_vjp: bool, matrix: jax.Array, vector: jax.Array) -> Any:
    """matfree's; its option `reortho` is for the adjoint, `reortho_vjp` for the iteration."""
    from matfree import decomp

    algorithm = decomp.hessenberg(vector.size, reortho=reortho, reortho_vjp=reortho, custom_vjp=custom_vjp)
    factors = algorithm(lambda x, a: jnp.matmul(a, x, precision="highest"), vector, matrix)
    return factors.Q_tall, factors.J_small


def contestants() -> dict[str, Factorise]:
    """By name."""
    table: dict[str, Factorise] = {
        "adjoint, with": ft.partial(ours, True),
        "adjoint, without": ft.partial(ours, False),
        "backpropagation, with": ft.partial(unrolled, 2),
        "backpropagation, without": ft.partial(unrolled, 1),
    }
    if importlib.util.find_spec("matfree") is not None:
        table["matfree's adjoint, with"] = ft.partial(peer, "full", True)
        table["matfree's adjoint, without"] = ft.partial(peer, "none", True)
        table["matfree, backpropagation, with"] = ft.partial(peer, "full", False)
        table["matfree, backpropagation, without"] = ft.partial(peer, "none", False)
    return table


def hilbert_matrix(size: int) -> np.ndarray:
    """`1 / (i + j + 1)`."""
    index = np.arange(size)
    return 1.0 / (index[:, None] + index[None, :] + 1.0)


def jacobian_errors(factorise: Factorise, matrix: jax.Array) -> tuple[float, float]:
    """Root-mean-square errors of `(J + Jᵀ) / 2` and of `J`, in double precision."""
    size = matrix.shape[0]
    vector = jnp.full((size,), size**-0.5, matrix.dtype)

    def rebuilt(matrix: jax.Array) -> jax.Array:
        basis, small = factorise(matrix, vector)
        return jnp.matmul(jnp.matmul(basis.T, small, precision="highest"), basis, precision="highest")

    jacobian = np.asarray(jax.jit(jax.jacrev(rebuilt))(matrix), np.float64).reshape(size**2, size**2)
    identity = np.eye(size**2)
    symmetrised = (jacobian + jacobian.T) / 2
    return root_mean_square(symmetrised - identity), root_mean_square(jacobian - identity)


def root_mean_square(numbers: np.ndarray) -> float:
    """Of all entries."""
    return float(np.sqrt(np.mean(numbers**2)))


def vectors_kept(matrix: jax.Array) -> int:
    """Fewer than the size where `kp.arnoldi` takes the last directions for rounding, and the map is another one."""
    vector = jnp.full((matrix.shape[0],), matrix.shape[0] ** -0.5, matrix.dtype)
    basis, _ = ours(True, matrix, vector)
    return int(jnp.sum(jnp.any(basis != 0.0, axis=1)))


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """All sizes and contestants, printed row by row."""
    table = contestants()
    print("root-mean-square of (J + Jᵀ)/2 - identity\n")
    print(f"{'':36s}" + "".join(f"{size:>8d}" for size in range(1, arguments.size + 1)))
    matrices = [jnp.asarray(hilbert_matrix(size), arguments.dtype) for size in range(1, arguments.size + 1)]
    found: dict[str, Any] = {"dtype": arguments.dtype, "sizes": list(range(1, arguments.size + 1))}
    found["condition"] = [float(np.linalg.cond(hilbert_matrix(size))) for size in found["sizes"]]
    found["vectors_kept"] = [vectors_kept(matrix) for matrix in matrices]
    found["errors"], found["errors_not_symmetrised"] = {}, {}
    for name, factorise in table.items():
        pairs = [jacobian_errors(factorise, matrix) for matrix in matrices]
        found["errors"][name] = [symmetrised for symmetrised, _ in pairs]
        found["errors_not_symmetrised"][name] = [plain for _, plain in pairs]
        print(f"{name:36s}" + "".join(f"{number(error):>8s}" for error in found["errors"][name]), flush=True)
    print(f"{'vectors that kp.arnoldi kept':36s}" + "".join(f"{kept:>8d}" for kept in found["vectors_kept"]))
    return found


def draw(found: dict[str, Any], output: Path) -> None:
    """Errors over the size; what is exactly zero is drawn at a tenth of the rounding unit."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    floor = float(np.finfo(found["dtype"]).eps) / 10
    styles = {"adjoint": (BLUE, "o"), "backpropagation": (ORANGE, "s"), "matfree's adjoint": (GREEN, "^")}
    for name, values in found["errors"].items():
        kind, _, how = name.rpartition(", ")
        if kind not in styles:  # backpropagation through matfree's loop: in the table only
            continue
        colour, marker = styles[kind]
        line = "-" if how == "with" else "--"
        axes.semilogy(found["sizes"], np.maximum(values, floor), line, color=colour, marker=marker, label=name)
    axes.set_xlabel("size of the Hilbert matrix")
    axes.set_ylabel("root-mean-square error")
    axes.set_title("Jacobian of the map from A to Q H Qᵀ at full depth, " + found["dtype"])
    axes.legend(frameon=False, title="reorthogonalisation and re-projection")
    save(figure, output)
