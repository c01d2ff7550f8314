"""A sparse matrix with a fixed pattern, differentiable in its values."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Inexact, Int

from ._base import AbstractOperator
from ._precision import apply_in_precision
from ._tags import self_adjoint_tag, skew_adjoint_tag

# Rows are padded to the longest one while that at most doubles or so the work; a few very long rows (a constraint, a
# well that touches every cell) would make it quadratic, and are summed by segments instead.
_PADDING_LIMIT = 3.0
# One gather per entry of the longest row, unrolled, is the fast form (40 µs for a 5-point stencil at 128²; one
# gather of a rectangle takes 200). Above this many entries a scan keeps the program short.
_UNROLL_LIMIT = 32


class Rows(NamedTuple):
    """How the values lie in the rows of a matrix: integer arrays, made once.

    `columns[k, i]` and `slots[k, i]` are the column and the position in `values` of the k-th entry of row i
    (structure of arrays: one gather per k); the slot of padding is the number of values, where a zero is kept.
    `None` in long-row form, in which the segments of `entry_rows` are summed.
    """

    columns: Int[Array, "width rows"] | None
    slots: Int[Array, "width rows"] | None


class SparseOperator(AbstractOperator):
    r"""A sparse matrix `A`, by a fixed pattern and its `values`, the differentiable leaf.

    Made by [`krylovpde.SparseOperator.from_scipy`][], `from_bcoo`, `from_coo`. The state is an array of shape
    `(columns,)`; the matrix may be rectangular and complex, and may hold an entry several times (they add up).

    An application takes one gather per entry of the longest row: on a CPU less than half the time of SciPy's CSR. The
    transpose has a pattern of its own, so that it gathers too. Where rows are so uneven that padding would more than
    triple the work, entries are summed by segments, which is several times slower. The derivative with respect to
    the values costs `O(nnz)`.
    """

    values: Inexact[Array, " nnz"]
    entry_rows: Int[Array, " nnz"]
    entry_columns: Int[Array, " nnz"]
    forward: Rows
    backward: Rows
    shape: tuple[int, int] = eqx.field(static=True)
    tags: frozenset[object] = eqx.field(static=True)

    def __init__(
        self,
        values: Inexact[Array, " nnz"],
        entries: tuple[Int[Array, " nnz"], Int[Array, " nnz"]],
        layouts: tuple[Rows, Rows],
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
        return self._application(vector, self.forward, self.entry_rows, self.entry_columns, self.shape)

    def _application(self, x: Array, layout: Rows, to: Array, source: Array, shape: tuple[int, int]) -> Array:
        _check_vector(x, shape)
        columns = layout.columns
        if columns is None:

            def by_segments(values: Array, x: Array) -> Array:
                return jax.ops.segment_sum(values * x[source], to, num_segments=shape[0])

            return apply_in_precision(by_segments, self.values, x)

        def by_rows(padded: Array, x: Array) -> Array:
            return _row_sums(padded, columns, x, shape[0])

        return apply_in_precision(by_rows, _lay_out(self.values, layout), x)

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


def _lay_out(values: Array, layout: Rows) -> Array:
    """The values in padded rows, `(width, rows)`: measured, it costs little beside the gathers of the field."""
    return jnp.pad(values, (0, 1)).at[layout.slots].get(mode="promise_in_bounds")


def _row_sums(padded: Array, columns: Array, x: Array, num_rows: int) -> Array:
    width = padded.shape[0]

    def add(total: Array, entry: tuple[Array, Array]) -> tuple[Array, None]:
        values, column = entry
        return total + values * x.at[column].get(mode="promise_in_bounds"), None

    total = jnp.zeros(num_rows, x.dtype)
    if width == 0 or x.shape[0] == 0:
        return total
    if width > _UNROLL_LIMIT:
        return jax.lax.scan(add, total, (padded, columns))[0]
    for k in range(width):
        total, _ = add(total, (padded[k], columns[k]))
    return total


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
    forward = _layout(rows, columns, shape[0], inside)
    backward = _layout(columns, rows, shape[1], inside)
    entries = (_int32(np.where(inside, rows, shape[0])), _int32(np.where(inside, columns, shape[1])))
    return SparseOperator(values, entries, (forward, backward), shape, told)


def _layout(rows: np.ndarray, columns: np.ndarray, num_rows: int, inside: np.ndarray) -> Rows:
    kept = np.flatnonzero(inside)
    order = kept[np.argsort(rows[kept], kind="stable")]
    counts = np.bincount(rows[kept], minlength=num_rows)
    width = int(counts.max(initial=0))
    if width * num_rows > _PADDING_LIMIT * max(len(kept), num_rows):
        return Rows(None, None)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]) if num_rows else np.zeros(0, int)
    position = np.arange(len(order)) - starts[rows[order]]
    slots = np.full((width, num_rows), len(rows), np.int64)
    sources = np.zeros((width, num_rows), np.int64)
    slots[position, rows[order]] = order
    sources[position, rows[order]] = columns[order]
    return Rows(_int32(sources), _int32(slots))


def _int32(indices: np.ndarray) -> Array:
    return jnp.asarray(indices.astype(np.int32))


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
