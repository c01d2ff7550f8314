"""The linear operator of this package: lineax's, plus the inner product that it is at home in."""

from typing import Any

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jaxtyping import Array, Inexact, PyTree

from .._custom_types import Structure


class AbstractOperator(lx.AbstractLinearOperator):
    r"""A linear operator `A` between pytrees of arrays that knows its inner product.

    A concrete operator gives `mv`, `in_structure`, `out_structure` and the three attributes

    - `weight`: the diagonal `M` of the inner product `<x, y> = conj(x)·M·y`, a pytree of real positive arrays like the
        input, or `None` for the Euclidean product. NumPy arrays where it does not depend on parameters. It is a
        constant to every derivative.
    - `spectral_bound`: a real scalar that is never below the spectral radius, or `None` where none is known. Operators
        whose bounds are added should give a bound of their norm in the weight (for self- and skew-adjoint operators
        the two are the same), because norms add and spectral radii do not.
    - `tags`: a frozenset of [`krylovpde.self_adjoint_tag`][], [`krylovpde.skew_adjoint_tag`][].

    In return it is a `lineax.AbstractLinearOperator` in every respect: it adds, scales and composes, and every
    function that lineax dispatches on operators is registered for this class. `transpose` and `as_matrix` have
    defaults. The state's dtype decides: `mv` casts the operator's coefficients to the precision of its argument.
    """

    weight: eqx.AbstractVar[Any]
    spectral_bound: eqx.AbstractVar[Any]
    tags: eqx.AbstractVar[frozenset[object]]

    def transpose(self) -> lx.AbstractLinearOperator:
        """The plain (bilinear) transpose, `y · A x = Aᵀ y · x`: never conjugated.

        Self-adjoint in `M` means that `Aᵀ = M conj(A) M⁻¹`, so the transpose is self-adjoint in `M⁻¹`.
        """
        return TransposedOperator(self)

    def as_matrix(self) -> Inexact[Array, "rows columns"]:
        """The dense matrix: `in_size` applications and `in_size × out_size` numbers. For tests and tiny problems."""
        flat, unravel = jfu.ravel_pytree(zeros_like_structure(self.in_structure()))

        def column(unit):
            return jfu.ravel_pytree(self.mv(unravel(unit)))[0]

        return jax.vmap(column, out_axes=1)(jnp.eye(flat.size, dtype=flat.dtype))


class TransposedOperator(AbstractOperator):
    """`Aᵀ` of an operator whose author wrote no transpose: `jax.linear_transpose` of its `mv`.

    Weight, bound and tags follow from those of `A`: with `N = M^{1/2} A M^{-1/2}`, `Aᵀ` is `Nᵀ` in the weight `1/M`.
    """

    operator: lx.AbstractLinearOperator

    def __init__(self, operator: lx.AbstractLinearOperator):
        self.operator = operator

    def mv(self, vector: PyTree[Inexact[Array, "..."]]) -> PyTree[Inexact[Array, "..."]]:
        """`Aᵀ y`."""
        # The state's dtype decides, so the structure of A's input is taken in the precision of `vector`.
        structure = match_precision(self.operator.in_structure(), vector)
        (result,) = jax.linear_transpose(self.operator.mv, structure)(vector)
        return result

    def transpose(self) -> lx.AbstractLinearOperator:
        """`A` itself."""
        return self.operator

    def in_structure(self) -> Structure:
        """The output structure of `A`."""
        return self.operator.out_structure()

    def out_structure(self) -> Structure:
        """The input structure of `A`."""
        return self.operator.in_structure()

    @property
    def weight(self):
        """`1/M`."""
        return reciprocal_weight(getattr(self.operator, "weight", None))

    @property
    def spectral_bound(self):
        """That of `A`."""
        return getattr(self.operator, "spectral_bound", None)

    @property
    def tags(self) -> frozenset[object]:
        """Those of `A`."""
        return getattr(self.operator, "tags", frozenset())


def reciprocal_weight(weight: PyTree) -> PyTree:
    """The weight of the transpose: `1/M`, or `None` for the Euclidean product."""
    return None if weight is None else jtu.tree_map(lambda leaf: 1.0 / leaf, weight)


def zeros_like_structure(structure: Structure) -> PyTree[Array]:
    """A field of zeros."""
    return jtu.tree_map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), structure)


def is_real_structure(*structures: Structure) -> bool:
    """Whether no leaf is complex."""
    return not any(jnp.issubdtype(leaf.dtype, jnp.complexfloating) for leaf in jtu.tree_leaves(structures))


def match_precision(structure: Structure, vector: PyTree[Array]) -> Structure:
    """`structure` in the precision of `vector`, complex where either is."""
    dtype = np.result_type(*(leaf.dtype for leaf in jtu.tree_leaves(vector)))
    real = np.finfo(dtype).dtype

    def cast(leaf):
        is_complex = any(jnp.issubdtype(d, jnp.complexfloating) for d in (leaf.dtype, dtype))
        return jax.ShapeDtypeStruct(leaf.shape, np.result_type(real, np.complex64) if is_complex else real)

    return jtu.tree_map(cast, structure)


def real_dtype(structure: Structure) -> np.dtype:
    """The real dtype of the precision of a structure."""
    return np.finfo(np.result_type(*(leaf.dtype for leaf in jtu.tree_leaves(structure)))).dtype
