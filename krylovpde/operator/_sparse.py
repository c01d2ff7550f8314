"""A sparse matrix with a fixed pattern, differentiable in its values."""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Inexact, Int

from ._base import AbstractOperator
from ._pattern import Diagonals, Rows, int32, make_layout
from ._precision import apply_in_precision
from ._tags import self_adjoint_tag, skew_adjoint_tag

# A warning is for matrices of which so many entries take the slow form, unless an application takes microseconds.
_SLOW_PART = 0.25
_SLOW_ENTRIES = 20_000


class SparseOperator(AbstractOperator):
    r"""A sparse matrix `A`, by a fixed pattern and its `values`, the differentiable leaf.

    Made by [`krylovpde.SparseOperator.from_scipy`][], `from_bcoo`, `from_coo`. The state is an array of shape
    `(columns,)`; the matrix may be rectangular and complex, and may hold an entry several times (they add up).

    The pattern decides the form of the product, for the matrix and for its transpose separately: where at most 32
    diagonals hold the entries without much padding (a stencil), shifted slices; otherwise one gather for each entry of
    a row, the rows in groups of similar length. Rows longer than three times the mean (and than 32 entries) are summed
    by segments, which takes two to five times as long for each of their entries: `segment_entries` says how many.
    Times are in the benchmarks.

    The derivative with respect to the values costs `O(nnz)`. Inside a jitted loop in which the values stay, they are
    laid out once; a single application spends half of its time on that.

    **Warns:**

    `UserWarning` when made, if more than a quarter of at least 20 000 entries is summed by segments.
    """

    values: Inexact[Array, " nnz"]
    entry_rows: Int[Array, " nnz"]
    entry_columns: Int[Array, " nnz"]
    forward: Diagonals | Rows
    backward: Diagonals | Rows
    shape: tuple[int, int] = eqx.field(static=True)
    tags: frozenset[object] = eqx.field(static=True)

    def __init__(
        self,
        values: Inexact[Array, " nnz"],
        entries: tuple[Int[Array, " nnz"], Int[Array, " nnz"]],
        layouts: tuple[Diagonals | Rows, Diagonals | Rows],
        shape: tuple[int, int],
        tags: frozenset[object],
    ):
        self.values = values
        self.entry_rows, self.entry_columns = entries
        self.forward, self.backward = layouts
        self.shape = shape
        self.tags = tags

    @classmethod
    def from_scipy(cls, matrix: Any, *, tags: object | Iterable[object] = ()) -> "SparseOperator":
        """From a SciPy sparse matrix or array of any format.

        **Arguments:**

        - `matrix`: the matrix. `values` are in the order of its CSR form, `matrix.tocsr().data`.
        - `tags`: `kp.self_adjoint_tag` or `kp.skew_adjoint_tag`, in the Euclidean product; see
            [`krylovpde.annotate`][] for a weight.

        **Returns:**

        A `SparseOperator`.

        **Raises:**

        `TypeError` for something that is not a SciPy sparse matrix.
        """
        if not hasattr(matrix, "tocsr"):
            message = f"`SparseOperator.from_scipy` takes a SciPy sparse matrix, got {type(matrix).__name__}."
            raise TypeError(message)
        csr = matrix.tocsr()
        rows = np.repeat(np.arange(csr.shape[0]), np.diff(csr.indptr))
        return cls.from_coo(rows, csr.indices, csr.data, csr.shape, tags=tags)

    @classmethod
    def from_bcoo(cls, matrix: Any, *, tags: object | Iterable[object] = ()) -> "SparseOperator":
        """From a `jax.experimental.sparse.BCOO` matrix without batch or dense dimensions.

        **Arguments:**

        - `matrix`: the matrix; its indices must be known, its data may be traced. `values` are the data, in order.
            Indices outside of the matrix, which BCOO uses for padding, count as zeros.
        - `tags`: as for `from_scipy`.

        **Returns:**

        A `SparseOperator`.

        **Raises:**

        `ValueError` for batch or dense dimensions or traced indices.
        """
        if getattr(matrix, "n_batch", 0) or getattr(matrix, "n_dense", 0) or matrix.indices.ndim != 2:
            message = "`SparseOperator.from_bcoo` takes a BCOO matrix without batch and dense dimensions."
            raise ValueError(message)
        indices = _known(matrix.indices, "SparseOperator.from_bcoo(matrix.indices)")
        inside = np.all(indices < np.array(matrix.shape), axis=1)
        return _make(indices[:, 0], indices[:, 1], matrix.data, matrix.shape, tags, inside)

    @classmethod
    def from_coo(
        cls,
        rows: ArrayLike | Sequence[Any],
        columns: ArrayLike | Sequence[Any],
        values: ArrayLike | Sequence[Any],
        shape: tuple[int, int],
        *,
        tags: object | Iterable[object] = (),
    ) -> "SparseOperator":
        """From index arrays.

        **Arguments:**

        - `rows`, `columns`: integer arrays of shape `(nnz,)`, known when traced. Entries may repeat: they add up.
        - `values`: numbers of shape `(nnz,)`, in the order of the indices; may be traced.
        - `shape`: of the matrix.
        - `tags`: as for `from_scipy`.

        **Returns:**

        A `SparseOperator`.

        **Raises:**

        `ValueError` for arrays of different lengths, indices outside of the matrix, or tags on one that is not square.
        """
        rows = _known(rows, "SparseOperator.from_coo(rows)")
        columns = _known(columns, "SparseOperator.from_coo(columns)")
        return _make(rows, columns, values, shape, tags, np.ones(rows.shape, bool))

    def mv(self, vector: Inexact[Array, " columns"]) -> Inexact[Array, " rows"]:
        """`A x`, in the precision of `x`."""
        _check_vector(vector, self.shape)

        def apply(values: Array, x: Array) -> Array:
            return _product(self.forward, (self.entry_rows, self.entry_columns), values, x)

        return apply_in_precision(apply, self.values, vector)

    def transpose(self) -> "SparseOperator":
        """`Aᵀ`, on the transposed pattern; the values stay as they are."""
        entries, layouts = (self.entry_columns, self.entry_rows), (self.backward, self.forward)
        return SparseOperator(self.values, entries, layouts, (self.shape[1], self.shape[0]), self.tags)

    def as_matrix(self) -> Inexact[Array, "rows columns"]:
        """The dense matrix."""
        return jnp.zeros(self.shape, self.values.dtype).at[self.entry_rows, self.entry_columns].add(self.values)

    def in_structure(self) -> jax.ShapeDtypeStruct:
        """An array of shape `(columns,)`."""
        return jax.ShapeDtypeStruct((self.shape[1],), self.values.dtype)

    def out_structure(self) -> jax.ShapeDtypeStruct:
        """An array of shape `(rows,)`."""
        return jax.ShapeDtypeStruct((self.shape[0],), self.values.dtype)

    @property
    def segment_entries(self) -> tuple[int, int]:
        """How many entries an application of `A`, and one of `Aᵀ`, sums by segments, the slow form."""
        return self.forward.long_entries, self.backward.long_entries

    @property
    def weight(self) -> None:
        """The Euclidean product."""

    @property
    def spectral_bound(self) -> Array:
        """`sqrt(‖A‖₁ ‖A‖∞)`, which bounds the 2-norm: for a self-adjoint matrix, its largest absolute row sum."""
        magnitudes = jnp.abs(self.values)
        rows = jax.ops.segment_sum(magnitudes, self.entry_rows, num_segments=self.shape[0])
        columns = jax.ops.segment_sum(magnitudes, self.entry_columns, num_segments=self.shape[1])
        room = 1.0 + 16 * float(np.finfo(magnitudes.dtype).eps)
        return jnp.sqrt(jnp.max(rows, initial=0.0) * jnp.max(columns, initial=0.0)) * room


