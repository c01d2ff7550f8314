"""What is known, in the place of an unknown."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Shaped

from ...grid import is_concrete
from ...operator._constant import Constant
from ._base import AbstractParameter


class Fixed(AbstractParameter):
    """`value = value`: a number or a field that is not fitted. It has no leaves, so no optimiser sees it.

    For a known part of a model that has a parameter there, and for what stands in the place of free numbers: the depths
    of known interfaces in `Layers`.

    **Arguments:**

    - `value`: numbers. They become structure, so new ones are compiled for.

    **Raises:** `TypeError` for a traced value.
    """

    constant: Constant

    def __init__(self, value: Any):
        if not is_concrete(value):
            message = (
                "Fixed(value): what is fixed is structure, but this value is traced by JAX. Make it outside of jit."
            )
            raise TypeError(message)
        array = np.asarray(value)
        if not np.issubdtype(array.dtype, np.inexact):
            array = array.astype(np.float64)
        self.constant = Constant(array)

    @property
    def value(self) -> Float[Array, "..."]:
        """The numbers."""
        return jnp.asarray(self.constant.array)

    def with_value(self, value: Shaped[ArrayLike, "..."]) -> "Fixed":
        """Another fixed value."""
        return Fixed(value)


def as_fixed(value: Any) -> AbstractParameter:
    """A parameter as it is, anything else fixed."""
    return value if isinstance(value, AbstractParameter) else Fixed(value)
