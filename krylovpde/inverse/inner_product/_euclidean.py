"""A list of numbers."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from ._base import AbstractInnerProduct


class Euclidean(AbstractInnerProduct):
    """`<u, w> = Σ_i u_i w_i`: numbers that have no cells. Its gradients are JAX's."""

    def inner(self, u: Float[Array, "..."], w: Float[Array, "..."]) -> Scalar:
        return jnp.sum(u * w)

    def riesz(self, derivative: Float[Array, "..."]) -> Float[Array, "..."]:
        """Itself."""
        return derivative

    def factor(self, raw: Float[Array, "..."]) -> Float[Array, "..."]:
        """Itself."""
        return raw

    def solve_factor(self, u: Float[Array, "..."]) -> Float[Array, "..."]:
        """Itself."""
        return u
