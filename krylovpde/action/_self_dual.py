"""The dual space of an operator that is its own adjoint: a space of the same operator."""

import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jaxtyping import Array, Inexact, PyTree

from .._custom_types import Weight
from ..krylov._space import conjugate, weighted
from ._reduction import Reduction, lift


def self_dual(
    operator: lx.AbstractLinearOperator, weight: Weight, cotangent: PyTree[Array]
) -> tuple[lx.AbstractLinearOperator, Weight, PyTree[Array]]:
    """What to start from: `Aᵀ = ± M conj(A) M⁻¹`, so the space of A from `conj(M⁻¹ g)`, times M and conjugated."""
    reciprocal = None if weight is None else jtu.tree_map(lambda leaf: 1.0 / leaf, weight)
    return operator, weight, conjugate(weighted(cotangent, reciprocal))


def self_dual_lift(weight: Weight, reduction: Reduction, coefficients: Inexact[Array, "*k capacity"]) -> PyTree[Array]:
    """`Σ_j c_j w_j` in the dual basis `w_j = M conj(v_j)`."""
    return weighted(conjugate(lift(reduction, jnp.conj(coefficients))), weight)
