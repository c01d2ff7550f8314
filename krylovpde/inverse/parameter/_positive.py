"""A positive unknown, through its logarithm."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Shaped

from ._base import AbstractParameter, as_inexact, refuse_outside


class Positive(AbstractParameter):
    """`value = exp(raw)`: positive, and equal steps of `raw` are equal *relative* changes of the value.

    Good for coefficients that range over decades (diffusivities, transmissivities, rates). The derivative is the value
    itself, so a value that has fallen many decades below its neighbours hardly moves any more.

    **Arguments:**

    - `raw`: the logarithm of the value, any shape. `Positive.from_value` makes it from the value.
    """

    raw: Float[Array, "..."]

    @classmethod
    def from_value(cls, value: Shaped[ArrayLike, "..."]) -> "Positive":
        """The parameter whose value is `value`.

        **Arguments:**

        - `value`: positive numbers.

        **Returns:** a `Positive` of the same shape and precision.

        **Raises:** `ValueError` where `value` is known and somewhere not positive.
        """
        value = as_inexact(value)
        refuse_outside("Positive", value, 0.0, np.inf)
        return cls(jnp.log(value))

    @property
    def value(self) -> Float[Array, "..."]:
        """`exp(raw)`."""
        return jnp.exp(self.raw)
