"""SciPy's `expm_multiply` and `funm_multiply_krylov`: the value alone, there is no gradient.

Both get the matrix itself in CSR form. For waves it is that of displacement and velocity.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg as spl

from .cases import Case
from .competitor import Competitor


def competitors(case: Case) -> list[Competitor]:
    """The spaces are restarted; 20 vectors are SciPy's default."""
    rows = [Competitor("SciPy expm_multiply", "none", "", run=partial(prepare, case, None))]
    if hasattr(spl, "funm_multiply_krylov"):  # of SciPy 1.17
        rows += [
            Competitor("SciPy funm_multiply_krylov", "none", f"1e-06, {size} vectors", run=partial(prepare, case, size))
            for size in (20, 60)
        ]
    return rows


def assemble(case: Case) -> sp.csr_matrix:
    """The matrix of the operator: cells of one colour are never neighbours of one cell, so one application for each."""
    shape = case.grid.shape
    numbers, indices = np.arange(case.field.size).reshape(shape), np.indices(shape)
    colours = 2 * len(shape) + 1
    colour = np.tensordot(np.arange(1, len(shape) + 1), indices, 1) % colours
    operator = case.equation(case.coefficient).operator()
    images = [np.asarray(operator.mv(jnp.asarray(colour == k, float))) for k in range(colours)]
    parts = []
    for axis, step in [(0, 0), *((axis, step) for axis in range(len(shape)) for step in (-1, 1))]:
        column = np.roll(numbers, -step, axis)
        inside = (indices[axis] + step >= 0) & (indices[axis] + step < shape[axis])
        values = np.choose(colour.reshape(-1)[column], images)
        parts.append((values[inside], numbers[inside], column[inside]))
    values, rows, columns = (np.concatenate(lists) for lists in zip(*parts, strict=True))
    return sp.csr_matrix((values, (rows, columns)), shape=(numbers.size, numbers.size))


def prepare(case: Case, vectors: int | None) -> Callable[[], tuple[Any, None]]:
    """What is timed."""
    matrix, start, n = assemble(case), np.asarray(case.field).reshape(-1), case.field.size
    if case.waves:
        matrix = sp.block_array([[None, sp.identity(n)], [matrix, None]]).tocsr()
        start = np.concatenate([start, np.zeros(n)])
    return partial(evolve, case, matrix, start, vectors)


def evolve(case: Case, matrix: Any, start: np.ndarray, vectors: int | None) -> tuple[Any, None]:
    """The field at the end."""
    if vectors is None:
        result = spl.expm_multiply(matrix * case.end, start)
    else:
        structure = "hermitian" if case.kind == "heat" else "general"
        result = spl.funm_multiply_krylov(
            scipy.linalg.expm,
            matrix,
            start,
            assume_a=structure,
            t=case.end,
            rtol=1e-6,
            restart_every_m=min(vectors, len(start)),
            max_restarts=400,
        )
    return jax.device_put(result[: case.field.size].reshape(case.field.shape)), None