@eqx.filter_custom_jvp
def _product(layout: Diagonals | Rows, _entries: tuple[Array, Array], values: Array, x: Array) -> Array:
    """`A x`. It has a rule: the transpose of laying the values out would be a scatter for each entry of a row."""
    return layout.product(values, x)


@_product.def_jvp
def _(primals, tangents):
    layout, entries, values, x = primals
    d_values, d_x = tangents[2:]
    result = _product(layout, entries, values, x)
    tangent = jnp.zeros_like(result)
    if d_x is not None:
        tangent = tangent + _product(layout, entries, values, d_x)
    if d_values is not None:
        tangent = tangent + _by_entries(entries, d_values, x, result.shape[0])
    return result, tangent


def _by_entries(entries: tuple[Array, Array], values: Array, x: Array, num_rows: int) -> Array:
    """`A x` in the caller's order; its transpose in the values is a product of two gathers, `ȳ[rows] x[columns]`."""
    rows, columns = entries
    terms = values * x.at[columns].get(mode="fill", fill_value=0)
    return jax.ops.segment_sum(terms, rows, num_segments=num_rows)


def _check_vector(x: Array, shape: tuple[int, int]) -> None:
    if x.shape != (shape[1],):
        message = (
            f"`SparseOperator.mv(vector)`: this {shape} matrix takes a vector of shape ({shape[1]},), got {x.shape}."
        )
        raise ValueError(message)


