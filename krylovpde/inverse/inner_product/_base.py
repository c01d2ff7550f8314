"""Inner products of fields.

JAX's gradient of a loss holds its partial derivatives: the change of the loss per change of the number in each cell. On
a finer grid a cell matters less, and the partial derivatives of a graded grid follow its cells' volumes. The gradient
*in an inner product*, `riesz(derivative)`, is the field `g` with `<g, w> = derivative · w` for every `w`: it does not
know of the cells.
"""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar


class AbstractInnerProduct(eqx.Module):
    """An inner product of fields, its Riesz map `R`, and a factor `S` of it, `S Sᵀ = R`.

    `<u, w> = uᵀ R⁻¹ w`. With `u = S raw`, the Euclidean inner product of the raw numbers is the inner product of the
    fields: `InInnerProduct` makes any optimiser, which knows nothing but Euclid, work in it.
    """

    @abc.abstractmethod
    def inner(self, u: Float[Array, "..."], w: Float[Array, "..."]) -> Scalar:
        """`<u, w>`."""

    @abc.abstractmethod
    def riesz(self, derivative: Float[Array, "..."]) -> Float[Array, "..."]:
        """The gradient in this inner product of a function with these partial derivatives (`jax.grad`'s)."""

    @abc.abstractmethod
    def factor(self, raw: Float[Array, "..."]) -> Float[Array, "..."]:
        """`S raw`: the field of raw numbers whose Euclidean length is the field's norm."""

    @abc.abstractmethod
    def solve_factor(self, u: Float[Array, "..."]) -> Float[Array, "..."]:
        """`S⁻¹ u`: the raw numbers of a field."""

    def norm(self, u: Float[Array, "..."]) -> Scalar:
        """`sqrt(<u, u>)`; its derivative at `u = 0` is taken to be zero."""
        square = self.inner(u, u)
        positive = square > 0
        return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1)), 0)
