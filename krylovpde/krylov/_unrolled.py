"""The factorizations as anyone would write them: Python loops that JAX differentiates. References, for tests only.

Modified Gram–Schmidt, no guard against breakdown, memory and compile time that grow with the steps, and derivatives
that exist in both modes. They share the inner product with the package and nothing else.
"""

from collections.abc import Callable

import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, PyTree

from .._custom_types import Weight
from ._space import axpy, common_dtype, inner, norm, scale


def unrolled_arnoldi(
    mv: Callable, vector: PyTree, weight: Weight, num_steps: int, *, num_passes: int = 2
) -> tuple[PyTree, Array, PyTree, Array]:
    """Basis, matrix, residual and norm of Arnoldi's factorization."""
    length = norm(vector, weight)
    basis, residual = [scale(1.0 / length, vector)], vector
    matrix = jnp.zeros((num_steps, num_steps), common_dtype(vector))
    for j in range(num_steps):
        residual = mv(basis[j])
        for _ in range(num_passes):
            for i, earlier in enumerate(basis):
                overlap = inner(earlier, residual, weight)
                matrix = matrix.at[i, j].add(overlap)
                residual = axpy(-overlap, earlier, residual)
        if j + 1 < num_steps:
            subdiagonal = norm(residual, weight)
            matrix = matrix.at[j + 1, j].set(subdiagonal.astype(matrix.dtype))
            basis.append(scale(1.0 / subdiagonal, residual))
    return _stack(basis), matrix, residual, length


def unrolled_lanczos(
    mv: Callable, vector: PyTree, weight: Weight, num_steps: int
) -> tuple[PyTree, Array, Array, PyTree, Array]:
    """Basis, diagonal, off-diagonal, residual and norm of Lanczos' recurrence without reorthogonalisation."""
    length = norm(vector, weight)
    basis, residual, diagonal, offdiagonal = [scale(1.0 / length, vector)], vector, [], []
    for j in range(num_steps):
        residual = mv(basis[j])
        if j > 0:
            residual = axpy(-offdiagonal[j - 1], basis[j - 1], residual)
        diagonal.append(jnp.real(inner(basis[j], residual, weight)))
        residual = axpy(-diagonal[j], basis[j], residual)
        if j + 1 < num_steps:
            offdiagonal.append(norm(residual, weight))
            basis.append(scale(1.0 / offdiagonal[j], residual))
    empty = jnp.zeros((0,), length.dtype)
    return _stack(basis), jnp.stack(diagonal), jnp.stack(offdiagonal) if offdiagonal else empty, residual, length


def _stack(rows: list[PyTree]) -> PyTree:
    return jtu.tree_map(lambda *leaves: jnp.stack(leaves), *rows)
