"""An unknown between two limits, through its logit."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Shaped

from ..._parameter import as_inexact
from ._base import AbstractParameter, Raw, as_raw, refuse_outside, structure_of, value_of, with_value_of


class Bounded(AbstractParameter):
    """`value = lower + (upper - lower) / (1 + exp(-raw))`: strictly between two known limits.

    The derivative is greatest halfway and vanishes at the limits: choose limits that the truth is not expected to
    touch. The limits are structure, not unknowns; no gradient reaches them.

    **Arguments:**

    - `raw`: free numbers, any shape, or a parameter whose value they are. `Bounded.from_value` makes them from the
        value.
    - `lower`, `upper`: the limits, in the unit of the value.
    """

    raw: Raw = eqx.field(converter=as_raw)
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
        refuse_outside("Bounded.from_value", value, float(lower), float(upper))
        return cls(_logit(value, lower, upper), lower, upper)

    @property
    def value(self) -> Float[Array, "..."]:
        """`lower + (upper - lower) sigmoid(raw)`."""
        return self.lower + (self.upper - self.lower) * jax.nn.sigmoid(value_of(self.raw))

    def with_value(self, value: Shaped[ArrayLike, "..."]) -> "Bounded":
        value = jnp.asarray(value, structure_of(self.raw).dtype)
        refuse_outside("Bounded.with_value", value, self.lower, self.upper)
        return Bounded(with_value_of(self.raw, _logit(value, self.lower, self.upper)), self.lower, self.upper)


def _logit(value: Float[Array, "..."], lower: float | int, upper: float | int) -> Float[Array, "..."]:
    # As a difference of logarithms of the two distances it keeps its digits near both limits.
    return jnp.log(value - lower) - jnp.log(upper - value)