def _known(indices: Any, where: str) -> np.ndarray:
    if isinstance(indices, Tracer):
        message = f"`{where}`: the pattern of a sparse operator is fixed, but the indices are traced by JAX."
        raise TypeError(message)
    array = np.asarray(indices)
    if array.size and not np.issubdtype(array.dtype, np.integer):
        message = f"`{where}` must be integers, got {array.dtype}."
        raise ValueError(message)
    return array.astype(np.int64)


def _make(
    rows: np.ndarray, columns: np.ndarray, values: Any, shape: Any, tags: object, inside: np.ndarray
) -> SparseOperator:
    values = jnp.asarray(values)
    if not jnp.issubdtype(values.dtype, jnp.inexact):
        values = values.astype(jnp.result_type(float))
    shape = (int(shape[0]), int(shape[1]))
    if not (rows.ndim == columns.ndim == values.ndim == 1 and len(rows) == len(columns) == len(values)):
        message = (
            "`SparseOperator`: rows, columns and values must be lists of one length, got shapes "
            f"{rows.shape}, {columns.shape} and {values.shape}."
        )
        raise ValueError(message)
    for name, indices, size in (("rows", rows, shape[0]), ("columns", columns, shape[1])):
        wrong = inside & ((indices < 0) | (indices >= size))
        if np.any(wrong):
            message = f"`SparseOperator`: {name} contains {indices[wrong][0]}, outside of a matrix of shape {shape}."
            raise ValueError(message)
    told = _checked_tags(tags, shape)
    # Entries that count as zeros keep their slot in `values`; nobody reads it.
    forward = make_layout(rows, columns, shape, inside)
    backward = make_layout(columns, rows, shape[::-1], inside)
    entries = (int32(np.where(inside, rows, shape[0])), int32(np.where(inside, columns, shape[1])))
    operator = SparseOperator(values, entries, (forward, backward), shape, told)
    _warn_of_segments(operator)
    return operator


def _warn_of_segments(operator: SparseOperator) -> None:
    slow, nnz = max(operator.segment_entries), operator.values.size
    if nnz >= _SLOW_ENTRIES and slow > _SLOW_PART * nnz:
        message = (
            f"`SparseOperator`: {slow} of {nnz} entries are in rows or columns more than three times as long as the "
            "mean one. They are summed by segments, two to five times slower than the others. If a few dense rows "
            "are the reason, write them as an operator of their own and add it."
        )
        warnings.warn(message, stacklevel=4)


def _checked_tags(tags: object, shape: tuple[int, int]) -> frozenset[object]:
    told = frozenset(tags) if isinstance(tags, Iterable) else frozenset([tags])
    unknown = told - {self_adjoint_tag, skew_adjoint_tag}
    if unknown:
        names = ", ".join(sorted(map(repr, unknown)))
        message = f"`SparseOperator(tags=...)` knows kp.self_adjoint_tag and kp.skew_adjoint_tag, got {names}."
        raise ValueError(message)
    if told and shape[0] != shape[1]:
        message = f"`SparseOperator(tags=...)`: {sorted(map(repr, told))} need a square matrix, got shape {shape}."
        raise ValueError(message)
    return told


@lx.diagonal.register(SparseOperator)
def _(operator):
    on_diagonal = operator.entry_rows == operator.entry_columns
    values = jnp.where(on_diagonal, operator.values, jnp.zeros_like(operator.values))
    return jax.ops.segment_sum(values, operator.entry_rows, num_segments=min(operator.shape))


@lx.conj.register(SparseOperator)
def _(operator):
    return eqx.tree_at(lambda op: op.values, operator, jnp.conj(operator.values))
