"""A positive unknown, through its logarithm."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Shaped

from ..._parameter import as_inexact
from ._base import AbstractParameter, Raw, as_raw, refuse_outside, structure_of, value_of, with_value_of


class Positive(AbstractParameter):
    """`value = exp(raw)`: positive, and equal steps of `raw` are equal *relative* changes of the value.

    Good for coefficients that range over decades (diffusivities, transmissivities, rates). The derivative is the value
    itself, so a value that has fallen many decades below its neighbours hardly moves any more.

    **Arguments:**

    - `raw`: the logarithm of the value, any shape, or a parameter whose value that is. `Positive.from_value` makes it
        from the value.
    """

    raw: Raw = eqx.field(converter=as_raw)

    @classmethod
    def from_value(cls, value: Shaped[ArrayLike, "..."]) -> "Positive":
        """The parameter whose value is `value`.

        **Arguments:**

        - `value`: positive numbers.

        **Returns:** a `Positive` of the same shape and precision.

        **Raises:** `ValueError` where `value` is known and somewhere not positive.
        """
        value = as_inexact(value)
        refuse_outside("Positive.from_value", value, 0.0, np.inf)
        return cls(jnp.log(value))

    @property
    def value(self) -> Float[Array, "..."]:
        """`exp(raw)`."""
        return jnp.exp(value_of(self.raw))

    def with_value(self, value: Shaped[ArrayLike, "..."]) -> "Positive":
        value = jnp.asarray(value, structure_of(self.raw).dtype)
        refuse_outside("Positive.with_value", value, 0.0, np.inf)
        return Positive(with_value_of(self.raw, jnp.log(value)))
