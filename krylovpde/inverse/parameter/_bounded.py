"""An unknown between two limits, through its logit."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Shaped

from ._base import AbstractParameter, as_inexact, refuse_outside


class Bounded(AbstractParameter):
    """`value = lower + (upper - lower) / (1 + exp(-raw))`: strictly between two known limits.

    The derivative is greatest halfway and vanishes at the limits: choose limits that the truth is not expected to
    touch. The limits are structure, not unknowns; no gradient reaches them.

    **Arguments:**

    - `raw`: free numbers, any shape. `Bounded.from_value` makes them from the value.
    - `lower`, `upper`: the limits, in the unit of the value.
    """

    raw: Float[Array, "..."]
    lower: float = eqx.field(static=True, converter=float)
    upper: float = eqx.field(static=True, converter=float)

    def __check_init__(self):
        if not self.lower < self.upper:
            message = f"Bounded: lower = {self.lower} must be less than upper = {self.upper}."
            raise ValueError(message)

    @classmethod
    def from_value(cls, value: Shaped[ArrayLike, "..."], lower: float | int, upper: float | int) -> "Bounded":
        """The parameter whose value is `value`.

        **Arguments:**

        - `value`: numbers strictly between the limits.
        - `lower`, `upper`: the limits.

        **Returns:** a `Bounded` of the same shape and precision.

        **Raises:** `ValueError` where `value` is known and somewhere on or outside a limit, or `lower >= upper`.
        """
        value = as_inexact(value)
        refuse_outside("Bounded", value, float(lower), float(upper))
        # The logit as a difference of logarithms of the two distances keeps its digits near both limits.
        return cls(jnp.log(value - lower) - jnp.log(upper - value), lower, upper)

    @property
    def value(self) -> Float[Array, "..."]:
        """`lower + (upper - lower) sigmoid(raw)`."""
        return self.lower + (self.upper - self.lower) * jax.nn.sigmoid(self.raw)
