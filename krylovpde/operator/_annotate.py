"""`annotate`: what a user knows about an operator, told once."""

from collections.abc import Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Inexact, PyTree

from .._custom_types import Structure
from ..grid import broadcasts_to
from ._base import AbstractOperator, real_dtype, reciprocal_weight
from ._properties import is_self_adjoint, is_skew_adjoint, spectral_bound as spectral_bound_of, weight as weight_of
from ._tags import STRUCTURE_TAGS, self_adjoint_tag, skew_adjoint_tag


class AnnotatedOperator(AbstractOperator):
    """An operator with tags, weight or spectral bound told by [`krylovpde.annotate`][]; it acts like the original."""

    operator: lx.AbstractLinearOperator
    told_tags: frozenset[object] = eqx.field(static=True)
    told_weight: Any
    told_bound: Any

    def __init__(self, operator: lx.AbstractLinearOperator, tags: frozenset[object], weight: Any, bound: Any):
        self.operator = operator
        self.told_tags = tags
        self.told_weight = weight
        self.told_bound = bound

    def mv(self, vector: PyTree[Inexact[Array, "..."]]) -> PyTree[Inexact[Array, "..."]]:
        """`A x`."""
        return self.operator.mv(vector)

    def transpose(self) -> lx.AbstractLinearOperator:
        """`Aᵀ`, with what follows for it: the tags hold in `1/M`, the bound is the same."""
        transposed, reciprocal = self.operator.transpose(), reciprocal_weight(self.told_weight)
        return AnnotatedOperator(transposed, self.told_tags, reciprocal, self.told_bound)

    def as_matrix(self) -> Inexact[Array, "rows columns"]:
        """The dense matrix."""
        return self.operator.as_matrix()

    def in_structure(self) -> Structure:
        """That of the original."""
        return self.operator.in_structure()

    def out_structure(self) -> Structure:
        """That of the original."""
        return self.operator.out_structure()

    @property
    def weight(self) -> PyTree:
        """The weight that was told, or else the operator's own."""
        return weight_of(self.operator) if self.told_weight is None else self.told_weight

    @property
    def spectral_bound(self) -> Any:
        """The bound that was told, or else the operator's own."""
        if self.told_bound is None:
            return spectral_bound_of(self.operator)
        return jnp.asarray(self.told_bound).astype(real_dtype(self.in_structure()))

    @property
    def tags(self) -> frozenset[object]:
        """The tags that were told, and the operator's own where its weight was kept."""
        if self.told_weight is not None:
            return self.told_tags
        own = {self_adjoint_tag: is_self_adjoint, skew_adjoint_tag: is_skew_adjoint}
        return self.told_tags | {tag for tag, check in own.items() if check(self.operator)}


_functions: tuple[Any, ...] = (
    lx.is_diagonal,
    lx.is_tridiagonal,
    lx.has_unit_diagonal,
    lx.is_lower_triangular,
    lx.is_upper_triangular,
    lx.is_positive_semidefinite,
    lx.is_negative_semidefinite,
    lx.diagonal,
    lx.tridiagonal,
    lx.materialise,
)
for _function in _functions:

    @_function.register(AnnotatedOperator)
    def _(operator, function=_function):
        return function(operator.operator)


@lx.linearise.register(AnnotatedOperator)
def _(operator):
    inner = lx.linearise(operator.operator)
    return AnnotatedOperator(inner, operator.told_tags, operator.told_weight, operator.told_bound)


