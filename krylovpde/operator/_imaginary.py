"""`i B`: what turns self-adjoint into skew-adjoint, and where on the imaginary axis its spectrum lies."""

import functools as ft

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jaxtyping import Array, Complex, Inexact, PyTree

from .._custom_types import Structure
from ._annotate import AnnotatedOperator
from ._base import AbstractOperator, TransposedOperator
from ._properties import common_weight, is_self_adjoint, is_skew_adjoint, spectral_bound, weight
from ._spectral_interval import Interval, scaled_interval, spectral_interval
from ._tags import self_adjoint_tag, skew_adjoint_tag


class ImaginaryOperator(AbstractOperator):
    r"""`i B`, on complex fields; skew-adjoint where `B` is self-adjoint, and the other way round.

    The state's dtype decides the precision; a real one becomes complex. The leaves are those of `B`: a derivative in
    them is the real one that a derivative of `B` itself would be.
    """

    operator: lx.AbstractLinearOperator

    def __init__(self, operator: lx.AbstractLinearOperator):
        """From `B`, any lineax operator whose `mv` takes complex fields."""
        self.operator = operator

    def mv(self, vector: PyTree[Inexact[Array, "..."]]) -> PyTree[Complex[Array, "..."]]:
        """`i B x`."""
        return jtu.tree_map(times_i, self.operator.mv(vector))

    def transpose(self) -> "ImaginaryOperator":
        """`i Bᵀ`, the plain transpose."""
        return ImaginaryOperator(self.operator.transpose())

    def in_structure(self) -> Structure:
        """That of `B`, complex."""
        return _complex_structure(self.operator.in_structure())

    def out_structure(self) -> Structure:
        """That of `B`, complex."""
        return _complex_structure(self.operator.out_structure())

    @property
    def weight(self) -> PyTree:
        """That of `B`."""
        return weight(self.operator)

    @property
    def spectral_bound(self) -> Array | None:
        """That of `B`."""
        return spectral_bound(self.operator)

    @property
    def tags(self) -> frozenset[object]:
        """Those of `B`, exchanged."""
        skew = {skew_adjoint_tag} if is_self_adjoint(self.operator) else set()
        return frozenset(skew | ({self_adjoint_tag} if is_skew_adjoint(self.operator) else set()))


@ft.singledispatch
def imaginary_interval(operator: lx.AbstractLinearOperator) -> Interval | None:
    """Real numbers `(lower, upper)` with all eigenvalues of a skew-adjoint operator in `i [lower, upper]`, or `None`.

    Known for [`krylovpde.operator.ImaginaryOperator`][]s of self-adjoint operators with a known interval, their scalar
    multiples and sums. With it a polynomial has half the interval of `[-bound, bound]` to cover, where `-iH` has an `H`
    that is positive.

    **Arguments:**

    - `operator`: a linear operator, skew-adjoint in its weight.
    """
    del operator


@imaginary_interval.register(ImaginaryOperator)
def _(operator):
    return spectral_interval(operator.operator) if is_self_adjoint(operator.operator) else None


@imaginary_interval.register(AnnotatedOperator)
@imaginary_interval.register(TransposedOperator)
@imaginary_interval.register(lx.TaggedLinearOperator)
def _(operator):
    return imaginary_interval(operator.operator)


@imaginary_interval.register(lx.NegLinearOperator)
def _(operator):
    return scaled_interval(imaginary_interval(operator.operator), -1.0)


@imaginary_interval.register(lx.MulLinearOperator)
def _(operator):
    return scaled_interval(imaginary_interval(operator.operator), operator.scalar)


@imaginary_interval.register(lx.DivLinearOperator)
def _(operator):
    return scaled_interval(imaginary_interval(operator.operator), 1.0 / operator.scalar)


@imaginary_interval.register(lx.AddLinearOperator)
def _(operator):
    parts = (operator.operator1, operator.operator2)
    first, second = map(imaginary_interval, parts)
    if first is None or second is None or not common_weight(*parts)[0]:
        return None
    dtype = np.result_type(first[0].dtype, second[0].dtype)
    lower, upper = (a.astype(dtype) + b.astype(dtype) for a, b in zip(first, second, strict=True))
    return lower, upper


def times_i(leaf: Array) -> Array:
    """`i x`, without a product."""
    if jnp.iscomplexobj(leaf):
        return jax.lax.complex(-jnp.imag(leaf), jnp.real(leaf))
    return jax.lax.complex(jnp.zeros_like(leaf), leaf)


def _complex_structure(structure: Structure) -> Structure:
    def complexify(leaf):
        return jax.ShapeDtypeStruct(leaf.shape, np.result_type(leaf.dtype, np.complex64))

    return jtu.tree_map(complexify, structure)
