"""A search along a path that bends where it meets a limit."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Int, PyTree, Scalar

from ._bounds import Bounds
from ._tree import add_scaled, all_finite, dot, only, select, subtract

# Moré and Thuente's and L-BFGS-B's usual constants: a little decrease, a slope that is not much steeper than 0.9 of it.
_DECREASE, _CURVATURE = 1e-4, 0.9
# How far a trial keeps from the ends of the bracket, and how much longer the next one may be where there is no end.
_MARGIN, _GROWTH = 0.1, 4.0


class Found(NamedTuple):
    """The best point of a search: `length` is zero where there was none."""

    parameters: PyTree
    value: Scalar
    gradient: PyTree
    length: Scalar
    evaluations: Int[Array, ""]


class _Search(NamedTuple):
    low: Found
    low_slope: Scalar
    high: Scalar
    high_value: Scalar
    high_slope: Scalar
    trial: Scalar
    done: Bool[Array, ""]


def search(
    function: Callable[[PyTree], Scalar],
    bounds: Bounds,
    start: Found,
    direction: PyTree[Array],
    first: Scalar,
    max_evaluations: int,
) -> Found:
    """A point `project(parameters + length direction)` that satisfies the weak Wolfe conditions along that path.

        f <= f₀ + 1e-4 <gradient₀, change>     and     slope >= 0.9 slope₀

    A trial that falls too little is the upper end of a bracket, one that still falls too steeply the lower end; the
    next one is the minimiser of the cubic through both, kept off the ends. A trial that is not finite is an upper end
    of which nothing is known: the bracket shrinks to a tenth. Weak conditions are enough for `<step, change of
    gradient> > 0`, and bracketing needs no smoothness, of which the bends leave none. The point of the best lower end
    is taken when the evaluations are used up.

    Sources: Lewis, Overton, "Nonsmooth optimization via quasi-Newton methods", Math. Program. 141 (2013), algorithm
    2.6; decrease along the projected path: Bertsekas, SIAM J. Control Optim. 20 (1982).
    """
    dtype = start.value.dtype
    slope = dot(start.gradient, direction).astype(dtype)

    def advance(state: _Search) -> _Search:
        parameters, moving = _along(bounds, start.parameters, direction, state.trial)
        value, gradient = jax.value_and_grad(function)(parameters)
        promised = dot(start.gradient, subtract(parameters, start.parameters)).astype(dtype)
        finite = all_finite(value, gradient)
        falls = finite & (promised < 0) & (value <= start.value + _DECREASE * promised)
        trial_slope = dot(gradient, only(moving, direction)).astype(dtype)
        found = Found(parameters, value, gradient, state.trial, state.low.evaluations)
        low = select(falls, found, state.low)._replace(evaluations=state.low.evaluations + 1)
        unknown = jnp.full_like(value, jnp.nan)
        bracket = state._replace(
            low=low,
            low_slope=jnp.where(falls, trial_slope, state.low_slope),
            high=jnp.where(falls, state.high, state.trial),
            high_value=jnp.where(falls, state.high_value, jnp.where(finite, value, unknown)),
            high_slope=jnp.where(falls, state.high_slope, trial_slope),
            done=falls & (trial_slope >= _CURVATURE * slope),
        )
        return bracket._replace(trial=_next_trial(bracket, state, falls))

    def go_on(state: _Search) -> Bool[Array, ""]:
        return jnp.logical_not(state.done) & (state.low.evaluations - start.evaluations < max_evaluations)

    nothing = jnp.full_like(start.value, jnp.nan)
    low = start._replace(length=jnp.zeros((), dtype))
    infinity, uphill = jnp.full_like(slope, jnp.inf), jnp.logical_not(slope < 0)
    begin = _Search(low, slope, infinity, nothing, nothing, first.astype(dtype), done=uphill)
    return jax.lax.while_loop(go_on, advance, begin).low


def _along(
    bounds: Bounds, parameters: PyTree[Array], direction: PyTree[Array], length: Scalar
) -> tuple[PyTree[Array], PyTree[Bool[Array, "..."]] | None]:
    """The point of the path, and which unknowns have not met their limit before it."""
    straight = add_scaled(parameters, length, direction)
    if not bounds.exist:
        return straight, None
    projected = bounds.project(straight)
    return projected, jtu.tree_map(lambda a, b: a == b, straight, projected)


def _next_trial(bracket: _Search, before: _Search, falls: Bool[Array, ""]) -> Scalar:
    """Between the ends of the bracket; beyond the last trial where there is no upper end yet."""
    low, high = bracket.low.length, bracket.high
    inside = _cubic(low, bracket.low.value, bracket.low_slope, high, bracket.high_value, bracket.high_slope)
    width = high - low
    inside = jnp.clip(inside, low + _MARGIN * width, high - _MARGIN * width)
    inside = jnp.where(jnp.isfinite(inside), inside, low + _MARGIN * width)
    trial = before.trial
    beyond = _cubic(before.low.length, before.low.value, before.low_slope, trial, bracket.low.value, bracket.low_slope)
    beyond = jnp.where(jnp.isfinite(beyond) & (beyond > trial), beyond, _GROWTH * trial)
    beyond = jnp.clip(beyond, (1 + _MARGIN) * trial, _GROWTH * trial)
    return jnp.where(jnp.isinf(high) & falls, beyond, inside)


def _cubic(a: Scalar, f_a: Scalar, slope_a: Scalar, b: Scalar, f_b: Scalar, slope_b: Scalar) -> Scalar:
    """The minimiser of the cubic with these values and slopes; not finite where it has none (NW, equation 3.59)."""
    d1 = slope_a + slope_b - 3 * (f_a - f_b) / (a - b)
    d2 = jnp.sqrt(d1**2 - slope_a * slope_b)
    return b - (b - a) * (slope_b + d2 - d1) / (slope_b - slope_a + 2 * d2)
