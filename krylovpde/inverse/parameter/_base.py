"""Unknowns that respect what is known about them: positive, bounded.

An optimiser moves through all of ℝⁿ; a speed is positive and lies between known limits. Each class here holds the
free numbers (`raw`, the leaf that is differentiated and updated) and gives the physical ones (`.value`). They stand in
a model where the physical field would:

    class SpeedModel(eqx.Module):
        speed: kp.inverse.Bounded
        grid: kp.Grid = eqx.field(static=True)

        def equation(self):
            return kp.Wave(self.grid, self.speed.value)
"""

import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Shaped

from ...grid import is_concrete


class AbstractParameter(eqx.Module):
    """An unknown whose physical value is a function of free numbers."""

    @property
    @abc.abstractmethod
    def value(self) -> Array:
        """The physical value."""


def value_of(parameter: AbstractParameter | Shaped[ArrayLike, "..."]) -> Array:
    """The physical value of a parameter, or the array itself where no parametrisation stands around it."""
    return parameter.value if isinstance(parameter, AbstractParameter) else jnp.asarray(parameter)


def as_inexact(value: Shaped[ArrayLike, "..."]) -> Float[Array, "..."]:
    value = jnp.asarray(value)
    return value if jnp.issubdtype(value.dtype, jnp.inexact) else value.astype(float)


def refuse_outside(name: str, value: Array, lower: float, upper: float):
    """Tell the user no, where the value is known (under `jit` it is not, and the result would be NaN)."""
    if not is_concrete(value):
        return
    known = np.asarray(value)
    outside = ~((known > lower) & (known < upper))
    if outside.any():
        limits = "greater than 0" if np.isinf(upper) else f"strictly between lower = {lower} and upper = {upper}"
        message = (
            f"{name}.from_value: value must be {limits}, but {outside.sum()} of {known.size} entries are not; "
            f"they range from {known.min():.6g} to {known.max():.6g}. Clip the value, or widen the limits."
        )
        raise ValueError(message)
