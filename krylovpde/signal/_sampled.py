"""Time series."""

from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Real

from .._parameter import as_parameter, known_false
from ._base import AbstractSignal
from ._pieces import Pieces


class Sampled(AbstractSignal):
    """A time series, by a named rule between its samples and constant before the first and after the last.

    - `kind="linear"`: straight lines; a time that stands twice is a jump.
    - `kind="previous"`: each value holds until the next sample.

    Solves are exact for the interpolated signal: the samples may be coarse or fine beside the periods of the waves.
    Derivatives reach the values, and through the straight lines the times; when a jump happens is a constant to them.

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
        t = as_parameter(t, "Sampled(...)(t)")
        times, values = self.times.astype(t.dtype), self.values.astype(t.dtype)
        index = jnp.searchsorted(times, t, side="right").astype(jnp.int32) - 1
        here = jnp.clip(index, 0, self.times.size - 1)
        slope = jnp.where(index >= 0, _slopes(self.kind, times, values)[here], 0.0)
        return values[here] + slope * (t - times[here])

    @property
    def breakpoints(self) -> Real[Array, " breaks"]:
        """Every sample, but where nothing happens: the first of `"previous"`, a single one."""
        return lax.stop_gradient(self.times[:0] if self.times.size == 1 else self.times[int(self.kind == "previous") :])

    @property
    def degree(self) -> int | None:
        """0 or 1."""
        return int(self.kind == "linear")

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


def _slopes(kind: str, times: Array, values: Array) -> Array:
    """The rate after each sample; zero after the last one."""
    if kind == "previous":
        return jnp.zeros_like(values)
    gaps = jnp.diff(times)
    apart = gaps > 0
    rates = jnp.where(apart, jnp.diff(values) / jnp.where(apart, gaps, 1.0), 0.0)
    return jnp.concatenate([rates, jnp.zeros_like(values[:1])])
