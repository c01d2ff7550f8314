"""Operators made of blocks."""

from typing import Any, TypeAlias

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jaxtyping import Array, Inexact, PyTree

from .._custom_types import Structure
from ._base import AbstractOperator
from ._precision import add_in_precision
from ._properties import is_self_adjoint, is_skew_adjoint, spectral_bound as spectral_bound_of, weight as weight_of
from ._tags import self_adjoint_tag, skew_adjoint_tag

Blocks: TypeAlias = tuple[tuple[lx.AbstractLinearOperator | None, ...], ...]


class BlockOperator(AbstractOperator):
    r"""A matrix of operators, on a tuple of fields.

        (A u)_i = Σ_j A_ij u_j

    `None` is a zero block. Every row and every column needs an operator, so that all shapes are known.
    """

    blocks: Blocks
    row_container: Any = eqx.field(static=True)
    column_container: Any = eqx.field(static=True)

    def __init__(self, blocks: Any, like: Any = None):
        """An operator from its blocks.

        **Arguments:**

        - `blocks`: rows of blocks: a tuple of tuples of lineax operators or `None`.
        - `like`: for square arrangements, a pytree whose leaves stand for the parts of the state, for example
            `WaveState(0, 0)`; a tuple if left out.

        **Raises:**

        `TypeError` for a block that is not an operator; `ValueError` for ragged rows, an empty row or column, blocks
        whose structures do not fit each other, or a `like` with another number of leaves.
        """
        rows = tuple(tuple(row) for row in blocks)
        _check_blocks(rows)
        self.blocks = rows
        if like is None:
            self.row_container = jtu.tree_structure((0,) * len(rows))
            self.column_container = jtu.tree_structure((0,) * len(rows[0]))
            return
        container = jtu.tree_structure(like)
        if not container.num_leaves == len(rows) == len(rows[0]):
            message = (
                f"`BlockOperator(like=...)` has {container.num_leaves} leaves for {len(rows)} rows and {len(rows[0])} "
                "columns of blocks; it needs one leaf for each."
            )
            raise ValueError(message)
        self.row_container = self.column_container = container

    def mv(self, vector: PyTree[Inexact[Array, "..."]]) -> PyTree[Inexact[Array, "..."]]:
        """`A u`."""
        parts = self.column_container.flatten_up_to(vector)
        results = []
        for row in self.blocks:
            total = None
            for block, part in zip(row, parts, strict=True):
                if block is not None:
                    term = _apply(block, part)
                    total = term if total is None else add_in_precision(total, term)
            results.append(total)
        return jtu.tree_unflatten(self.row_container, results)

    def transpose(self) -> "BlockOperator":
        """The transposes of the blocks, rows and columns exchanged."""
        flipped = tuple(
            tuple(None if block is None else block.transpose() for block in column)
            for column in zip(*self.blocks, strict=True)
        )
        result = BlockOperator(flipped)
        object.__setattr__(result, "row_container", self.column_container)
        object.__setattr__(result, "column_container", self.row_container)
        return result

    def in_structure(self) -> Structure:
        """One part per column."""
        columns = zip(*self.blocks, strict=True)
        parts = [next(block.in_structure() for block in column if block is not None) for column in columns]
        return jtu.tree_unflatten(self.column_container, parts)

    def out_structure(self) -> Structure:
        """One part per row."""
        parts = [next(block.out_structure() for block in row if block is not None) for row in self.blocks]
        return jtu.tree_unflatten(self.row_container, parts)

    @property
    def is_block_diagonal(self) -> bool:
        """Whether only the blocks on the diagonal are there."""
        rows, columns = len(self.blocks), len(self.blocks[0])
        return rows == columns and all(
            (block is not None) == (i == j) for i, row in enumerate(self.blocks) for j, block in enumerate(row)
        )

    @property
    def weight(self) -> PyTree:
        """The weights of the diagonal blocks, if there are no others; `None` (Euclidean) otherwise.

        Where the inner product of an operator with other blocks is known, [`krylovpde.annotate`][] tells it.
        """
        if not self.is_block_diagonal:
            return None
        diagonal = [row[i] for i, row in enumerate(self.blocks)]
        weights = [weight_of(block) for block in diagonal]
        if all(weight is None for weight in weights):
            return None
        structures = self.column_container.flatten_up_to(self.in_structure())
        parts = [
            _ones(structure) if weight is None else weight
            for structure, weight in zip(structures, weights, strict=True)
        ]
        return jtu.tree_unflatten(self.column_container, parts)

    @property
    def tags(self) -> frozenset[object]:
        """What all blocks of a block-diagonal operator have in common."""
        if not self.is_block_diagonal:
            return frozenset()
        checks = {self_adjoint_tag: is_self_adjoint, skew_adjoint_tag: is_skew_adjoint}
        diagonal = [row[i] for i, row in enumerate(self.blocks)]
        return frozenset(tag for tag, check in checks.items() if all(map(check, diagonal)))

    @property
    def spectral_bound(self) -> Array | None:
        """The spectral radius of the matrix of the blocks' bounds (bounds of norms), which is never too small.

        By repeated squaring: `ρ(N) ≤ ‖N^k‖^{1/k}` for every `k`. For `[[0, I], [A, 0]]` it is the root of A's bound.
        """
        flat = [block for row in self.blocks for block in row]
        known = {i: spectral_bound_of(block) for i, block in enumerate(flat) if block is not None}
        told = {i: jnp.asarray(bound) for i, bound in known.items() if bound is not None}
        if len(self.blocks) ** 2 != len(flat) or len(told) < len(known):
            return None
        dtype = np.result_type(*(bound.dtype for bound in told.values()))
        entries = [told[i].astype(dtype) if i in told else jnp.zeros((), dtype) for i in range(len(flat))]
        return _perron_root(jnp.stack(entries).reshape(len(self.blocks), -1))


