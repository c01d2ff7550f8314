"""What an operator is known to be: weight, spectral bound, adjointness, over lineax's operators and ours.

Single dispatch, as in lineax, so that `A + B`, `2 * A`, `-A`, `A @ B` answer from their parts and a user can register a
class of their own. `is_self_adjoint` and `is_skew_adjoint` answer statically; nothing is ever guessed from numbers.
"""

import functools as ft

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jaxtyping import PyTree

from ._base import AbstractOperator, TransposedOperator, is_real_structure, reciprocal_weight
from ._tags import self_adjoint_tag, skew_adjoint_tag

_LEAF_OPERATORS = (
    lx.MatrixLinearOperator,
    lx.PyTreeLinearOperator,
    lx.JacobianLinearOperator,
    lx.FunctionLinearOperator,
)
_DIAGONAL_OPERATORS = (lx.DiagonalLinearOperator, lx.IdentityLinearOperator)
_SCALED_OPERATORS = (lx.MulLinearOperator, lx.DivLinearOperator)


# ---- weight


@ft.singledispatch
def weight(operator: lx.AbstractLinearOperator) -> PyTree:
    """The diagonal `M` of the inner product `conj(x)·M·y` in which the operator's tags hold.

    **Arguments:**

    - `operator`: a linear operator.

    **Returns:**

    A pytree of real arrays like the operator's input, or `None` for the Euclidean product (also if unknown).
    """
    del operator


@weight.register(AbstractOperator)
def _(operator):
    return operator.weight


@weight.register(TransposedOperator)
def _(operator):
    return reciprocal_weight(weight(operator.operator))


@weight.register(lx.NegLinearOperator)
@weight.register(lx.MulLinearOperator)
@weight.register(lx.DivLinearOperator)
def _(operator):
    return weight(operator.operator)


@weight.register(lx.TaggedLinearOperator)
def _(operator):
    # lineax's tags are about the Euclidean product: they count where the operator itself is at home there.
    return weight(operator.operator)


@weight.register(lx.AddLinearOperator)
def _(operator):
    return common_weight(operator.operator1, operator.operator2)[1]


@weight.register(lx.ComposedLinearOperator)
def _(operator):
    return common_weight(operator.operator1, operator.operator2)[1]


def common_weight(first: lx.AbstractLinearOperator, second: lx.AbstractLinearOperator) -> tuple[bool, PyTree]:
    """Whether two operators share an inner product, and its weight (`None` where they do not).

    They share it where both are Euclidean, where the weights are the same object, where both are concrete NumPy arrays
    of equal numbers, and where one of the operators is diagonal, which is at home in any diagonal weight. Traced
    weights are not compared: the answer must be static.
    """
    if lx.is_diagonal(first):
        return True, weight(second)
    if lx.is_diagonal(second):
        return True, weight(first)
    weight1, weight2 = weight(first), weight(second)
    agree = _equal_weights(weight1, weight2)
    return agree, weight1 if agree else None


def _equal_weights(weight1: PyTree, weight2: PyTree) -> bool:
    if weight1 is None or weight2 is None:
        return weight1 is weight2
    if jtu.tree_structure(weight1) != jtu.tree_structure(weight2):
        return False

    def equal(leaf1, leaf2) -> bool:
        if leaf1 is leaf2:
            return True
        concrete = isinstance(leaf1, np.ndarray) and isinstance(leaf2, np.ndarray)
        return concrete and leaf1.shape == leaf2.shape and bool(np.all(leaf1 == leaf2))

    return all(map(equal, jtu.tree_leaves(weight1), jtu.tree_leaves(weight2)))


# ---- self-adjoint and skew-adjoint


@ft.singledispatch
def is_self_adjoint(operator: lx.AbstractLinearOperator) -> bool:
    """Whether `<x, A y> = <A x, y>` in the operator's weight is known (told by tags, or true by construction).

    **Arguments:**

    - `operator`: a linear operator.

    **Returns:**

    `True` or `False`, statically. lineax's `symmetric_tag` counts for real operators, its semidefinite tags (Hermitian
    by lineax's definition) for all.
    """
    del operator
    return False


@ft.singledispatch
def is_skew_adjoint(operator: lx.AbstractLinearOperator) -> bool:
    """Whether `<x, A y> = -<A x, y>` in the operator's weight is known (told by tags, or true by construction).

    **Arguments:**

    - `operator`: a linear operator.

    **Returns:**

    `True` or `False`, statically.
    """
    del operator
    return False


@is_self_adjoint.register(AbstractOperator)
def _(operator):
    return self_adjoint_tag in operator.tags


@is_skew_adjoint.register(AbstractOperator)
def _(operator):
    return skew_adjoint_tag in operator.tags


def _self_adjoint_by_tags(tags: frozenset[object], real: bool) -> bool:
    hermitian = {self_adjoint_tag, lx.positive_semidefinite_tag, lx.negative_semidefinite_tag} & tags
    symmetric = {lx.symmetric_tag, lx.diagonal_tag} & tags
    return bool(hermitian) or (bool(symmetric) and real)


for _class in _LEAF_OPERATORS:

    @is_self_adjoint.register(_class)
    def _(operator):
        tags = operator.tags
        return bool(tags) and _self_adjoint_by_tags(tags, _is_real(operator))

    @is_skew_adjoint.register(_class)
    def _(operator):
        return skew_adjoint_tag in operator.tags


@is_self_adjoint.register(lx.DiagonalLinearOperator)
def _(operator):
    return _is_real(operator)


@is_self_adjoint.register(lx.IdentityLinearOperator)
def _(operator):
    return eqx.tree_equal(operator.in_structure(), operator.out_structure()) is True


