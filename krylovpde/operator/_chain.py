"""An operator together with its polynomial sources: one homogeneous equation for both."""

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jaxtyping import Array, Inexact, PyTree, Real

from .._custom_types import RealScalar, Structure, Weight
from ._base import AbstractOperator, real_dtype
from ._precision import add_in_precision, cast
from ._properties import spectral_bound as bound_of, weight as weight_of


class ChainOperator(AbstractOperator):
    r"""`A` and its sources `b_k`, on pairs of a field and the numbers that the sources are taken times.

        𝒜 (u, ζ) = (A u + Σ_k ζ_k b_k, ρ (0, ζ_0, …, ζ_(p-2)))

    Started from `ζ = (1, 0, …, 0)`, `ζ_k(t) = (ρt)^k / k!`: the field of `exp(t𝒜)` is `exp(tA) u` and a combination of
    the φ-functions, `Σ_k ρ^k t^(k+1) φ_(k+1)(tA) b_k`, from a single Krylov space. With ρ about `1/t` and sources of
    the field's size times ρ the parts are in balance.

    !!! cite "Sources"

        Al-Mohy and Higham, *Computing the action of the matrix exponential* (2011), theorem 2.1.
    """

    operator: lx.AbstractLinearOperator
    sources: PyTree[Inexact[Array, "..."]]
    rate: Real[Array, ""]

    def __init__(self, operator: lx.AbstractLinearOperator, sources: PyTree[Inexact[Array, "..."]], rate: Array):
        """The operator of a chain.

        **Arguments:**

        - `operator`: `A`, square.
        - `sources`: `b_0, b_1, …`, a pytree like the operator's input whose leaves have one more, leading, axis.
        - `rate`: ρ, real.
        """
        self.operator, self.sources, self.rate = operator, sources, rate

    @property
    def length(self) -> int:
        """How many sources there are."""
        return jtu.tree_leaves(self.sources)[0].shape[0]

    def mv(self, vector: tuple[PyTree, Array]) -> tuple[PyTree, Array]:
        field, numbers = vector
        forced = jtu.tree_map(lambda rows, leaf: _combined(numbers, rows, leaf), self.sources, field)
        moved = cast(self.rate, numbers.real.dtype).astype(numbers.dtype) * numbers[:-1]
        return add_in_precision(self.operator.mv(field), forced), jnp.pad(moved, (1, 0))

    def in_structure(self) -> tuple[Structure, Structure]:
        return _with_numbers(self.operator.in_structure(), self.length)

    def out_structure(self) -> tuple[Structure, Structure]:
        return _with_numbers(self.operator.out_structure(), self.length)

    @property
    def weight(self) -> Weight:
        """That of `A`, and ones."""
        own = weight_of(self.operator)
        return None if own is None else (own, np.ones(self.length, real_dtype(self.in_structure())))

    @property
    def spectral_bound(self) -> RealScalar | None:
        """`max(‖A‖, ρ) + ‖b‖`, if `A` knows a bound."""
        own = bound_of(self.operator)
        if own is None:
            return None
        own_weight = weight_of(self.operator)
        squares = jtu.tree_map(lambda rows: jnp.abs(rows) ** 2, self.sources)
        if own_weight is not None:
            squares = jtu.tree_map(lambda rows, w: rows * cast(w, rows.dtype), squares, own_weight)
        size = jnp.sqrt(sum(jnp.sum(rows).astype(own.dtype) for rows in jtu.tree_leaves(squares)))
        return jnp.maximum(own, jnp.abs(self.rate).astype(own.dtype)) + size

    @property
    def tags(self) -> frozenset[object]:
        """None: sources are seen by the field and do not see it."""
        return frozenset()


def _with_numbers(structure: Structure, count: int) -> tuple[Structure, Structure]:
    dtype = np.result_type(*(leaf.dtype for leaf in jtu.tree_leaves(structure)))
    return structure, jax.ShapeDtypeStruct((count,), dtype)


def _combined(numbers: Array, rows: Array, leaf: Array) -> Array:
    """`Σ_k ζ_k b_k` in the precision of the field."""
    rows = cast(rows, leaf.real.dtype)
    dtype = np.result_type(rows.dtype, numbers.dtype)
    return jnp.tensordot(numbers.astype(dtype), rows.astype(dtype), axes=1)