def annotate(
    operator: lx.AbstractLinearOperator,
    *,
    tags: object | Iterable[object] = (),
    weight: PyTree[ArrayLike] | None = None,
    spectral_bound: ArrayLike | None = None,
) -> AnnotatedOperator:
    """Tells what is known about an operator, so that the method can use it.

    Nothing is checked here beyond shapes: `kp.verify.structure_test` holds tags and bound against random vectors.

    **Arguments:**

    - `operator`: any lineax operator.
    - `tags`: `kp.self_adjoint_tag`, `kp.skew_adjoint_tag` or both names' lineax relatives (`lx.symmetric_tag`,
        `lx.positive_semidefinite_tag`, ...); one tag or several.
    - `weight`: the diagonal `M > 0` of the inner product `conj(x)·M·y` in which the tags hold: a pytree like the
        operator's input, of real numbers or arrays that broadcast to its leaves. `None` keeps the operator's own.
    - `spectral_bound`: a number that is never below the spectral radius. Too small a bound makes a Chebyshev method
        diverge; one too large costs time. `None` keeps the operator's own.

    **Returns:**

    A linear operator that acts as `operator` does.

    **Raises:**

    `TypeError` for something that is not a lineax operator; `ValueError` for an unknown tag, tags on an operator that
    is not square, a weight of another shape or (where its numbers are known) not positive, a negative bound.
    """
    if not isinstance(operator, lx.AbstractLinearOperator):
        message = (
            f"`annotate(operator, ...)` takes a lineax linear operator, got {type(operator).__name__}. Wrap a function "
            "in `lineax.FunctionLinearOperator`, a dense matrix in `lineax.MatrixLinearOperator`, a SciPy sparse "
            "matrix in `krylovpde.SparseOperator.from_scipy`."
        )
        raise TypeError(message)
    ours, theirs = _split_tags(tags)
    if (ours or theirs) and _shapes(operator.in_structure()) != _shapes(operator.out_structure()):
        message = (
            f"`annotate(tags=...)`: {sorted(map(repr, ours | theirs))} need a square operator, but this one maps "
            f"{operator.in_structure()} to {operator.out_structure()}."
        )
        raise ValueError(message)
    if theirs:
        operator = lx.TaggedLinearOperator(operator, theirs)
    told_weight = None if weight is None else _checked_weight(weight, operator.in_structure())
    told_bound = None if spectral_bound is None else _checked_bound(spectral_bound)
    return AnnotatedOperator(operator, ours, told_weight, told_bound)


def _split_tags(tags: object) -> tuple[frozenset[object], frozenset[object]]:
    told = frozenset(tags) if isinstance(tags, Iterable) else frozenset([tags])
    known = {
        lx.symmetric_tag,
        lx.diagonal_tag,
        lx.tridiagonal_tag,
        lx.unit_diagonal_tag,
        lx.lower_triangular_tag,
        lx.upper_triangular_tag,
        lx.positive_semidefinite_tag,
        lx.negative_semidefinite_tag,
    }
    unknown = told - STRUCTURE_TAGS - known
    if unknown:
        message = (
            f"`annotate(tags=...)`: unknown tag {', '.join(sorted(map(repr, unknown)))}. Use kp.self_adjoint_tag,"
            " kp.skew_adjoint_tag or lineax's tags."
        )
        raise ValueError(message)
    return told & STRUCTURE_TAGS, told & known


def _shapes(structure: Structure) -> list[tuple[int, ...]]:
    return [leaf.shape for leaf in jtu.tree_leaves(structure)]


def _checked_weight(weight: PyTree[ArrayLike], structure: Structure) -> PyTree:
    if jtu.tree_structure(weight) != jtu.tree_structure(structure):
        message = (
            f"`annotate(weight=...)` must be a pytree like the operator's input: expected "
            f"{jtu.tree_structure(structure)}, got {jtu.tree_structure(weight)}."
        )
        raise ValueError(message)

    def checked(leaf: ArrayLike, like: jax.ShapeDtypeStruct):
        concrete = not isinstance(leaf, jax.Array)
        leaf = np.asarray(leaf) if concrete else leaf
        if jnp.iscomplexobj(leaf) or not broadcasts_to(leaf.shape, like.shape):
            message = f"`annotate(weight=...)` must be real of shape {like.shape}, got {leaf.dtype} of {leaf.shape}."
            raise ValueError(message)
        if concrete and not np.all(leaf > 0):
            message = f"`annotate(weight=...)` must be positive, its smallest entry is {leaf.min()}."
            raise ValueError(message)
        dtype = np.finfo(like.dtype).dtype
        numpy = np if concrete else jnp
        return numpy.broadcast_to(leaf.astype(dtype), like.shape)

    return jtu.tree_map(checked, weight, structure)


def _checked_bound(bound: ArrayLike):
    bound = jnp.asarray(bound)
    if bound.shape != () or jnp.iscomplexobj(bound):
        message = f"`annotate(spectral_bound=...)` must be one real number, got {bound.dtype} of shape {bound.shape}."
        raise ValueError(message)
    if not isinstance(bound, Tracer) and not bound >= 0:
        message = f"`annotate(spectral_bound=...)` must not be negative, got {bound}."
        raise ValueError(message)
    return bound.astype(jnp.result_type(float)) if not jnp.issubdtype(bound.dtype, jnp.floating) else bound