def _apply(block: lx.AbstractLinearOperator, part: PyTree) -> PyTree:
    # lineax's identity insists on the dtype that it was made with; here the state's dtype decides.
    if isinstance(block, lx.IdentityLinearOperator) and is_self_adjoint(block):
        return part
    return block.mv(part)


def _perron_root(matrix: Array, squarings: int = 10) -> Array:
    """A bound from above of the spectral radius of a non-negative matrix, within a factor `size^(1/1024)`."""
    logarithm = jnp.zeros((), matrix.dtype)
    power, result = matrix, logarithm
    for step in range(squarings + 1):
        size = jnp.max(jnp.sum(power, axis=1))
        safe = jnp.where(size > 0.0, size, jnp.ones_like(size))
        logarithm = logarithm + jnp.log(safe) / 2.0**step
        power = power / safe
        result = jnp.where(size > 0.0, jnp.exp(logarithm), jnp.zeros_like(size))
        power = power @ power
    return result


def _check_blocks(rows: Blocks) -> None:
    if not rows or len({len(row) for row in rows}) != 1 or not rows[0]:
        message = f"`BlockOperator(blocks)` needs rows of one length, got lengths {[len(row) for row in rows]}."
        raise ValueError(message)
    for i, row in enumerate(rows):
        for j, block in enumerate(row):
            if block is not None and not isinstance(block, lx.AbstractLinearOperator):
                message = f"`BlockOperator(blocks)`: block ({i}, {j}) is a {type(block).__name__}, not an operator."
                raise TypeError(message)
    for kind, lines in (("row", rows), ("column", tuple(zip(*rows, strict=True)))):
        for index, line in enumerate(lines):
            present = [block for block in line if block is not None]
            if not present:
                message = f"`BlockOperator(blocks)`: {kind} {index} has no operator, so its shape is unknown."
                raise ValueError(message)
            shapes = {
                str(_shapes(block.out_structure() if kind == "row" else block.in_structure())) for block in present
            }
            if len(shapes) > 1:
                found = " and ".join(sorted(shapes))
                message = f"`BlockOperator(blocks)`: the blocks of {kind} {index} have different shapes: {found}."
                raise ValueError(message)


def _shapes(structure: Structure) -> PyTree:
    return jtu.tree_map(lambda leaf: leaf.shape, structure)


def _ones(structure: Structure) -> PyTree:
    return jtu.tree_map(lambda leaf: jnp.ones(leaf.shape, jnp.finfo(leaf.dtype).dtype), structure)
