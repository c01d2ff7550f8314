"""A small, a smooth or a straight field."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Scalar

from ...grid import AbstractGrid, only_active
from ...operator import Gradient, face_volumes
from ..loss import AbstractLoss, half_sum_of_squares
from ._curvature import curvatures


class Tikhonov(AbstractLoss):
    r"""`½ weight ∫ |D^order (field - reference)|² dV`: a small, smooth or straight field; a sum of squares.

    * order 0: `|u|²`, a field near the reference. `weight = 1 / (variance × correlation volume)` is white noise as a
        prior.
    * order 1: `|grad u|²`, a smooth field; constants cost nothing. With a `LeastSquares` loss,
        `1 / (variance of the gradient × correlation volume)` is its meaning. In two and three dimensions it lets points
        of data stand out as spikes: take order 2, or `BiLaplacian`, where sensors are single cells.
    * order 2: `Σ_ij |∂²u/∂x_i∂x_j|²`, a field without bends; linear ones cost nothing, up to the walls.

    Derivatives are taken across faces and corners inside of the domain; nothing is asked of the field at the walls. The
    integrals are weighted with volumes, so a weight keeps its meaning when the grid is refined.

    **Arguments:**

    - `grid`: where the field lives. On a `RadialGrid` the derivatives are those in the radius.
    - `field`: `field(model)`, an array of `grid.shape`.
    - `weight`: in the unit that makes the integral a number; large for smooth fields.
    - `reference`: subtracted from the field; nothing if 0.
    - `order`: 0, 1 or 2.

    **Raises:** `ValueError` for another order.
    """

    grid: AbstractGrid
    field: Callable[[Any], Array]
    weight: ArrayLike
    reference: ArrayLike = 0.0
    order: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        if self.order not in (0, 1, 2):
            message = f"Tikhonov: order must be 0, 1 or 2, got {self.order}."
            raise ValueError(message)

    def __call__(self, model: Any) -> Scalar:
        return half_sum_of_squares(self.residual(model))

    def residual(self, model: Any) -> tuple[Float[Array, "..."], ...]:
        """`sqrt(weight V)` times the derivatives of `field - reference`: values, or slopes across faces, or bends."""
        u = self.field(model)
        u = only_active(self.grid, u - jnp.broadcast_to(jnp.asarray(self.reference, u.dtype), u.shape))
        scale = jnp.sqrt(jnp.asarray(self.weight, u.dtype))
        parts = _DERIVATIVES[self.order](self.grid, u)
        return tuple(scale * jnp.asarray(np.sqrt(volumes), u.dtype) * part for volumes, part in parts)

    def reduced_misfit(self, model: Any, value: Scalar) -> None:
        return None


def _values(grid: AbstractGrid, u: Array) -> list[tuple[np.ndarray, Array]]:
    return [(grid.cell_volumes, u)]


def _slopes(grid: AbstractGrid, u: Array) -> list[tuple[np.ndarray, Array]]:
    return [(face_volumes(grid, axis), slope) for axis, slope in enumerate(Gradient(grid).mv(u))]


# By order: the volumes that go with each kind of derivative, and the derivatives.
_DERIVATIVES = (_values, _slopes, curvatures)
