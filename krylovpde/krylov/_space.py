"""The vector space in which Krylov methods work: pytrees of arrays with a diagonal inner product.

    <x, y> = sum over leaves and entries of  conj(x) · M · y,      M a diagonal weight (None: the identity)

Fields keep their shapes. A *basis* is a pytree like the vector whose every leaf has one more, leading, axis.
Contractions are `dot_general`s over the field's own axes: on a sharded field they compile to a local product and one
all-reduce, where a ravel to one dimension would gather the field.

Precision rule, strict about promotion: a coefficient or weight is cast to the precision of the leaf that it meets, so
float32 fields stay float32 beside float64 scalars. The one promotion is real with complex.
"""

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Bool, Float, Inexact, PyTree

from .._custom_types import Weight

_HIGHEST = jax.lax.Precision.HIGHEST  # float32 products on a GPU may otherwise be rounded to ten bits


def _common(first: Array, second: Array) -> tuple[Array, Array]:
    dtype = np.result_type(first.dtype, second.dtype)
    return first.astype(dtype), second.astype(dtype)


def _contract(first: Array, second: Array, axes_first: range, axes_second: range) -> Array:
    first, second = _common(first, second)
    return jax.lax.dot_general(first, second, ((axes_first, axes_second), ((), ())), precision=_HIGHEST)


def _sum_leaves(terms: list[Array]) -> Array:
    total = terms[0]
    for term in terms[1:]:
        total = jnp.add(*_common(total, term))
    return total


def _meet(coefficient, leaf: Array) -> tuple[Array, Array]:
    """A scalar and a leaf in the leaf's precision; a complex scalar makes a real leaf complex."""
    coefficient = jnp.asarray(coefficient)
    real = jnp.finfo(leaf.dtype).dtype
    if jnp.iscomplexobj(coefficient) or jnp.iscomplexobj(leaf):
        target = np.result_type(real, np.complex64)
        # A real coefficient stays real: casting it to complex would double the work of the product.
        kind = target if jnp.iscomplexobj(coefficient) else real
        return coefficient.astype(kind), leaf.astype(target)
    return coefficient.astype(real), leaf


def _multiply(coefficient, leaf: Array) -> Array:
    coefficient, leaf = _meet(coefficient, leaf)
    if jnp.iscomplexobj(leaf) and not jnp.iscomplexobj(coefficient):
        return jax.lax.complex(coefficient * leaf.real, coefficient * leaf.imag)
    return coefficient * leaf


def weighted(x: PyTree[Array], weight: Weight) -> PyTree[Array]:
    """`M x`, for a diagonal weight given as a pytree like `x` (or None for the identity)."""
    if weight is None:
        return x
    return jtu.tree_map(lambda leaf, w: _multiply(w, leaf), x, weight)


def inner(x: PyTree[Array], y: PyTree[Array], weight: Weight = None) -> Inexact[Array, ""]:
    """`conj(x)·M·y`, a scalar: conjugate-linear in the first argument."""
    pairs = zip(jtu.tree_leaves(x), jtu.tree_leaves(weighted(y, weight)), strict=True)
    return _sum_leaves([_contract(jnp.conj(a), b, range(a.ndim), range(b.ndim)) for a, b in pairs])


