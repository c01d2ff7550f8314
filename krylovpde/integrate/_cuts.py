"""Where steps have to end besides output times: at jumps and kinks, and before a signal has moved too far."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Real

from ..equation import AbstractEquation, AbstractSignal

# A function of time is looked at in so many places of the whole duration.
_SAMPLES = 4096
# In one step all signals together may move by this part of their largest values. A step that begins before a pulse then
# ends no later than at its height, and cannot miss it; a sine of ten periods takes forty steps, fewer than its accuracy
# asks for.
_MOVES = 1.0


class Cuts(eqx.Module):
    """Times at which steps end, constants to every derivative.

    * `breaks`: jumps and kinks, not decreasing; they may lie outside of the interval.
    * `places`, `moved`: how far the functions of time have moved since the start, their total variation; `None` where
        there are none.
    """

    breaks: Real[Array, " breaks"]
    places: Real[Array, " places"] | None
    moved: Real[Array, " places"] | None

    def next(self, time: Array, target: Array) -> Array:
        """Where a step that begins at `time` ends at the latest: at `target`, or before."""
        goal = target
        if self.breaks.size > 0:
            goal = _earlier(goal, self.breaks, jnp.searchsorted(self.breaks, time, side="right"))
        if self.places is not None and self.moved is not None:
            allowed = jnp.interp(time, self.places, self.moved) + _MOVES
            place = jnp.searchsorted(self.moved, allowed, side="right")
            # Beyond the place where the step began, whatever the signal does in between two places.
            place = jnp.maximum(place, jnp.searchsorted(self.places, time, side="right"))
            goal = _earlier(goal, self.places, place)
        return goal


def cuts_of(equation: AbstractEquation, start: Array, end: Array, *, adaptive: bool) -> Cuts:
    """Those of an equation between two times; steps of a size that is kept to end early at jumps and kinks alone."""
    breaks = lax.stop_gradient(equation.breakpoints.astype(start.dtype))
    signals = [signal for _, signal in equation.driving() if signal.degree is None]
    if not (signals and adaptive):
        return Cuts(breaks, None, None)
    places = lax.stop_gradient(jnp.linspace(start, end, _SAMPLES + 1, dtype=start.dtype))
    moved = jnp.sum(jnp.stack([_variation(signal, places) for signal in signals]), axis=0)
    return Cuts(breaks, places, lax.stop_gradient(moved))


def inside(t: Array, begin: Array, end: Array) -> Array:
    """`t`, but no closer to the ends of a step than the next number: what jumps there is seen from within the step.

    The same derivative as `t`. Rounding that led out of the step is undone, too.
    """
    low, high = _neighbour(begin, 1.0), _neighbour(end, -1.0)
    moved = lax.stop_gradient(jnp.where(t < low, low, jnp.where(t > high, high, t)))
    return moved + (t - lax.stop_gradient(t))


def _neighbour(t: Array, direction: float) -> Array:
    """The next number. Beside zero it is the smallest normal one: those below are taken for zero in comparisons."""
    towards = jnp.full_like(t, direction * jnp.inf)
    return jnp.where(t == 0, direction * float(jnp.finfo(t.dtype).tiny), jnp.nextafter(t, towards))


def _earlier(goal: Array, times: Array, index: Array) -> Array:
    """The time of that index where there is one and it comes before the goal."""
    candidate = times[jnp.minimum(index, times.size - 1)]
    return jnp.where((index < times.size) & (candidate < goal), candidate, goal)


def _variation(signal: AbstractSignal, places: Array) -> Array:
    values = jax.vmap(signal)(places)
    largest = jnp.max(jnp.abs(values))
    steps = jnp.abs(jnp.diff(values)) / jnp.where(largest > 0, largest, 1.0)
    return jnp.concatenate([jnp.zeros_like(steps[:1]), jnp.cumsum(steps)])
