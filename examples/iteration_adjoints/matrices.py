"""Sparse matrices to factorise: from Matrix Market files, or generated with the size and fill of known ones."""

from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import scipy.sparse as sp

# Unknowns, stored entries and half the band of what is generated in the place of the SuiteSparse matrix of that name.
SHAPES = {"like 1138_bus": (1138, 4054, 60), "like gyro": (17361, 1_021_159, 1000)}


def generated(name: str) -> Any:
    """A symmetric CSR matrix: the Laplacian of a random graph with weights over two decades, plus a hundredth.

    Every diagonal entry is stored; the others are pairs at random distances within the band, as many as the fill asks.
    """
    size, num_entries, band = SHAPES[name]
    rng = np.random.default_rng(1138)
    num_pairs = (num_entries - size) // 2
    # Three draws for each pair that is needed: what is drawn twice counts once, and what leaves the matrix not at all.
    first, distance = rng.integers(size, size=3 * num_pairs), rng.integers(1, band + 1, size=3 * num_pairs)
    first, distance = first[first + distance < size], distance[first + distance < size]
    codes = rng.permutation(np.unique(first * (band + 1) + distance))[:num_pairs]
    rows, columns = codes // (band + 1), codes // (band + 1) + codes % (band + 1)
    weights = 10.0 ** rng.uniform(-1.0, 1.0, num_pairs)
    graph = sp.coo_array((weights, (rows, columns)), shape=(size, size)).tocsr()
    graph = graph + graph.T
    matrix = (sp.diags_array(graph.sum(axis=1) + 0.01) - graph).tocsr()
    if matrix.nnz != num_entries:
        message = f"{name}: {matrix.nnz} entries in place of {num_entries}."
        raise ValueError(message)
    return matrix


def read(path: Path) -> Any:
    """A square CSR matrix from a Matrix Market file, compressed or not."""
    matrix = sp.csr_array(scipy.io.mmread(path))
    if matrix.shape[0] != matrix.shape[1] or not np.issubdtype(matrix.dtype, np.number):
        message = f"{path}: a square matrix of numbers is needed, this one is {matrix.shape}, {matrix.dtype}."
        raise ValueError(message)
    matrix.sum_duplicates()
    return matrix


def is_symmetric(matrix: Any) -> bool:
    """To the last bit, as a file that stores one half of it gives it."""
    return abs(matrix - matrix.T).nnz == 0


def symmetric_part(matrix: Any, entries: np.ndarray) -> Any:
    """`G + Gᵀ`, for `G` of the matrix' pattern with other entries: a derivative along what keeps it symmetric."""
    other = sp.csr_array((entries, matrix.indices, matrix.indptr), shape=matrix.shape)
    return other + other.T
