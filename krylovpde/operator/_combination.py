"""`(1 - s) A + s B` of two operators of one kind: what an average over time is, with all that is known of it."""

import functools as ft
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jaxtyping import Array, Inexact, PyTree, Real

from .._custom_types import Structure
from ._base import AbstractOperator
from ._flux import FluxOperator
from ._imaginary import ImaginaryOperator, imaginary_interval
from ._precision import cast
from ._properties import common_weight, is_self_adjoint, is_skew_adjoint, spectral_bound
from ._spectral_interval import Interval, scaled_interval, spectral_interval
from ._tags import self_adjoint_tag, skew_adjoint_tag


class CombinedOperator(AbstractOperator):
    """`(1 - share) first + share second`; both are applied, and tags are kept where both have them in one weight."""

    first: lx.AbstractLinearOperator
    second: lx.AbstractLinearOperator
    share: Real[Array, ""]

    def __init__(self, first: lx.AbstractLinearOperator, second: lx.AbstractLinearOperator, share: Real[Array, ""]):
        self.first = first
        self.second = second
        self.share = share

    def mv(self, vector: PyTree[Inexact[Array, "..."]]) -> PyTree[Inexact[Array, "..."]]:
        """Two applications, added up."""
        return _mix(self.first.mv(vector), self.second.mv(vector), self.share)

    def transpose(self) -> "CombinedOperator":
        """The combination of the transposes."""
        return CombinedOperator(self.first.transpose(), self.second.transpose(), self.share)

    def in_structure(self) -> Structure:
        """That of the first."""
        return self.first.in_structure()

    def out_structure(self) -> Structure:
        """That of the first."""
        return self.first.out_structure()

    @property
    def weight(self) -> PyTree:
        """The one that they share."""
        return common_weight(self.first, self.second)[1]

    @property
    def spectral_bound(self) -> Array | None:
        """`|1 - s| ‖A‖ + |s| ‖B‖`."""
        first, second = spectral_bound(self.first), spectral_bound(self.second)
        if first is None or second is None or not common_weight(self.first, self.second)[0]:
            return None
        return _mix(jnp.asarray(first), jnp.asarray(second), self.share, absolute=True)

    @property
    def tags(self) -> frozenset[object]:
        """What both are known to be, in one inner product."""
        if not common_weight(self.first, self.second)[0]:
            return frozenset()
        checks = {self_adjoint_tag: is_self_adjoint, skew_adjoint_tag: is_skew_adjoint}
        return frozenset(tag for tag, check in checks.items() if check(self.first) and check(self.second))


@ft.singledispatch
def affine_combination(
    first: lx.AbstractLinearOperator, second: lx.AbstractLinearOperator, share: Real[Array, ""]
) -> lx.AbstractLinearOperator:
    """`(1 - share) first + share second`: one stencil where both are stencils that differ in their numbers."""
    return CombinedOperator(first, second, share)


@affine_combination.register(ImaginaryOperator)
def _(first, second, share):
    if not isinstance(second, ImaginaryOperator):
        return CombinedOperator(first, second, share)
    return ImaginaryOperator(affine_combination(first.operator, second.operator, share))


@affine_combination.register(FluxOperator)
def _(first, second, share):
    # A scale multiplies the rest: the combination is not one of the leaves.
    same = first.scale is None and jtu.tree_structure(first) == jtu.tree_structure(second)
    shapes = [[jnp.shape(leaf) for leaf in jtu.tree_leaves(operator)] for operator in (first, second)]
    if not same or shapes[0] != shapes[1]:
        return CombinedOperator(first, second, share)
    numbers, rest = eqx.partition(first, eqx.is_inexact_array)
    return eqx.combine(_mix(numbers, eqx.filter(second, eqx.is_inexact_array), share), rest)


@spectral_interval.register(CombinedOperator)
def _(operator):
    both = is_self_adjoint(operator.first) and is_self_adjoint(operator.second)
    return _mixed_interval(operator, spectral_interval) if both else None


@imaginary_interval.register(CombinedOperator)
def _(operator):
    return _mixed_interval(operator, imaginary_interval)


def _mixed_interval(operator: CombinedOperator, interval: Any) -> Interval | None:
    if not common_weight(operator.first, operator.second)[0]:
        return None
    first = scaled_interval(interval(operator.first), 1.0 - operator.share)
    second = scaled_interval(interval(operator.second), operator.share)
    if first is None or second is None:
        return None
    dtype = np.result_type(first[0].dtype, second[0].dtype)
    lower, upper = (a.astype(dtype) + b.astype(dtype) for a, b in zip(first, second, strict=True))
    return lower, upper


def _mix(first: PyTree, second: PyTree, share: Real[Array, ""], absolute: bool = False) -> PyTree:
    shares = jnp.stack([1.0 - share, share])
    shares = jnp.abs(shares) if absolute else shares

    def leaf(a: Array, b: Array) -> Array:
        dtype = np.result_type(a.dtype, b.dtype)
        s = cast(shares, np.finfo(dtype).dtype).astype(dtype)
        return s[0] * a.astype(dtype) + s[1] * b.astype(dtype)

    return jtu.tree_map(leaf, first, second)
