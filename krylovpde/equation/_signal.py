"""Functions of time: what a source does while its profile in space stays the same.

The actions know a signal as a piecewise polynomial on the interval of a solve, with edges where it has jumps or kinks:
nothing is ever stepped across one.
"""

import abc
import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Real

from ..grid import as_parameter, known_false

# Panels and polynomial degree for a function that is told to be smooth. In double precision a hundred periods are
# resolved to 1e-8; in single precision the coefficients of a higher degree would lose what it gains.
_PANELS = 512
_DEGREE = {32: 3, 64: 7}


class Pieces(eqx.Module):
    """A polynomial on each panel of `[0, end]`: `w(e_j + s) = Σ_r c_jr s^r / r!` for `0 <= s <= e_(j+1) - e_j`.

    * `edges`: not decreasing; a constant to every derivative.   * `coefficients`: derivatives at the left edges.
    * `error`: how far the signal is from it at most, in units of the signal's largest value.
    """

    edges: Real[Array, " edges"]
    coefficients: Real[Array, "panels terms"]
    error: Real[Array, ""]

    def __call__(self, t: Real[Array, ""]) -> Real[Array, ""]:
        """The value at a time within the interval; at an edge that of the panel on its right."""
        last = self.coefficients.shape[0] - 1
        panel = jnp.clip(jnp.searchsorted(self.edges, t, side="right").astype(jnp.int32) - 1, 0, last)
        s = t - self.edges[panel]
        row = self.coefficients[panel]
        value = row[-1]
        for r in range(row.shape[0] - 2, -1, -1):
            value = row[r] + value * s / (r + 1)
        return value


class AbstractSignal(eqx.Module):
    """A real function of time with known jumps."""

    @abc.abstractmethod
    def __call__(self, t: Any) -> Real[Array, ""]:
        """The value at time `t`."""

    @abc.abstractmethod
    def pieces(self, start: Array, duration: Array) -> Pieces:
        """The signal on `[start, start + duration]` as a piecewise polynomial of the time since `start`."""


class Sampled(AbstractSignal):
    """A time series, by a named rule between its samples and constant before the first and after the last.

    - `kind="linear"`: straight lines; a time that stands twice is a jump.
    - `kind="previous"`: each value holds until the next sample.

    Solves are exact for the interpolated signal: the samples may be coarse or fine beside the periods of the waves.
    Derivatives reach the values, and through the straight lines the times.

    **Arguments:**

    - `times`: increasing, shape `(n,)`; for `"linear"` repeats are allowed.
    - `values`: real, shape `(n,)`.

    **Raises:**

    `ValueError` for shapes that differ, times that decrease, values that are complex, or another kind.
    """

    times: Real[Array, " n"]
    values: Real[Array, " n"]
    kind: str = eqx.field(static=True)

    def __init__(self, times: Any, values: Any, kind: Literal["linear", "previous"] = "linear"):
        self.times = as_parameter(times, "Sampled(times)")
        self.values = as_parameter(values, "Sampled(values)")
        self.kind = kind
        if kind not in ("linear", "previous"):
            message = f'`Sampled(kind=...)` is "linear" or "previous", got {kind!r}.'
            raise ValueError(message)
        if self.times.ndim != 1 or self.times.shape != self.values.shape or self.times.size == 0:
            message = (
                "`Sampled(times, values)` takes two lists of one length, got shapes "
                f"{self.times.shape} and {self.values.shape}."
            )
            raise ValueError(message)
        if jnp.iscomplexobj(self.times) or jnp.iscomplexobj(self.values):
            message = "`Sampled(times, values)` must be real."
            raise ValueError(message)
        if known_false(lambda times: times[1:] >= times[:-1], self.times):
            message = "`Sampled(times=...)` must not decrease."
            raise ValueError(message)

    def __call__(self, t: Any) -> Real[Array, ""]:
        """The value at time `t`, of the later sample at a jump."""
        t = jnp.asarray(t)
        times, values = self.times.astype(t.dtype), self.values.astype(t.dtype)
        index = jnp.searchsorted(times, t, side="right").astype(jnp.int32) - 1
        here = jnp.clip(index, 0, self.times.size - 1)
        slope = jnp.where(index >= 0, _slopes(self.kind, times, values)[here], 0.0)
        return values[here] + slope * (t - times[here])

    def pieces(self, start: Array, duration: Array) -> Pieces:
        dtype = duration.dtype
        samples, values = self.times.astype(dtype) - start, self.values.astype(dtype)
        slopes = _slopes(self.kind, samples, values)
        ends = lax.stop_gradient(jnp.clip(samples, 0.0, duration))
        edges = jnp.concatenate([jnp.zeros_like(ends[:1]), ends, lax.stop_gradient(duration)[None]])
        # From each sample to the next; where a panel is cut at the start, its polynomial is moved there.
        begun = jnp.concatenate([values[:1], values + slopes * (ends - samples)])
        rates = jnp.concatenate([jnp.zeros_like(slopes[:1]), slopes])
        columns = [begun] if self.kind == "previous" else [begun, rates]
        return Pieces(edges, jnp.stack(columns, axis=1), jnp.zeros((), dtype))


