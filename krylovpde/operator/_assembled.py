"""`-M⁻¹ K` of an assembled pair: a stiffness matrix and a lumped mass."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jaxtyping import Array, Inexact, PyTree, Real

from .._custom_types import Structure
from ._base import AbstractOperator, reciprocal_weight
from ._precision import cast
from ._properties import spectral_bound
from ._sparse import SparseOperator
from ._spectral_interval import Interval, spectral_interval
from ._tags import self_adjoint_tag

# Sweeps `x ← M⁻¹|K| x` of Gershgorin's bound, each of which costs an application.
_SWEEPS = 2


class AssembledOperator(AbstractOperator):
    r"""`A u = -M⁻¹ K u` with `K` symmetric and positive semidefinite and `M` diagonal and positive.

    Self-adjoint and negative semidefinite in the weight `M`, so that its spectrum lies in `[-λ, 0]`; `λ` is
    Gershgorin's bound of `M⁻¹K` for a [`krylovpde.SparseOperator`][], and `‖K‖ / min M` for other operators that know
    the bound of their norm. Leaves are those of `K`, and `M`.
    """

    stiffness: lx.AbstractLinearOperator
    mass: PyTree[Real[Array, "..."]]
    transposed: bool = eqx.field(static=True)

    def __init__(self, stiffness: lx.AbstractLinearOperator, mass: PyTree[Array], transposed: bool = False):
        """From an operator and the diagonal of the mass, a pytree like its input."""
        self.stiffness = stiffness
        self.mass = mass
        self.transposed = transposed

    def mv(self, vector: PyTree[Inexact[Array, "..."]]) -> PyTree[Inexact[Array, "..."]]:
        """`-M⁻¹ K u`; of the transpose `-Kᵀ M⁻¹ y`."""
        if self.transposed:
            return jtu.tree_map(jnp.negative, self.stiffness.transpose().mv(divide(vector, self.mass)))
        return jtu.tree_map(jnp.negative, divide(self.stiffness.mv(vector), self.mass))

    def transpose(self) -> "AssembledOperator":
        """`Aᵀ`, of the same kind."""
        return AssembledOperator(self.stiffness, self.mass, not self.transposed)

    def in_structure(self) -> Structure:
        """That of the stiffness."""
        return self.stiffness.in_structure()

    def out_structure(self) -> Structure:
        """That of the stiffness."""
        return self.stiffness.out_structure()

    @property
    def weight(self) -> PyTree[Array]:
        """The mass; its reciprocal for the transpose. In the precision of the stiffness."""
        # A constant to every derivative: it names the inner product and has no influence on the result.
        mass = jtu.tree_map(lambda leaf, like: cast(leaf, np.finfo(like.dtype).dtype), self.mass, self.in_structure())
        mass = jax.lax.stop_gradient(mass)
        return reciprocal_weight(mass) if self.transposed else mass

    @property
    def spectral_bound(self) -> Array | None:
        """`λ`."""
        mass = jax.lax.stop_gradient(self.mass)
        if isinstance(self.stiffness, SparseOperator):
            return _sparse_bound(self.stiffness, mass)
        bound = spectral_bound(self.stiffness)
        if bound is None:
            return None
        bound = jax.lax.stop_gradient(jnp.asarray(bound))
        least = jnp.min(jnp.stack([jnp.min(leaf).astype(bound.dtype) for leaf in jtu.tree_leaves(mass)]))
        return bound / least

    @property
    def tags(self) -> frozenset[object]:
        """Self-adjoint."""
        return frozenset({self_adjoint_tag})


def divide(field: PyTree[Array], mass: PyTree[Array]) -> PyTree[Array]:
    """`M⁻¹ f`, in the precision of `f`."""
    return jtu.tree_map(lambda leaf, m: leaf / cast(m, np.finfo(leaf.dtype).dtype).astype(leaf.dtype), field, mass)


def _sparse_bound(stiffness: SparseOperator, mass: Array) -> Array:
    """Collatz and Wielandt's quotient `max_i (M⁻¹|K| x)_i / x_i`, which bounds the spectrum for every `x > 0`."""
    magnitudes = jnp.abs(jax.lax.stop_gradient(stiffness.values))
    sizes = eqx.tree_at(lambda operator: operator.values, stiffness, magnitudes)
    x = jnp.ones(stiffness.shape[1], sizes.values.dtype)
    bound, tiny = jnp.asarray(jnp.inf, x.dtype), float(np.finfo(x.dtype).tiny)
    for _ in range(1 + _SWEEPS):
        image = divide(sizes.mv(x), mass)
        bound = jnp.minimum(bound, jnp.max(image / x))
        x = jnp.maximum(image / jnp.maximum(jnp.max(image), tiny), tiny)
    # The bound can be attained exactly: a little room for the rounding of the sums.
    return bound * (1.0 + 16 * float(np.finfo(x.dtype).eps))


@spectral_interval.register(AssembledOperator)
def _(operator) -> Interval | None:
    bound = operator.spectral_bound
    return None if bound is None else (-bound, jnp.zeros_like(bound))


@lx.diagonal.register(AssembledOperator)
def _(operator: Any):
    mass = jnp.concatenate([leaf.reshape(-1) for leaf in jtu.tree_leaves(operator.mass)])
    return -divide(lx.diagonal(operator.stiffness), mass)
