"""Marching `dᵠu/dtᵠ = A u + sources` through the output times with one Krylov space for each start vector and step.

A step builds a space for every component of the state, aims at the last output time, and takes the longest step that
the error estimate allows; every output time on its way is read from the same spaces.
"""

import functools
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax
from jaxtyping import Array, Bool, Int, PyTree, Real

from .._solution import RESULTS
from ..krylov._space import add, norm, scale
from ._batch import batch_any
from ._error_control import Horizon, build, growth_rate, total_error
from ._problem import Problem, Settings
from ._record import Record, Step, empty_record, remember
from ._reduction import Reduction
from ._schedule import Schedule
from ._step_outputs import component_from_tables, empty_outputs, write_outputs


class Counters(eqx.Module):
    """What a march has cost so far."""

    applications: Int[Array, ""]
    dimension: Int[Array, ""]
    steps: Int[Array, ""]
    error: Real[Array, ""]

    @staticmethod
    def zero(dtype: Any) -> "Counters":
        zero = jnp.zeros((), jnp.int32)
        return Counters(zero, zero, zero, jnp.zeros((), dtype))


class March(eqx.Module):
    """The carry of the loop over steps, and its result."""

    time: Real[Array, ""]
    state: tuple[PyTree[Array], ...]
    next_output: Int[Array, ""]
    outputs: PyTree[Array]
    counters: Counters
    result: RESULTS
    scales: Array
    record: Record | None


def advance_state(
    settings: Settings, order: int, state: tuple[PyTree[Array], ...], spaces: list[Reduction], step: Array
) -> tuple[PyTree[Array], ...]:
    """The state one step on: Krylov sums for the first `order` components, polynomials for the sources."""
    tables = [
        settings.krylov.coefficients(order, level - order + 1, level, step, space)[0]
        for level, space in enumerate(spaces)
    ]
    moved = [component_from_tables(order, component, spaces, tables) for component in range(order)]
    return (*moved, *shift_chain(state[order:], step))


def shift_chain(chain: tuple[PyTree[Array], ...], step: Array) -> tuple[PyTree[Array], ...]:
    """`b_l(t + h) = Σ_r h^r/r! b_(l+r)`: what a polynomial source and its derivatives become."""
    moved = []
    for level in range(len(chain)):
        total, factor = chain[level], jnp.ones_like(step)
        for higher in range(level + 1, len(chain)):
            factor = factor * step / (higher - level)
            total = add(total, scale(factor, chain[higher]))
        moved.append(total)
    return tuple(moved)


def initial_scales(problem: Problem, state: tuple[PyTree[Array], ...]) -> Array:
    """The size of each of the first `order` components, in the weight."""
    return jnp.stack([norm(component, problem.weight) for component in state[: problem.order]])


def march(settings: Settings, problem: Problem, start: tuple[PyTree[Array], ...], schedule: Schedule, slots: int):
    """Solves from `start` at time 0; returns a `March`.

    `outputs` are stacked in the schedule's order, NaN where not reached. With `slots > 0` every step is recorded,
    and the spaces of the first `slots` of them.
    """
    scales = initial_scales(problem, start)
    carry = March(
        time=jnp.zeros_like(schedule.times[0]),
        state=start,
        next_output=jnp.zeros((), jnp.int32),
        outputs=empty_outputs(problem, start, schedule.times.size),
        counters=Counters.zero(scales.dtype),
        result=RESULTS.where(jnp.all(jnp.isfinite(scales)), RESULTS.successful, RESULTS.nonfinite),
        scales=scales,
        record=empty_record(settings, problem, start, schedule, slots) if slots else None,
    )
    rate = growth_rate(problem.operator)
    body = functools.partial(_march_step, settings, problem, start, schedule, rate)

    def working(carry: March) -> Bool[Array, ""]:
        return batch_any((carry.next_output < schedule.times.size) & (carry.result == RESULTS.successful))

    final = lax.while_loop(working, body, carry)
    outputs = jtu.tree_map(lambda leaf: leaf[: schedule.times.size], final.outputs)
    return eqx.tree_at(lambda final: final.outputs, final, outputs)


