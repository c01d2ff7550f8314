"""The state's dtype decides: how coefficients, geometry and fields meet under strict promotion."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Inexact, PyTree


def is_inexact(leaf: Any) -> bool:
    """Whether a leaf is a floating-point or complex array."""
    return isinstance(leaf, jax.Array | np.ndarray) and jnp.issubdtype(leaf.dtype, jnp.inexact)


def common_precision(*trees: PyTree) -> np.dtype:
    """The real dtype of the widest leaf; weakly typed leaves (from Python numbers) do not count.

    The default floating-point dtype where nothing else is said.
    """
    leaves = [leaf for leaf in jtu.tree_leaves(trees) if is_inexact(leaf)]
    strong = [np.finfo(leaf.dtype).dtype for leaf in leaves if not getattr(leaf, "weak_type", False)]
    return np.result_type(*strong) if strong else np.dtype(jnp.result_type(float))


def cast(leaf: Any, precision: np.dtype) -> Array:
    """An array in the given real precision, complex where it was complex."""
    array = jnp.asarray(leaf)
    dtype = np.result_type(precision, np.complex64) if jnp.iscomplexobj(array) else precision
    return jax.lax.convert_element_type(array, dtype)


def cast_tree(tree: PyTree, precision: np.dtype) -> PyTree:
    """A pytree with all its floating-point leaves in one precision."""
    return jtu.tree_map(lambda leaf: cast(leaf, precision) if is_inexact(leaf) else leaf, tree)


def state_dtype(leaves: list[Any]) -> np.dtype:
    """The dtype of an operator's input: that of its coefficients, in one precision, complex if one of them is."""
    precision = common_precision(leaves)
    is_complex = any(jnp.iscomplexobj(leaf) for leaf in leaves)
    return np.result_type(precision, np.complex64) if is_complex else precision


def apply_in_precision(
    function: Callable[[PyTree, Inexact[Array, "..."]], Inexact[Array, "..."]],
    coefficients: PyTree,
    u: Inexact[Array, "..."],
) -> Inexact[Array, "..."]:
    """`function(coefficients, u)`, bilinear, in the precision of `u`.

    Real coefficients act on the real and the imaginary part of a complex field: half the multiplications, and the plain
    transpose of the whole is still the plain transpose.
    """
    coefficients = cast_tree(coefficients, np.finfo(u.dtype).dtype)
    complex_coefficients = any(map(jnp.iscomplexobj, jtu.tree_leaves(coefficients)))
    if complex_coefficients:
        u = u.astype(np.result_type(u.dtype, np.complex64))
        coefficients = jtu.tree_map(lambda leaf: leaf.astype(u.dtype), coefficients)
        return function(coefficients, u)
    if jnp.iscomplexobj(u):
        return jax.lax.complex(function(coefficients, jnp.real(u)), function(coefficients, jnp.imag(u)))
    return function(coefficients, u)


def add_in_precision(first: PyTree, second: PyTree) -> PyTree:
    """`first + second` leaf by leaf, in the precision of `first`, complex where either is."""

    def add(a: Array, b: Array) -> Array:
        b = cast(b, np.finfo(a.dtype).dtype)
        dtype = np.result_type(a.dtype, b.dtype)
        return a.astype(dtype) + b.astype(dtype)

    return jtu.tree_map(add, first, second)
