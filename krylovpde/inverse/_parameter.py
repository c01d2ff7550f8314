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
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Shaped

from ..grid import AbstractGrid, is_concrete
from ..integrate import expm_multiply
from ..operator import Laplacian


class AbstractParameter(eqx.Module):
    """An unknown whose physical value is a function of free numbers."""

    @property
    @abc.abstractmethod
    def value(self) -> Array:
        """The physical value."""


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
        value = _inexact(value)
        _refuse_outside("Positive", value, 0.0, np.inf)
        return cls(jnp.log(value))

    @property
    def value(self) -> Float[Array, "..."]:
        """`exp(raw)`."""
        return jnp.exp(self.raw)


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
        value = _inexact(value)
        _refuse_outside("Bounded", value, float(lower), float(upper))
        # The logit as a difference of logarithms of the two distances keeps its digits near both limits.
        return cls(jnp.log(value - lower) - jnp.log(upper - value), lower, upper)

    @property
    def value(self) -> Float[Array, "..."]:
        """`lower + (upper - lower) sigmoid(raw)`."""
        return self.lower + (self.upper - self.lower) * jax.nn.sigmoid(self.raw)


class Smoothed(AbstractParameter):
    """`value = exp(½ length² lap) parameter.value`: another parameter seen through a Gaussian of width `length`.

    The heat equation is the smoother, so it works on every grid, conserves the mean, and (no flux through the walls)
    keeps bounds: a `Bounded` field stays bounded, a `Positive` one positive. Two effects on a fit: the field cannot
    hold detail finer than `length`, and gradients come smoothed, which conditions the problem for L-BFGS. A few cells,
    or a quarter of the shortest wavelength, are good lengths. Costs about `3 length / cell size` applications of a
    Laplacian.

    **Arguments:**

    - `parameter`: an `AbstractParameter` or an array, of `grid.shape`.
    - `grid`: where the field lives.
    - `length`: the standard deviation of the Gaussian, in the grid's unit of length; 0 smooths nothing.
    """

    parameter: AbstractParameter | Float[Array, "..."]
    grid: AbstractGrid
    length: float = eqx.field(static=True, converter=float)

    @property
    def value(self) -> Float[Array, "..."]:
        """The smoothed field."""
        rough = value_of(self.parameter)
        if self.length == 0.0:
            return rough
        laplacian = Laplacian(self.grid, dtype=rough.dtype)
        return expm_multiply(laplacian, rough, 0.5 * self.length**2).value


def value_of(parameter: AbstractParameter | Shaped[ArrayLike, "..."]) -> Array:
    """The physical value of a parameter, or the array itself where no parametrisation stands around it."""
    return parameter.value if isinstance(parameter, AbstractParameter) else jnp.asarray(parameter)


def _inexact(value: Shaped[ArrayLike, "..."]) -> Float[Array, "..."]:
    value = jnp.asarray(value)
    return value if jnp.issubdtype(value.dtype, jnp.inexact) else value.astype(float)


def _refuse_outside(name: str, value: Array, lower: float, upper: float):
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
