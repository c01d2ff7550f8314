"""Functions of time with named jumps."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int, PyTree, Real

from .._parameter import as_parameter, known_false
from ._base import AbstractSignal
from ._interpolation import even_edges, interpolate
from ._pieces import Pieces
from ._smooth import Smooth


class Piecewise(AbstractSignal):
    """A function of time that jumps at named times: `values[i]` between `breakpoints[i - 1]` and `breakpoints[i]`.

    `values[0]` holds before the first breakpoint, `values[-1]` after the last, and at a breakpoint the value after it.
    Solves end and begin at every breakpoint that lies within them: with numbers for values they are exact for the
    signal, and a function is asked about its own part of time only.

    Derivatives reach the values and whatever their functions close over; the breakpoints are constants to them.

    **Arguments:**

    - `breakpoints`: increasing, shape `(n,)`.
    - `values`: `n + 1` of them, each a real number or a smooth function of time; or an array of shape `(n + 1,)`.

    **Raises:**

    `ValueError` for breakpoints that decrease, a number of values that does not fit, or values that are complex.

    !!! Example

        ```python
        # a well is pumped from t = 1 to t = 3, at a rate that falls off
        rate = kp.Piecewise([1.0, 3.0], [0.0, lambda t: jnp.exp(1.0 - t), 0.0])
        ```
    """

    jumps: Real[Array, " breaks"]
    values: PyTree[Any]

    def __init__(self, breakpoints: Any, values: Any):
        jumps = as_parameter(breakpoints, "Piecewise(breakpoints)")
        if jumps.ndim != 1 or jnp.iscomplexobj(jumps):
            message = (
                f"`Piecewise(breakpoints=...)` must be a list of real times, got shape {jumps.shape} of {jumps.dtype}."
            )
            raise ValueError(message)
        if known_false(lambda times: times[1:] >= times[:-1], jumps):
            message = "`Piecewise(breakpoints=...)` must not decrease."
            raise ValueError(message)
        self.jumps = jumps
        self.values = _as_values(values)
        count = self.values.size if isinstance(self.values, jax.Array) else len(self.values)
        if count != jumps.size + 1:
            message = (
                f"`Piecewise(breakpoints, values)`: {jumps.size} breakpoints part time into {jumps.size + 1} pieces, "
                f"got {count} values."
            )
            raise ValueError(message)

    def __call__(self, t: Any) -> Real[Array, ""]:
        """The value at time `t`, at a breakpoint that after it."""
        t = as_parameter(t, "Piecewise(...)(t)")
        times = self.breakpoints.astype(t.dtype)
        return self._value(jnp.searchsorted(times, t, side="right").astype(jnp.int32), t)

    @property
    def breakpoints(self) -> Real[Array, " breaks"]:
        """As they were given."""
        return lax.stop_gradient(self.jumps)

    @property
    def degree(self) -> int | None:
        """0 where all values are numbers."""
        return 0 if isinstance(self.values, jax.Array) else None

    def pieces(self, start: Array, duration: Array) -> Pieces:
        dtype, duration = duration.dtype, lax.stop_gradient(duration)
        breaks = self.breakpoints.astype(dtype) - lax.stop_gradient(start)
        within = jnp.clip(breaks, 0.0, duration)
        if isinstance(self.values, jax.Array):
            edges = jnp.concatenate([jnp.zeros_like(duration)[None], within, duration[None]])
            return Pieces(edges, self.values.astype(dtype)[:, None], jnp.zeros((), dtype))
        edges = jnp.sort(jnp.concatenate([even_edges(duration), within]))
        middles = 0.5 * (edges[:-1] + edges[1:])
        parts = jnp.searchsorted(breaks, middles, side="right").astype(jnp.int32)
        return interpolate(lambda panel, s: self._value(parts[panel], start + s), edges, jnp.diff(edges))

    def _value(self, part: Int[Array, ""], t: Real[Array, ""]) -> Real[Array, ""]:
        """That of one part, continued beyond its ends where `t` lies there."""
        if isinstance(self.values, jax.Array):
            return self.values[part].astype(t.dtype)
        ends = jnp.concatenate([jnp.full(1, -jnp.inf, t.dtype), self.breakpoints.astype(t.dtype)])
        ends = jnp.concatenate([ends, jnp.full(1, jnp.inf, t.dtype)])

        def of(index: int, value: Any):
            # In a batch all parts are computed and one is taken. A function may not be defined beyond its part, and
            # what is not a number there would spoil the derivative of the one that is taken.
            def at(t: Array) -> Array:
                inside = jnp.where(t < ends[index], ends[index], jnp.where(t > ends[index + 1], ends[index + 1], t))
                return value(inside) if isinstance(value, Smooth) else value.astype(t.dtype)

            return at

        return lax.switch(part, [of(index, value) for index, value in enumerate(self.values)], t)


def _as_values(values: Any) -> Any:
    """An array where all are numbers, else a tuple of numbers and functions."""
    where = "Piecewise(values)"
    if isinstance(values, jax.Array | np.ndarray) or not any(callable(part) for part in _listed(values)):
        array = as_parameter(values, where)
        if array.ndim != 1 or jnp.iscomplexobj(array):
            message = f"`{where}` must be a list of real numbers, got shape {array.shape} of {array.dtype}."
            raise ValueError(message)
        return array
    return tuple(_as_value(part, f"{where}[{index}]") for index, part in enumerate(values))


def _listed(values: Any) -> Any:
    if not isinstance(values, list | tuple):
        message = f"`Piecewise(values)` must be a list or an array, got {type(values).__name__}."
        raise TypeError(message)
    return values


def _as_value(value: Any, where: str) -> Any:
    if isinstance(value, AbstractSignal) and not isinstance(value, Smooth):
        message = f"`{where}` is a {type(value).__name__}, which has jumps of its own: give a number or a function."
        raise TypeError(message)
    if isinstance(value, Smooth):
        return value
    if callable(value) and not isinstance(value, jax.Array | np.ndarray):
        return Smooth(value)
    number = as_parameter(value, where)
    if number.ndim != 0 or jnp.iscomplexobj(number):
        message = f"`{where}` must be one real number, got shape {number.shape} of {number.dtype}."
        raise ValueError(message)
    return number
