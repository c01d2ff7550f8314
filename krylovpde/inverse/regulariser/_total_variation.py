"""A field of few pieces."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Scalar

from ...grid import AbstractGrid
from ...operator import Gradient
from ..loss import AbstractLoss


class TotalVariation(AbstractLoss):
    """`weight ∫ (sqrt(|grad field|² + edge²) - edge) dV`: a field of few pieces, sharp edges allowed.

    **Arguments:**

    - `grid`: where the field lives.
    - `field`: `field(model)`, an array of `grid.shape`.
    - `weight`: in the unit that makes the integral a number.
    - `edge`: the slope, in the field's unit per length, above which a slope counts as an edge. It must be positive, or
        the penalty has no derivative where the field is flat; a tenth of an edge's slope is a good value.

    **Raises:** `ValueError` for an `edge` that is not positive.
    """

    grid: AbstractGrid
    field: Callable[[Any], Array]
    weight: ArrayLike
    edge: float = eqx.field(static=True, converter=float)

    def __check_init__(self):
        if not self.edge > 0:
            message = f"TotalVariation: edge must be positive, got {self.edge}."
            raise ValueError(message)

    def __call__(self, model: Any) -> Scalar:
        u = self.field(model)
        squared = sum(slope**2 for slope in Gradient(self.grid).mv(u))
        # sqrt(g² + e²) - e without the cancellation where the field is flat.
        excess = squared / (jnp.sqrt(squared + self.edge**2) + self.edge)
        return jnp.asarray(self.weight, u.dtype) * self.grid.integrate(excess)

    def residual(self, model: Any) -> None:
        """There is none.

        **Raises:** `TypeError`.
        """
        message = (
            "TotalVariation is not a sum of squares: a least-squares solver cannot use it. Use a minimiser "
            "(optax.lbfgs()), or Tikhonov."
        )
        raise TypeError(message)

    def reduced_misfit(self, model: Any, value: Scalar) -> None:
        return None