def norm(x: PyTree[Array], weight: Weight = None) -> Float[Array, ""]:
    """`sqrt(conj(x)·M·x)`, safe from the overflow and underflow of the squares, with zero derivative at `x = 0`.

    In single precision the square of anything below 1e-19 vanishes: heat that diffuses through the Earth's mantle, in
    seconds and metres, would be taken for a breakdown. The sum of squares is therefore taken twice, the second time of
    the field times a power of two that the first one chooses (the usual guard by the largest entry is slower: a
    maximum is not a dot product, and made a Lanczos step 45 % longer, this 20 %).
    """
    limits = jnp.finfo(common_dtype(x))
    # Squares are accurate as long as their sum is far from both ends of the range: between lower and 1 / lower.
    lower = float(limits.tiny) ** (2 / 3)
    # The square of the lift stays finite: XLA may take it out of the sum, and of a constant zero would make inf · 0.
    lift, drop = 2.0 ** (limits.maxexp // 2 - 1), 2.0 ** -(limits.maxexp // 2 + limits.maxexp // 10)
    first = jax.lax.stop_gradient(_sum_of_squares(x, weight))
    factor = jnp.where(first < lower, lift, jnp.where(first > 1.0 / lower, drop, 1.0)).astype(first.dtype)
    square = _sum_of_squares(scale(factor, x), weight)
    is_zero = square == 0.0
    root = jnp.sqrt(jnp.where(is_zero, jnp.ones_like(square), square)) / factor
    return jnp.where(is_zero, jnp.zeros_like(root), root)


def _sum_of_squares(x: PyTree[Array], weight: Weight) -> Float[Array, ""]:
    return jnp.real(inner(x, x, weight))


def common_dtype(x: PyTree[Array]) -> np.dtype:
    """The dtype of the inner products of a vector."""
    return np.result_type(*(leaf.dtype for leaf in jtu.tree_leaves(x)))


def project(basis: PyTree[Array], x: PyTree[Array], weight: Weight = None) -> Inexact[Array, " m"]:
    """The coefficients `conj(q_i)·M·x`, shape `(m,)`: one matrix–vector product, one reduction."""
    # conj(q)·a = conj(q·conj(a)): the vector is conjugated, never the basis, which would be copied for it.
    pairs = zip(jtu.tree_leaves(basis), jtu.tree_leaves(conjugate(weighted(x, weight))), strict=True)
    return jnp.conj(_sum_leaves([_contract(q, a, range(1, q.ndim), range(a.ndim)) for q, a in pairs]))


def combine(basis: PyTree[Array], coefficients: Inexact[Array, " m"]) -> PyTree[Array]:
    """`sum_i c_i q_i`, in the precision of the basis."""

    def leaf_combination(rows: Array) -> Array:
        coefficients_here, rows = _meet(coefficients, rows)
        return _contract(coefficients_here, rows, range(1), range(1))

    return jtu.tree_map(leaf_combination, basis)


def normalise(x: PyTree[Array], length: Float[Array, ""], alive: Bool[Array, ""]) -> PyTree[Array]:
    """`x / length` where `alive`, else zero: with a finite derivative in both cases."""
    divisor = jnp.where(alive, length, jnp.ones_like(length))

    def divide(leaf: Array) -> Array:
        # A division: the reciprocal of a very long vector's length would be flushed to zero.
        return jnp.where(alive, leaf, jnp.zeros_like(leaf)) / divisor.astype(leaf.dtype)

    return jtu.tree_map(divide, x)


def scale(a, x: PyTree[Array]) -> PyTree[Array]:
    """`a x`, in the precision of `x`."""
    return jtu.tree_map(lambda leaf: _multiply(a, leaf), x)


def add(x: PyTree[Array], y: PyTree[Array]) -> PyTree[Array]:
    """`x + y`."""
    return jtu.tree_map(lambda a, b: jnp.add(*_common(a, b)), x, y)


def subtract(x: PyTree[Array], y: PyTree[Array]) -> PyTree[Array]:
    """`x - y`."""
    return jtu.tree_map(lambda a, b: jnp.subtract(*_common(a, b)), x, y)


def axpy(a, x: PyTree[Array], y: PyTree[Array]) -> PyTree[Array]:
    """`a x + y`."""
    return add(scale(a, x), y)


def conjugate(x: PyTree[Array]) -> PyTree[Array]:
    """The complex conjugate of every leaf (of real leaves: themselves)."""
    return jtu.tree_map(jnp.conj, x)


def zeros_basis(vector: PyTree[Array], m: int) -> PyTree[Array]:
    """A basis of `m` zero rows for vectors like `vector`."""
    return jtu.tree_map(lambda leaf: jnp.zeros((m, *leaf.shape), leaf.dtype), vector)


def set_row(basis: PyTree[Array], j, vector: PyTree[Array]) -> PyTree[Array]:
    """The basis with row `j` (which may be traced) replaced."""

    def write(rows: Array, leaf: Array) -> Array:
        return jax.lax.dynamic_update_index_in_dim(rows, leaf.astype(rows.dtype), j, 0)

    return jtu.tree_map(write, basis, vector)


def row(basis: PyTree[Array], j) -> PyTree[Array]:
    """Row `j` (which may be traced) of a basis: a vector."""
    return jtu.tree_map(lambda rows: jax.lax.dynamic_index_in_dim(rows, j, 0, keepdims=False), basis)
