"""The spaces of a step, for the backward pass: from the record, or built again from the last state that was kept.

The states between two that were kept are made once, when the backward pass comes to the last of them, and stay in a
buffer as long as the gap until it is through.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax
from jaxtyping import Array, Int, PyTree

from ..action._batch import batch_any, batch_max, write_where
from ..action._error_control import Horizon, build
from ..action._march import March, advance_state, select
from ..action._problem import Problem, Settings
from ..action._record import Record
from ..action._reduction import Reduction
from ..action._schedule import Schedule
from ..action._stored_states import widest_spacing


class Segment(eqx.Module):
    """The states of the steps `base`, `base + 1`, …, where they have been made again; `base` is -1 before."""

    base: Int[Array, ""]
    states: PyTree[Array]


class Past(eqx.Module):
    """The forward march, as the backward pass needs it."""

    settings: Settings
    problem: Problem
    start: tuple[PyTree[Array], ...]
    schedule: Schedule
    forward: March
    rate: Array | None

    @property
    def record(self) -> Record:
        """What the march wrote down."""
        assert self.forward.record is not None, "the forward march must be recorded"
        return self.forward.record

    def no_segment(self) -> Segment:
        """Room for one."""
        length = widest_spacing(self.record.states.owners.size, self.settings.max_steps)
        # With a gap of one step every state is kept.
        rows = jtu.tree_map(lambda leaf: jnp.zeros((length if length > 1 else 0, *leaf.shape), leaf.dtype), self.start)
        return Segment(jnp.full((), -1, jnp.int32), rows)


def recall(past: Past, step: Array, active: Array, segment: Segment) -> tuple[list[Reduction], Segment, Array]:
    """The spaces of a step, the states that were made on the way, and how many applications that took."""
    record = past.record
    needed = active & ~record.has_spaces(step)

    def stored() -> tuple[list[Reduction], Segment, Array]:
        return record.spaces_of(step), segment, jnp.zeros((), jnp.int32)

    # Where one lane of a batch needs its spaces again, all lanes take that way.
    return lax.cond(batch_any(needed), lambda: _again(past, step, active, segment), stored)


def _again(past: Past, step: Array, active: Array, segment: Segment) -> tuple[list[Reduction], Segment, Array]:
    states = past.record.states
    base = step - step % states.spacing
    first, state = base, states.state(base)
    if _length(segment):
        known = segment.base == base
        first = jnp.where(known, step, base)
        state = select(known, _row(segment.states, step - base), state)
    segment = Segment(jnp.where(active, base, segment.base), segment.states)
    # All lanes end with their own step in the last round.
    rounds = batch_max(jnp.where(active, step - first, 0))

    def one(place, carry):
        state, segment, _, applications = carry
        index = step - rounds + place
        working = active & (index >= first)
        spaces, span = _build(past, jnp.maximum(index, 0), state, working)
        moving = working & (index < step)
        if _length(segment):
            moved = lax.cond(
                batch_any(moving),
                lambda: advance_state(past.settings, past.problem.order, state, spaces, span),
                lambda: state,
            )
            # Where the march turned, from times before 0 to those after it, it began anew.
            turned = past.record.step(jnp.clip(index + 1, 0, step)).time == 0
            state = select(moving, select(turned, past.start, moved), state)
            segment = _with(segment, index + 1 - base, state, moving)
        applications = applications + jnp.where(working, sum(space.applications for space in spaces), 0)
        return state, segment, spaces, applications

    zero = jnp.zeros((), jnp.int32)
    none = jtu.tree_map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(past.record.spaces_of, zero))
    segment = _with(segment, zero, state, active & (first == base)) if _length(segment) else segment
    _, segment, spaces, applications = lax.fori_loop(0, rounds + 1, one, (state, segment, none, zero))
    return spaces, segment, applications


def _build(past: Past, index: Array, state: PyTree[Array], working: Array) -> tuple[list[Reduction], Array]:
    """The spaces of a step as the march built them, and how long it is; of lanes that do not work, those of zero."""
    step, problem = past.record.step(index), past.problem
    start = select(working, state, jtu.tree_map(jnp.zeros_like, state))
    last = past.schedule.last(step.end)
    span = jnp.where(working, step.end - step.time, 0.0)
    horizon = Horizon(last, jnp.where(working, last - step.time, 0.0), past.rate, span)
    levels: Any = tuple(range(len(start)))
    spaces, _, _ = build(
        past.settings,
        problem.operator,
        problem.weight,
        problem.order,
        start,
        levels,
        span,
        horizon,
        past.forward.scales,
    )
    return spaces, span


def _length(segment: Segment) -> int:
    return jtu.tree_leaves(segment.states)[0].shape[0]


def _row(states: PyTree[Array], index: Array) -> PyTree[Array]:
    return jtu.tree_map(lambda rows: lax.dynamic_index_in_dim(rows, index, keepdims=False), states)


def _with(segment: Segment, index: Array, state: PyTree[Array], condition: Array) -> Segment:
    def write(rows: Array, leaf: Array) -> Array:
        # A single lane may come here with nothing to write.
        old = lax.dynamic_index_in_dim(rows, index, keepdims=False)
        return write_where(rows, jnp.where(condition, leaf, old), index, condition)

    return Segment(segment.base, jtu.tree_map(write, segment.states, state))