def _march_step(
    settings: Settings,
    problem: Problem,
    start: tuple[PyTree[Array], ...],
    schedule: Schedule,
    rate: Array | None,
    carry: March,
) -> March:
    order = problem.order
    active = (carry.next_output < schedule.times.size) & (carry.result == RESULTS.successful)
    target = schedule[carry.next_output]
    turning = (carry.time < 0) & (target >= 0)
    time = jnp.where(turning, jnp.zeros_like(carry.time), carry.time)
    state = select(turning, start, carry.state)
    total = schedule.last(target)
    # Lanes that are done build spaces from zero, which takes no application.
    working_state = select(active, state, jtu.tree_map(jnp.zeros_like, state))
    here = jnp.maximum(carry.scales, initial_scales(problem, working_state))
    levels = tuple(range(len(start)))
    left = jnp.where(active, total - time, 0.0)
    first = _next_duration(schedule, carry.next_output, time, left)
    goal = _within_window(settings.krylov.window, first, left)
    horizon = Horizon(total, left, rate, first)
    spaces, step, error = build(
        settings, problem.operator, problem.weight, order, working_state, levels, goal, horizon, here
    )
    reached = step == left
    # The last step lands on the last time exactly, not to rounding.
    end = jnp.where(reached, total, time + step)
    record = carry.record
    if record is not None:
        record = remember(record, active, Step(time, end, carry.next_output), state, spaces)
    next_output, outputs = write_outputs(
        settings, problem, schedule, spaces, time, end, active, carry.next_output, carry.outputs
    )
    more = active & (next_output < schedule.times.size)
    moved = lax.cond(
        batch_any(more), lambda: advance_state(settings, order, working_state, spaces, step), lambda: working_state
    )
    counters = Counters(
        applications=carry.counters.applications + sum(space.applications for space in spaces),
        dimension=jnp.maximum(carry.counters.dimension, jnp.max(jnp.stack([space.dimension for space in spaces]))),
        steps=carry.counters.steps + active.astype(jnp.int32),
        error=jnp.where(
            active,
            total_error(settings, order, horizon, spaces, step, here, carry.counters.error, error),
            carry.counters.error,
        ),
    )
    return March(
        time=jnp.where(active, end, carry.time),
        state=select(more, moved, state),
        next_output=next_output,
        outputs=outputs,
        counters=counters,
        result=_judge(settings, carry.result, active, more, spaces, counters, time, end, goal),
        scales=carry.scales,
        record=record,
    )


def _next_duration(schedule: Schedule, next_output: Array, time: Array, left: Array) -> Array:
    """How far the next output time lies ahead that is not the present."""
    pending = jnp.arange(schedule.times.size, dtype=jnp.int32) >= next_output
    ahead = (schedule.times - time) * jnp.sign(left)
    nearest = jnp.min(jnp.where(pending & (ahead > 0), ahead, jnp.abs(left)))
    return jnp.sign(left) * nearest


def _within_window(window: float | None, first: Array, left: Array) -> Array:
    """The duration that one space is built for."""
    if window is None:
        return left
    return jnp.sign(left) * jnp.minimum(jnp.abs(left), window * jnp.abs(first))


def _judge(settings, result, active, more, spaces, counters, time, end, goal):
    finite = jnp.all(jnp.stack([jnp.isfinite(space.norm) for space in spaces])) & jnp.isfinite(counters.error)
    stuck = active & (goal != 0) & (end == time)
    late = more & (counters.steps >= settings.max_steps)
    outcome = RESULTS.where(late, RESULTS.max_steps_reached, RESULTS.successful)
    outcome = RESULTS.where(stuck, RESULTS.step_underflow, outcome)
    outcome = RESULTS.where(finite, outcome, RESULTS.nonfinite)
    outcome = worst([settings.krylov.outcome(space) for space in spaces], outcome)
    return RESULTS.where(result == RESULTS.successful, outcome, result)


def worst(outcomes: list[RESULTS], otherwise: RESULTS) -> RESULTS:
    """The first of the outcomes that is no success, if there is one."""
    for outcome in outcomes:
        otherwise = RESULTS.where(outcome == RESULTS.successful, otherwise, outcome)
    return otherwise


def select(predicate: Array, x: PyTree[Array], y: PyTree[Array]) -> PyTree[Array]:
    """`where` on pytrees."""
    return jtu.tree_map(lambda a, b: jnp.where(predicate, a, b), x, y)
