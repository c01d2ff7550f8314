"""A smooth field."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Scalar

from ...grid import AbstractGrid
from ...operator import Gradient, face_volumes
from ..loss import AbstractLoss, half_sum_of_squares


class Tikhonov(AbstractLoss):
    """`½ weight ∫ |grad (field - reference)|² dV`: a smooth field; a sum of squares.

    **Arguments:**

    - `grid`: where the field lives.
    - `field`: `field(model)`, an array of `grid.shape`.
    - `weight`: in the unit that makes the integral a number; large for smooth fields. With a `LeastSquares` loss,
        `1 / (variance of the gradient × correlation volume)` is its meaning.
    - `reference`: subtracted from the field; nothing if 0.
    """

    grid: AbstractGrid
    field: Callable[[Any], Array]
    weight: ArrayLike
    reference: ArrayLike = 0.0

    def __call__(self, model: Any) -> Scalar:
        return half_sum_of_squares(self.residual(model))

    def residual(self, model: Any) -> tuple[Float[Array, "..."], ...]:
        """`sqrt(weight V) ∂(field - reference)/∂n` on the faces across each axis."""
        u = self.field(model)
        u = u - jnp.broadcast_to(jnp.asarray(self.reference, u.dtype), u.shape)
        scale = jnp.sqrt(jnp.asarray(self.weight, u.dtype))
        slopes = Gradient(self.grid).mv(u)
        volumes = [face_volumes(self.grid, axis) for axis in range(self.grid.ndim)]
        return tuple(scale * jnp.sqrt(jnp.asarray(v, u.dtype)) * s for v, s in zip(volumes, slopes, strict=True))

    def reduced_misfit(self, model: Any, value: Scalar) -> None:
        return None
