"""What a polynomial recurrence leaves of its terms: sums for all output times, of states or of what is observed."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax
from jaxtyping import Array, PyTree

from ..krylov._space import scale
from ..operator import cast
from ._problem import Problem

# Tables of coefficients are as long as so many blocks of terms.
BLOCK = 16


class Keep(eqx.Module):
    """The sums `Σ_k c_k(t_i) P_k v` of all components and times; of what is observed of `P_k v` where that is asked.

    With many times the terms are collected, and added in blocks: one product of matrices in the place of many passes
    over all sums.
    """

    problem: Problem
    coefficients: Array

    @property
    def blocked(self) -> bool:
        """Whether terms are collected."""
        return in_blocks(self.coefficients)

    def nothing(self, vector: PyTree[Array]) -> Any:
        """The sums before the first start, one for each component or for what is observed."""
        components, count, _ = self.coefficients.shape
        rows = _rows_of(count, jax.eval_shape(self._seen, vector))
        return (rows,) * components if self.problem.observation is None else rows

    def start(self, vector: PyTree[Array], totals: Any) -> Any:
        """The sums so far, and no terms collected."""
        if self.problem.observation is not None:
            totals = (totals,)
        return totals, _rows_of(BLOCK, jax.eval_shape(self._seen, vector)) if self.blocked else None

    def __call__(self, kept: Any, k, vector: PyTree[Array]) -> Any:
        """With the term k, which comes after the term k - 1."""
        totals, collected = kept
        seen = self._seen(vector)
        if not self.blocked:
            row = lax.dynamic_index_in_dim(self.coefficients, k, 2, keepdims=False)
            return tuple(_accumulate(part, row[j], seen) for j, part in enumerate(totals)), None
        place = k % BLOCK
        collected = jtu.tree_map(
            lambda rows, leaf: lax.dynamic_update_index_in_dim(rows, leaf, place, 0), collected, seen
        )
        totals = lax.cond(
            place == BLOCK - 1,
            lambda *rest: self._flush(*rest),
            lambda totals, *_: totals,
            totals,
            collected,
            k + 1 - BLOCK,
        )
        return totals, collected

    def finish(self, kept: Any, last) -> Any:
        """The sums after the term `last`."""
        totals, collected = kept
        if self.blocked:
            # What is left of an older block beyond the last term meets coefficients of zero.
            begin = last - last % BLOCK
            whole = last % BLOCK == BLOCK - 1
            totals = lax.cond(
                whole, lambda totals, *_: totals, lambda *rest: self._flush(*rest), totals, collected, begin
            )
        return totals if self.problem.observation is None else totals[0]

    def _flush(self, totals: Any, collected: Any, begin) -> Any:
        block = lax.dynamic_slice_in_dim(self.coefficients, begin, BLOCK, axis=2)
        return tuple(
            jtu.tree_map(lambda total, rows, c=block[j]: total + product(c, rows), part, collected)
            for j, part in enumerate(totals)
        )

    def _seen(self, vector: PyTree[Array]) -> PyTree[Array]:
        observation = self.problem.observation
        return vector if observation is None else observation.operator.mv(vector)


def in_blocks(coefficients: Array) -> bool:
    """Whether there are so many output times that terms are worth collecting."""
    return coefficients.shape[1] >= BLOCK


def _rows_of(count: int, like: PyTree) -> PyTree[Array]:
    return jtu.tree_map(lambda leaf: jnp.zeros((count, *leaf.shape), leaf.dtype), like)


def product(coefficients: Array, rows: Array) -> Array:
    """`Σ_k c_ik r_k` in the precision of the rows; real numbers c stay real."""
    c = cast(coefficients, rows.real.dtype)
    if jnp.iscomplexobj(rows) and not jnp.iscomplexobj(c):
        return lax.complex(product(c, rows.real), product(c, rows.imag))
    return jnp.tensordot(c, rows, axes=1)


def _accumulate(totals: PyTree[Array], coefficients: Array, vector: PyTree[Array]) -> PyTree[Array]:
    return jtu.tree_map(lambda total, leaf: total + scale(along(coefficients, leaf), leaf[None]), totals, vector)


def along(coefficients: Array, leaf: Array) -> Array:
    """Numbers on a leading axis before the axes of a leaf, in its precision."""
    return cast(coefficients.reshape((-1,) + (1,) * leaf.ndim), leaf.real.dtype)


def whole_blocks(length: int) -> int:
    """The length of a table that holds so many terms."""
    return BLOCK * math.ceil(length / BLOCK)
