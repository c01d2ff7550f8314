"""Nothing, as an operator: the linear part of an equation that has none."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Inexact, PyTree

from .._custom_types import Structure
from ._base import AbstractOperator, real_dtype
from ._spectral_interval import Interval, spectral_interval
from ._tags import self_adjoint_tag


class ZeroOperator(AbstractOperator):
    """`A u = 0`, at home in a given inner product: what is added to it costs nothing, and keeps its norm."""

    structure: Structure = eqx.field(static=True)
    weight: Any

    def __init__(self, structure: PyTree[jax.ShapeDtypeStruct], weight: Any = None):
        """Zero on a field.

        **Arguments:**

        - `structure`: of the field.
        - `weight`: the diagonal of the inner product; `None` for the Euclidean one.
        """
        self.structure = structure
        self.weight = weight

    def mv(self, vector: PyTree[Inexact[Array, "..."]]) -> PyTree[Inexact[Array, "..."]]:
        """Zeros."""
        return jtu.tree_map(jnp.zeros_like, vector)

    def transpose(self) -> "ZeroOperator":
        """Zero again, in the reciprocal weight."""
        reciprocal = None if self.weight is None else jtu.tree_map(lambda leaf: 1.0 / leaf, self.weight)
        return ZeroOperator(self.structure, reciprocal)

    def in_structure(self) -> Structure:
        """As it was given."""
        return self.structure

    def out_structure(self) -> Structure:
        """As it was given."""
        return self.structure

    @property
    def spectral_bound(self) -> Array:
        """0."""
        return jnp.zeros((), real_dtype(self.structure))

    @property
    def tags(self) -> frozenset[object]:
        """Self-adjoint."""
        return frozenset({self_adjoint_tag})


@spectral_interval.register(ZeroOperator)
def _(operator: ZeroOperator) -> Interval:
    return operator.spectral_bound, operator.spectral_bound
