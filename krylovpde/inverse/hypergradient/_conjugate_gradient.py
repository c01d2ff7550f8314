"""An inverse by conjugate gradients."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..._parameter import as_nonnegative
from ..._solution import RESULTS
from ._arguments import check_count
from ._base import AbstractInverse, InverseProduct, Product

# Curvature below this many units of rounding of the largest one that was met is none.
_ROUNDING = 10.0


class ConjugateGradient(AbstractInverse):
    """`(H + damping I)⁻¹ g` by conjugate gradients from zero: one product for each step.

    The choice for a matrix that is positive definite. The first steps get right what lies along the largest
    eigenvalues and leave the rest small, so a solve that is cut off errs on the side of a short answer. A cut-off is no
    failure: the residual in `HypergradientStats` tells how far it got. Eigenvalues in clusters are good for it, decades
    of them without end are bad; products come one after the other.

    A direction without curvature ends the solve, and is told: the solution is not a minimum, or not determined by the
    inner loss, and the remedy is damping.

    **Arguments:**

    - `max_steps`: the most steps, that is, products.
    - `rtol`: the relative residual at which it stops earlier.
    - `damping`: added to the diagonal of `H`; not negative.

    **Raises:** `ValueError` for `max_steps` below 1, and an `rtol` or `damping` that is negative.

    Source: Hestenes, Stiefel, *J. Res. Nat. Bur. Standards* 49 (1952); for hypergradients: Pedregosa, ICML 2016.
    (`lineax.CG` applies its operator in two places and does not look at curvature; here products have to be counted.)
    """

    max_steps: int = eqx.field(static=True)
    rtol: float = eqx.field(static=True)
    damping: Float[Array, ""]

    def __init__(self, max_steps: int = 20, rtol: float = 1e-8, damping: float | Float[Array, ""] = 0.0):
        self.max_steps = check_count("ConjugateGradient: max_steps", max_steps)
        self.rtol = rtol
        self.damping = as_nonnegative(damping, "ConjugateGradient(damping)")
        if not rtol >= 0:
            message = f"ConjugateGradient: rtol must not be negative, got {rtol}."
            raise ValueError(message)

    @property
    def shift(self) -> Float[Array, ""]:
        return self.damping

    def solve(self, product: Product, vector: Float[Array, " n"]) -> InverseProduct:
        damping = self.damping.astype(vector.dtype)
        squared = jnp.vdot(vector, vector)
        end = jnp.asarray(self.rtol, vector.dtype) ** 2 * squared
        least = _ROUNDING * jnp.finfo(vector.dtype).eps

        def advance(at: _State) -> _State:
            image = product(at.direction) + damping * at.direction
            curvature, length = jnp.vdot(at.direction, image), jnp.vdot(at.direction, at.direction)
            largest = jnp.maximum(at.largest, curvature / length)
            is_flat = ~(curvature > least * largest * length)
            step = jnp.where(is_flat, 0, at.squared / jnp.where(is_flat, 1, curvature))
            residual = at.residual - step * image
            squared = jnp.vdot(residual, residual)
            direction = residual + squared / at.squared * at.direction
            return _State(at.value + step * at.direction, residual, direction, squared, largest, is_flat, at.taken + 1)

        def go_on(at: _State) -> Bool[Array, ""]:
            return (at.squared > end) & ~at.is_flat & (at.taken < self.max_steps)

        zero = jnp.zeros_like(vector)
        start = _State(zero, vector, vector, squared, jnp.zeros_like(squared), jnp.asarray(False), jnp.asarray(0))
        final = jax.lax.while_loop(go_on, advance, start)
        result = RESULTS.where(final.is_flat, RESULTS.not_positive_definite, RESULTS.successful)
        return InverseProduct(final.value, final.taken, result)


class _State(NamedTuple):
    value: Array
    residual: Array
    direction: Array
    squared: Float[Array, ""]
    largest: Float[Array, ""]
    is_flat: Bool[Array, ""]
    taken: Int[Array, ""]
