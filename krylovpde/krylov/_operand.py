"""From a user's operator and vector to what the iterations need: one dtype, and arrays apart from the rest."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jaxtyping import Array, ArrayLike, Inexact, PyTree

from .._custom_types import Structure, Weight
from ..operator import AbstractOperator, AnnotatedOperator, weight as weight_of
from ._space import add, scale


def checked_operator(operator: Any, name: str) -> lx.AbstractLinearOperator:
    """The operator, if it is one and is square."""
    if not isinstance(operator, lx.AbstractLinearOperator):
        message = (
            f"`{name}(operator, ...)` takes a lineax linear operator, got {type(operator).__name__}. Wrap a function "
            "in `lineax.FunctionLinearOperator`, a dense matrix in `lineax.MatrixLinearOperator`, a SciPy sparse "
            "matrix in `krylovpde.SparseOperator.from_scipy`."
        )
        raise TypeError(message)
    if not _same_shapes(operator.in_structure(), operator.out_structure()):
        message = (
            f"`{name}(operator, ...)` needs a square operator, got one that maps {operator.in_structure()} to "
            f"{operator.out_structure()}."
        )
        raise ValueError(message)
    return operator


def checked_vector(
    operator: lx.AbstractLinearOperator, vector: PyTree[ArrayLike], name: str
) -> PyTree[Inexact[Array, "..."]]:
    """The vector as arrays of one inexact dtype, complex where it or the operator is.

    The vector's precision decides; integers take the operator's.
    """
    structure = operator.in_structure()
    if not _same_shapes(structure, vector):
        found = jtu.tree_map(_shape, vector)
        message = (
            f"`{name}(..., vector)` must be like the operator's input, {structure}; got a pytree of shapes {found}."
        )
        raise ValueError(message)
    dtypes = []
    for leaf, like in zip(jtu.tree_leaves(vector), jtu.tree_leaves(structure), strict=True):
        dtype = jnp.result_type(leaf)
        dtypes.append(dtype if jnp.issubdtype(dtype, jnp.inexact) else like.dtype)
    precision = jnp.finfo(np.result_type(*dtypes)).dtype
    everything = (*dtypes, *(leaf.dtype for leaf in jtu.tree_leaves((structure, operator.out_structure()))))
    is_complex = any(jnp.issubdtype(dtype, jnp.complexfloating) for dtype in everything)
    dtype = np.result_type(precision, np.complex64) if is_complex else precision
    return jtu.tree_map(lambda leaf: jnp.asarray(leaf).astype(dtype), vector)


def matching_weight(operator: lx.AbstractLinearOperator, vector: PyTree[Array]) -> Weight:
    """The operator's weight, as arrays of the vector's shapes and precision."""
    weight = weight_of(operator)
    if weight is None:
        return None

    def match(leaf: ArrayLike, like: Array) -> Array:
        return jnp.broadcast_to(jnp.asarray(leaf).astype(jnp.finfo(like.dtype).dtype), like.shape)

    return jtu.tree_map(match, weight, vector)


def split(operator: lx.AbstractLinearOperator) -> tuple[PyTree, PyTree, PyTree]:
    """Parameters (inexact arrays, differentiable), other arrays (indices, keys), and the rest (static).

    JAX's rules for derivatives take arrays as arguments only, and refuse to close over a tracer. So an operator is
    taken apart before such a rule and put together (`eqx.combine`) inside it: a parameter that a user's function has
    closed over is a leaf of `lineax.FunctionLinearOperator`, hence an argument, and keeps its gradient.
    """
    parameters, others = eqx.partition(operator, eqx.is_inexact_array)
    arrays, rest = eqx.partition(others, eqx.is_array)
    return parameters, arrays, rest


def apply(operator: lx.AbstractLinearOperator, vector: PyTree[Array]) -> PyTree[Array]:
    """`A x` in the dtype of `x`, whatever the dtype that the operator was made in.

    lineax's operators refuse a vector of another dtype than their own (under strict promotion), so they get their own.
    A real operator is applied to the real and imaginary parts of a complex vector: two applications, and never a
    silent loss of the imaginary part.
    """
    structure = operator.in_structure()
    pairs = zip(jtu.tree_leaves(vector), jtu.tree_leaves(structure), strict=True)
    if any(jnp.iscomplexobj(leaf) and not jnp.issubdtype(like.dtype, jnp.complexfloating) for leaf, like in pairs):
        real = apply(operator, jtu.tree_map(jnp.real, vector))
        imaginary = apply(operator, jtu.tree_map(jnp.imag, vector))
        return _cast(add(real, scale(1j, imaginary)), vector)
    given = vector if _takes_any_precision(operator) else _cast(vector, structure)
    return _cast(operator.mv(given), vector, keep_complex=True)


def _takes_any_precision(operator: lx.AbstractLinearOperator) -> bool:
    # Ours cast their coefficients to the state's precision; an annotated foreign one does what the foreign one does.
    if isinstance(operator, AnnotatedOperator):
        return _takes_any_precision(operator.operator)
    return isinstance(operator, AbstractOperator)


def _cast(values: PyTree[Array], like: PyTree, *, keep_complex: bool = False) -> PyTree[Array]:
    def cast(leaf: Array, leaf_like: Array | jax.ShapeDtypeStruct) -> Array:
        dtype = leaf_like.dtype
        if keep_complex and jnp.iscomplexobj(leaf):
            dtype = np.result_type(dtype, np.complex64)
        return leaf.astype(dtype)

    return jtu.tree_map(cast, values, like)


def _same_shapes(first: Structure, second: PyTree) -> bool:
    if jtu.tree_structure(first) != jtu.tree_structure(second):
        return False
    pairs = zip(jtu.tree_leaves(first), jtu.tree_leaves(second), strict=True)
    return all(_shape(a) == _shape(b) for a, b in pairs)


def _shape(leaf: Any) -> tuple[int, ...]:
    return leaf.shape if hasattr(leaf, "shape") else np.shape(leaf)