class Smooth(AbstractSignal):
    """A function of time that has derivatives of every order; what it closes over keeps its gradient."""

    function: Callable[[Any], Any]

    def __call__(self, t: Any) -> Real[Array, ""]:
        t = jnp.asarray(t)
        value = jnp.asarray(self.function(t))
        if value.shape != () or jnp.iscomplexobj(value):
            message = f"a signal must give one real number for each time, got shape {value.shape} of {value.dtype}."
            raise ValueError(message)
        return value.astype(t.dtype)

    def pieces(self, start: Array, duration: Array) -> Pieces:
        dtype, duration = duration.dtype, lax.stop_gradient(duration)
        nodes, to_monomials, checks, to_checks = _interpolation(_DEGREE[jnp.finfo(dtype).bits])
        edges = jnp.linspace(jnp.zeros_like(duration), duration, _PANELS + 1, dtype=dtype)
        width = duration / _PANELS
        places = np.concatenate([nodes, checks])
        times = start + edges[:-1, None] + width * jnp.asarray(places, dtype)
        sampled = jax.vmap(jax.vmap(self))(times)
        values, others = sampled[:, : nodes.size], sampled[:, nodes.size :]
        monomials = values @ jnp.asarray(to_monomials, dtype)
        powers = jnp.arange(nodes.size, dtype=dtype)
        factorials = jnp.asarray([float(math.factorial(r)) for r in range(nodes.size)], dtype)
        safe = jnp.where(width > 0, width, 1.0)
        largest = jnp.max(jnp.abs(sampled))
        missed = jnp.max(jnp.abs(values @ jnp.asarray(to_checks, dtype) - others))
        error = missed / jnp.where(largest > 0, largest, 1.0)
        return Pieces(edges, monomials * factorials / safe**powers, lax.stop_gradient(error))


def as_signal(value: Any, where: str) -> AbstractSignal:
    """A signal from one, or from a callable, which is taken as smooth."""
    if isinstance(value, AbstractSignal):
        return value
    if callable(value) and not isinstance(value, jax.Array | np.ndarray):
        return Smooth(value)
    number = as_parameter(value, where)
    if number.ndim != 0:
        message = f"`{where}` must be a signal, a function of time or a number, got an array of shape {number.shape}."
        raise ValueError(message)
    return Sampled(jnp.zeros_like(number)[None], number[None], kind="previous")


def _slopes(kind: str, times: Array, values: Array) -> Array:
    """The rate after each sample; zero after the last one."""
    if kind == "previous":
        return jnp.zeros_like(values)
    gaps = jnp.diff(times)
    apart = gaps > 0
    rates = jnp.where(apart, jnp.diff(values) / jnp.where(apart, gaps, 1.0), 0.0)
    return jnp.concatenate([rates, jnp.zeros_like(values[:1])])


@functools.cache
def _interpolation(degree: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Chebyshev's nodes on [0, 1], values to monomials, places between the nodes, and values to values there."""
    count = degree + 1
    nodes = 0.5 - 0.5 * np.cos((np.arange(count) + 0.5) * np.pi / count)
    to_monomials = np.linalg.inv(np.vander(nodes, increasing=True)).T
    checks = np.array([0.0, 0.5 * (nodes[0] + nodes[1]), 1.0])
    to_checks = to_monomials @ np.vander(checks, count, increasing=True).T
    return nodes, to_monomials, checks, to_checks
