"""Unknowns that respect what is known about them: positive, bounded, made of few numbers, smooth.

An optimiser moves through all of ℝⁿ; a speed is positive and lies between known limits. Each class here holds the
free numbers (`raw`, the leaf that is differentiated and updated) and gives the physical ones (`.value`). They stand in
a model where the physical field would:

    class SpeedModel(eqx.Module):
        speed: kp.inverse.Bounded
        grid: kp.Grid = eqx.field(static=True)

        def equation(self):
            return kp.Wave(self.grid, self.speed.value)

They nest: what stands in the place of `raw` may be another parameter. `Positive(Spline(...))` is the exponential of a
spline, `Zones(Positive(...), labels)` has one positive number for each zone.
"""

import abc
from typing import Any, TypeAlias

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Shaped

from ..._parameter import as_inexact
from ...grid import AbstractGrid, broadcasts_to, cell_volumes, is_concrete, only_active


class AbstractParameter(eqx.Module):
    """An unknown whose physical value is a function of free numbers."""

    @property
    @abc.abstractmethod
    def value(self) -> Array:
        """The physical value."""

    @abc.abstractmethod
    def with_value(self, value: Shaped[ArrayLike, "..."]) -> "AbstractParameter":
        """The same parameter with other free numbers, those that make `value`.

        Where no free numbers make it, those that come closest: in least squares weighted with the cells' volumes, of
        what the parametrisation below stands for (the logarithm, for a `Positive` around it). A number stands for a
        field of that value. Free numbers that the value does not depend on stay as they are.

        **Raises:** `ValueError` for a value of another shape, and for one that is known and outside of limits.
        """


# What stands in the place of the free numbers: the numbers, or another parameter.
Raw: TypeAlias = AbstractParameter | Float[Array, "..."]


def value_of(parameter: AbstractParameter | Shaped[ArrayLike, "..."]) -> Array:
    """The physical value of a parameter, or the array itself where no parametrisation stands around it."""
    return parameter.value if isinstance(parameter, AbstractParameter) else jnp.asarray(parameter)


def with_value_of(raw: Raw, value: Array) -> Any:
    """What stands in the place of the free numbers, with another value: the counterpart of `value_of`."""
    if isinstance(raw, AbstractParameter):
        return raw.with_value(value)
    return like(value, raw.shape, raw.dtype, "with_value(value)")


def as_raw(raw: Any) -> Any:
    """A parameter as it is, numbers as an array of floats."""
    return raw if isinstance(raw, AbstractParameter) else as_inexact(raw)


def structure_of(raw: Raw) -> Any:
    """Shape and dtype of the value of what stands in the place of the free numbers; nothing is computed."""
    return eqx.filter_eval_shape(value_of, raw)


def check_shape(raw: Raw, shape: tuple[int, ...], name: str, what: str):
    """Say no to free numbers of another shape."""
    found = structure_of(raw).shape
    if found != shape:
        message = f"{name}: raw has the shape {found}, but needs {shape}: {what}."
        raise ValueError(message)


def like(value: Any, shape: tuple[int, ...], dtype: Any, where: str) -> Array:
    """A value in a shape and precision; numbers broadcast."""
    array = jnp.asarray(value)
    if not broadcasts_to(array.shape, shape):
        message = f"{where} has the shape {array.shape}, but the parameter's value {shape}."
        raise ValueError(message)
    return jnp.broadcast_to(array.astype(dtype), shape)


def field_and_weights(grid: AbstractGrid | None, value: Array) -> tuple[Array, np.ndarray]:
    """A field without what stands in cells that are not active, and the volumes; ones where no grid is known."""
    if grid is None:
        return value, np.ones(value.shape)
    active = np.broadcast_to(grid.active, grid.shape)
    return only_active(grid, value), np.where(active, cell_volumes(grid, np.dtype(np.float64)), 0.0)


def refuse_outside(where: str, value: Array, lower: float, upper: float):
    """Tell the user no, where the value is known (under `jit` it is not, and the result would be NaN)."""
    if not is_concrete(value):
        return
    known = np.asarray(value)
    outside = ~((known > lower) & (known < upper))
    if outside.any():
        limits = "greater than 0" if np.isinf(upper) else f"strictly between lower = {lower} and upper = {upper}"
        message = (
            f"{where}: value must be {limits}, but {outside.sum()} of {known.size} entries are not; "
            f"they range from {known.min():.6g} to {known.max():.6g}. Clip the value, or widen the limits."
        )
        raise ValueError(message)
