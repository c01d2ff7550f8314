"""How the entries of a sparse matrix lie, so that its product is a sum of shifted or gathered fields.

Measured on two CPU cores, in microseconds inside a jitted loop (SciPy's CSR: 420 and 1050): a 5-point Laplacian of 256²
takes 75 by diagonals and 140 by rows; 65536 rows of 2 to 23 entries take 840 padded to one width and 610 to 790 in
groups. Segments cost 2 ns for each entry, as they do in JAX's BCOO.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Inexact, Int

from ._row_groups import group_by_length

# A diagonal is streamed, a row's entry is gathered, which takes about twice as long for each number.
_DIAGONAL_PADDING = 2.5
_MOST_DIAGONALS = 32
# Longer rows, if they are longer than three times the mean one too, are summed by segments.
_LONG_ROW = 32
_LONG_FACTOR = 3.0
# So many gathers are fused into one loop. More of them read so many streams at once that 24 entries in each row take
# 1800 µs for 840 (65536 rows), so that longer rows are scanned, a few entries at a time.
_UNROLL_LIMIT = 12
_SCAN_WIDTH = 4


class Diagonals(eqx.Module):
    """`slots[k, i]`: where `values` hold the entry in row i, column `i + offsets[k]`; their number where there is none.

    Offsets repeat where entries do.
    """

    slots: Int[Array, "diagonals rows"]
    offsets: tuple[int, ...] = eqx.field(static=True)

    long_entries = 0

    def product(self, values: Inexact[Array, " nnz"], x: Inexact[Array, " columns"]) -> Inexact[Array, " rows"]:
        """`A x`: slices of `x`, padded once, times the diagonals."""
        num_rows = self.slots.shape[1]
        before = max(0, -min(self.offsets))
        padded = jnp.pad(x, (before, max(0, num_rows + max(self.offsets) - x.shape[0])))
        total = jnp.zeros(num_rows, x.dtype)
        for slots, offset in zip(self.slots, self.offsets, strict=True):
            held = jnp.where(slots < values.shape[0], _take(values, jnp.minimum(slots, values.shape[0] - 1)), 0)
            total = total + held * lax.slice_in_dim(padded, before + offset, before + offset + num_rows)
        return total


class RowGroup(NamedTuple):
    """Rows of similar length: the k-th entry of the i-th of them is `values[slots[k, i]]`, in column `columns[k, i]`.

    From its own length `counts[i]` on, a row's padding repeats its first entry, so that nothing that is not finite
    reaches other rows.
    """

    counts: Int[Array, " rows"]
    slots: Int[Array, "width rows"]
    columns: Int[Array, "width rows"]


class LongRows(NamedTuple):
    """The entries of rows that are much longer than the others."""

    slots: Int[Array, " entries"]
    rows: Int[Array, " entries"]
    columns: Int[Array, " entries"]


class Rows(eqx.Module):
    """Groups of rows, whose results follow each other; row i is at `position[i]`, or at i where `position` is None."""

    groups: tuple[RowGroup, ...]
    position: Int[Array, " rows"] | None
    long: LongRows | None
    num_rows: int = eqx.field(static=True)

    @property
    def long_entries(self) -> int:
        """How many entries are summed by segments."""
        return 0 if self.long is None else self.long.rows.shape[0]

    def product(self, values: Inexact[Array, " nnz"], x: Inexact[Array, " columns"]) -> Inexact[Array, " rows"]:
        """`A x`: a gather for each entry of the longest row of a group."""
        total, start = jnp.zeros(self.num_rows, x.dtype), 0
        for group in self.groups:
            # Not `concatenate`: XLA fuses it with its operands into one loop with branches, at twice the time.
            total = lax.dynamic_update_slice_in_dim(total, _group_sums(group, values, x), start, 0)
            start += group.counts.shape[0]
        if self.position is not None:
            total = _take(total, self.position)
        if self.long is None:
            return total
        return total.at[self.long.rows].add(_take(values, self.long.slots) * _take(x, self.long.columns))


def make_layout(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int], inside: np.ndarray) -> Diagonals | Rows:
    """The faster layout of the entries for which `inside` holds; the others have slots that nobody reads."""
    kept = np.flatnonzero(inside)
    by_diagonals = _diagonals(rows[kept], columns[kept], shape, kept, len(rows))
    return _rows(rows[kept], columns[kept], shape[0], kept) if by_diagonals is None else by_diagonals


def _diagonals(
    rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int], kept: np.ndarray, nnz: int
) -> Diagonals | None:
    offsets = columns - rows
    limit = min(_MOST_DIAGONALS, _DIAGONAL_PADDING * len(rows) / max(shape[0], 1))
    if not 0 < len(np.unique(offsets)) <= limit:
        return None
    # An entry that repeats goes to a second diagonal of its offset.
    order = np.lexsort((rows, offsets))
    first = np.ones(len(order), bool)
    first[1:] = (np.diff(offsets[order]) != 0) | (np.diff(rows[order]) != 0)
    repeat = np.arange(len(order)) - np.flatnonzero(first)[np.cumsum(first) - 1]
    diagonals, which = np.unique(np.stack([offsets[order], repeat]), axis=1, return_inverse=True)
    if diagonals.shape[1] > limit:
        return None
    slots = np.full((diagonals.shape[1], shape[0]), nnz)
    slots[which.reshape(-1), rows[order]] = kept[order]
    return Diagonals(int32(slots), tuple(int(offset) for offset in diagonals[0]))


def _rows(rows: np.ndarray, columns: np.ndarray, num_rows: int, kept: np.ndarray) -> Rows:
    order = np.argsort(rows, kind="stable")
    rows, columns, kept = rows[order], columns[order], kept[order]
    counts = np.bincount(rows, minlength=num_rows)
    too_long = counts > max(_LONG_ROW, _LONG_FACTOR * len(rows) / max(num_rows, 1))
    slow = too_long[rows]
    long = LongRows(int32(kept[slow]), int32(rows[slow]), int32(columns[slow])) if np.any(slow) else None
    rows, columns, kept = rows[~slow], columns[~slow], kept[~slow]
    starts = np.cumsum(counts := np.where(too_long, 0, counts)) - counts
    members = group_by_length(counts)
    groups = tuple(_group(starts[these], counts[these], columns, kept) for these in members)
    position = np.empty(num_rows, np.int64)
    if members:
        position[np.concatenate(members)] = np.arange(num_rows)
    return Rows(groups, int32(position) if len(members) > 1 else None, long, num_rows)


def _group(starts: np.ndarray, counts: np.ndarray, columns: np.ndarray, kept: np.ndarray) -> RowGroup:
    width = int(counts.max(initial=0))
    if width > _UNROLL_LIMIT:
        width = -(-width // _SCAN_WIDTH) * _SCAN_WIDTH
    k = np.arange(width)[:, None]
    entry = starts + np.where(k < counts, k, 0)
    entry = np.minimum(entry, len(kept) - 1)  # an empty row reads some entry, and counts none
    return RowGroup(int32(counts), int32(kept[entry]), int32(columns[entry]))


def _group_sums(group: RowGroup, values: Array, x: Array) -> Array:
    width, num_rows = group.slots.shape
    total = jnp.zeros(num_rows, x.dtype)
    if width <= _UNROLL_LIMIT:
        for k in range(width):
            # Laid out as a field of its own, which XLA takes out of a loop in which only `x` changes.
            held = jnp.where(k < group.counts, _take(values, group.slots[k]), 0)
            total = total + held * _take(x, group.columns[k])
        return total
    k = jnp.arange(width, dtype=jnp.int32)[:, None]
    held = jnp.where(k < group.counts, _take(values, group.slots), 0)
    chunks = (held.reshape(-1, _SCAN_WIDTH, num_rows), group.columns.reshape(-1, _SCAN_WIDTH, num_rows))

    def add(total: Array, chunk: tuple[Array, Array]) -> tuple[Array, None]:
        for values, columns in zip(*chunk, strict=True):
            total = total + values * _take(x, columns)
        return total, None

    return lax.scan(add, total, chunks)[0]


def _take(array: Array, indices: Array) -> Array:
    """`array[indices]` for indices that are known to be inside: no wrapping of negative ones, no check."""
    numbers = lax.GatherDimensionNumbers(offset_dims=(), collapsed_slice_dims=(0,), start_index_map=(0,))
    return lax.gather(array, indices[..., None], numbers, (1,), mode="promise_in_bounds")


def int32(indices: np.ndarray) -> Array:
    """On the device; half the memory traffic of 64-bit indices."""
    return jnp.asarray(indices.astype(np.int32))