@is_self_adjoint.register(TransposedOperator)
def _(operator):
    return is_self_adjoint(operator.operator)


@is_skew_adjoint.register(TransposedOperator)
def _(operator):
    return is_skew_adjoint(operator.operator)


@is_self_adjoint.register(lx.TaggedLinearOperator)
def _(operator):
    euclidean = weight(operator.operator) is None
    told = euclidean and _self_adjoint_by_tags(operator.tags, _is_real(operator))
    return told or is_self_adjoint(operator.operator)


@is_skew_adjoint.register(lx.TaggedLinearOperator)
def _(operator):
    told = weight(operator.operator) is None and skew_adjoint_tag in operator.tags
    return told or is_skew_adjoint(operator.operator)


for _check in (is_self_adjoint, is_skew_adjoint):

    @_check.register(lx.NegLinearOperator)
    def _(operator, check=_check):
        return check(operator.operator)

    @_check.register(lx.MulLinearOperator)
    @_check.register(lx.DivLinearOperator)
    def _(operator, check=_check):
        return not jnp.iscomplexobj(operator.scalar) and check(operator.operator)

    @_check.register(lx.AddLinearOperator)
    def _(operator, check=_check):
        both = check(operator.operator1) and check(operator.operator2)
        return both and common_weight(operator.operator1, operator.operator2)[0]


@is_self_adjoint.register(lx.ComposedLinearOperator)
def _(operator):
    # Products of self-adjoint operators are self-adjoint where they commute: known here for diagonal ones.
    parts = (operator.operator1, operator.operator2)
    return all(lx.is_diagonal(part) and is_self_adjoint(part) for part in parts)


def _is_real(operator) -> bool:
    return is_real_structure(operator.in_structure(), operator.out_structure())


# ---- spectral bound


@ft.singledispatch
def spectral_bound(operator: lx.AbstractLinearOperator) -> jax.Array | None:
    """A real scalar that is never below the operator's spectral radius, or `None` where none is known.

    **Arguments:**

    - `operator`: a linear operator.

    **Returns:**

    For matrices `sqrt(‖A‖₁ ‖A‖∞)`, which bounds the 2-norm; sums add the bounds of their parts where these share an
    inner product (bounds of norms add, spectral radii need not); scalings and products multiply; `None` for functions
    and Jacobians, which a [`krylovpde.annotate`][] can tell.
    """
    del operator


@spectral_bound.register(AbstractOperator)
def _(operator):
    return operator.spectral_bound


@spectral_bound.register(TransposedOperator)
def _(operator):
    return spectral_bound(operator.operator)


@spectral_bound.register(lx.MatrixLinearOperator)
@spectral_bound.register(lx.PyTreeLinearOperator)
def _(operator):
    # Both hold all their entries already, so looking at each of them costs no more than one application.
    entries = jnp.abs(operator.as_matrix())
    return jnp.sqrt(jnp.max(entries.sum(axis=0)) * jnp.max(entries.sum(axis=1)))


@spectral_bound.register(lx.TridiagonalLinearOperator)
def _(operator):
    main, lower, upper = (
        jnp.abs(part) for part in (operator.diagonal, operator.lower_diagonal, operator.upper_diagonal)
    )
    rows = main + jnp.pad(lower, (1, 0)) + jnp.pad(upper, (0, 1))
    columns = main + jnp.pad(lower, (0, 1)) + jnp.pad(upper, (1, 0))
    return jnp.sqrt(jnp.max(rows) * jnp.max(columns))


@spectral_bound.register(lx.DiagonalLinearOperator)
def _(operator):
    return _largest([jnp.max(jnp.abs(leaf)) for leaf in jtu.tree_leaves(operator.diagonal)])


@spectral_bound.register(lx.IdentityLinearOperator)
def _(operator):
    dtypes = [np.finfo(leaf.dtype).dtype for leaf in jtu.tree_leaves(operator.in_structure())]
    return jnp.ones((), np.result_type(*dtypes))


@spectral_bound.register(lx.NegLinearOperator)
@spectral_bound.register(lx.TaggedLinearOperator)
def _(operator):
    return spectral_bound(operator.operator)


@spectral_bound.register(lx.MulLinearOperator)
def _(operator):
    return _rescale(jnp.multiply, spectral_bound(operator.operator), operator.scalar)


@spectral_bound.register(lx.DivLinearOperator)
def _(operator):
    return _rescale(jnp.divide, spectral_bound(operator.operator), operator.scalar)


@spectral_bound.register(lx.AddLinearOperator)
def _(operator):
    return _combine_parts(jnp.add, operator)


@spectral_bound.register(lx.ComposedLinearOperator)
def _(operator):
    return _combine_parts(jnp.multiply, operator)


def _combine_parts(function, operator):
    shared, _ = common_weight(operator.operator1, operator.operator2)
    if not shared:
        return None
    return _combine(function, spectral_bound(operator.operator1), spectral_bound(operator.operator2))


def _rescale(function, bound, scalar):
    if bound is None:
        return None
    bound = jnp.asarray(bound)
    return function(bound, jnp.abs(scalar).astype(bound.dtype))


def _combine(function, first, second):
    if first is None or second is None:
        return None
    first, second = jnp.asarray(first), jnp.asarray(second)
    dtype = np.result_type(first.dtype, second.dtype)
    return function(first.astype(dtype), second.astype(dtype))


def _largest(numbers):
    dtype = np.result_type(*(number.dtype for number in numbers))
    return jnp.max(jnp.stack([number.astype(dtype) for number in numbers]))
