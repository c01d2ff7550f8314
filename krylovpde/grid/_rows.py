"""Linear observations of a field that each see a few cells: indices and weights, with their transpose."""

import abc
import functools as ft
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float, Inexact, Int

from .._custom_types import ArrayOrNumPy
from ._base import AbstractGrid
from ._mask import only_active


class Rows(NamedTuple):
    """A matrix of few entries per row: where they are, one array per axis, and what they are.

    Rows of fewer than `k` entries are filled up with weight 0.
    """

    indices: tuple[Int[ArrayOrNumPy, "rows k"], ...]
    weights: Float[ArrayOrNumPy, "rows k"]


class AbstractRows(lx.AbstractLinearOperator):
    """From fields of `grid.shape` to `(rows,)` numbers: each a weighted sum of a few cells. It knows its transpose.

    Geometry like the grid itself: static, without a leaf that could be differentiated.
    """

    grid: eqx.AbstractVar[AbstractGrid]
    dtype: eqx.AbstractVar[Any]

    @property
    @abc.abstractmethod
    def num_rows(self) -> int:
        """How many numbers it gives."""

    @abc.abstractmethod
    def rows(self) -> Rows:
        """Indices and weights."""

    def __call__(self, u: Inexact[Array, "..."]) -> Inexact[Array, " n"]:
        """The same as `mv`."""
        return self.mv(u)

    def mv(self, vector: Inexact[Array, "..."]) -> Inexact[Array, " n"]:
        """The weighted sums."""
        field = only_active(self.grid, self.grid.check_field(vector, f"{type(self).__name__}(u)"))
        indices, weights = self.rows()
        # Indices per axis, not into a ravelled field: that would gather a sharded one.
        return jnp.sum(field[indices] * jnp.asarray(weights).astype(field.dtype), axis=-1)

    def transpose(self) -> "RowsTranspose":
        """From `(n,)` numbers to a field: spreads each over the cells that it sees."""
        return RowsTranspose(self)

    def as_matrix(self) -> Inexact[Array, "n cells"]:
        """The dense matrix, of shape `(n, number of cells)`."""
        return self.transpose().as_matrix().T

    def in_structure(self) -> jax.ShapeDtypeStruct:
        """A field."""
        return jax.ShapeDtypeStruct(self.grid.shape, self.dtype)

    def out_structure(self) -> jax.ShapeDtypeStruct:
        """One number per row."""
        return jax.ShapeDtypeStruct((self.num_rows,), self.dtype)


class RowsTranspose(lx.AbstractLinearOperator):
    """The transpose of observations by rows."""

    operator: AbstractRows

    def mv(self, vector: Inexact[Array, " n"]) -> Inexact[Array, "..."]:
        """The field `Σ_r vector_r w_r`, with `w_r` the weights of row `r`."""
        indices, weights = self.operator.rows()
        # A few numbers into a large field: the scatter is the cheap form here, and rows may share cells.
        spread = vector[:, None] * jnp.asarray(weights).astype(vector.dtype)
        return jnp.zeros(self.operator.grid.shape, vector.dtype).at[indices].add(spread)

    def transpose(self) -> AbstractRows:
        """The observations."""
        return self.operator

    def as_matrix(self) -> Inexact[Array, "cells n"]:
        """The dense matrix, of shape `(number of cells, n)`."""
        unit = jnp.eye(self.operator.num_rows, dtype=self.operator.dtype)
        return jax.vmap(lambda row: self.mv(row).reshape(-1), out_axes=1)(unit)

    def in_structure(self) -> jax.ShapeDtypeStruct:
        """One number per row."""
        return self.operator.out_structure()

    def out_structure(self) -> jax.ShapeDtypeStruct:
        """A field."""
        return self.operator.in_structure()


def default_dtype(dtype: Any) -> np.dtype:
    """The dtype of the input structure that lineax asks for; the fields' own precision is kept in any case."""
    return np.dtype(jnp.result_type(float) if dtype is None else dtype)


class Table(NamedTuple):
    """Rows as bytes, to be hashed and compared: numbers of cells in the ravelled field (int32), weights (float64)."""

    num_rows: int
    cells: bytes
    weights: bytes


def as_table(entries: list[tuple[np.ndarray, np.ndarray]]) -> Table:
    """The table of rows that are given one by one, as cells and weights; entries of one cell are added up."""
    merged = []
    for cells, weights in entries:
        unique, where = np.unique(cells, return_inverse=True)
        merged.append((unique.astype(np.int32), np.bincount(where, weights, len(unique))))
    width = max(len(cells) for cells, _ in merged)
    cells, weights = zip(*(_filled_up(cells, weights, width) for cells, weights in merged), strict=True)
    return Table(len(merged), np.stack(cells).tobytes(), np.stack(weights).tobytes())


def _filled_up(cells: np.ndarray, weights: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """With the row's own first cell, which is active where others may not be, and weight 0."""
    missing = width - len(cells)
    return np.append(cells, np.full(missing, cells[0])), np.append(weights, np.zeros(missing))


@ft.lru_cache(maxsize=64)
def rows_of_table(table: Table, shape: tuple[int, ...]) -> Rows:
    """The rows of a table, on fields of a shape."""
    cells = np.frombuffer(table.cells, np.int32).reshape(table.num_rows, -1)
    indices = tuple(index.astype(np.int32) for index in np.unravel_index(cells, shape))
    return Rows(indices, np.frombuffer(table.weights).reshape(cells.shape))


for _check in (
    lx.is_symmetric,
    lx.is_diagonal,
    lx.is_tridiagonal,
    lx.has_unit_diagonal,
    lx.is_lower_triangular,
    lx.is_upper_triangular,
    lx.is_positive_semidefinite,
    lx.is_negative_semidefinite,
):

    @_check.register(AbstractRows)
    @_check.register(RowsTranspose)
    def _(operator):
        del operator
        return False


@lx.linearise.register(AbstractRows)
@lx.linearise.register(RowsTranspose)
@lx.conj.register(AbstractRows)
@lx.conj.register(RowsTranspose)
def _(operator):
    return operator


@lx.materialise.register(AbstractRows)
@lx.materialise.register(RowsTranspose)
def _(operator):
    return lx.materialise(lx.FunctionLinearOperator(operator.mv, operator.in_structure()))


@lx.diagonal.register(AbstractRows)
@lx.diagonal.register(RowsTranspose)
def _(operator):
    return jnp.diagonal(operator.as_matrix())


@lx.tridiagonal.register(AbstractRows)
@lx.tridiagonal.register(RowsTranspose)
def _(operator):
    matrix = operator.as_matrix()
    return tuple(jnp.diagonal(matrix, offset=offset) for offset in (0, -1, 1))
