"""Marching `dᵠu/dtᵠ = A u + sources` through the output times with one Krylov space for each start vector and step.

A step builds a space for every component of the state, aims at the last output time, and takes the longest step that
the error estimate allows; every output time on its way is read from the same spaces.
"""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jax import lax
from jaxtyping import Array, Bool, Int, PyTree, Real

from .._custom_types import Weight
from .._solution import RESULTS
from ..krylov._space import add, norm, scale
from ..operator import is_self_adjoint, spectral_interval
from ._base import AbstractKrylov, AbstractMethod
from ._batch import batch_any, write_where
from ._reduction import Reduction, lift

_CHUNK = 8
_MAX_TRIES = 60
# A step is made more accurate by at most this factor for the sake of later growth: a solution that grows as fast as
# anything can, the usual case, needs none of it. What remains is told by the error estimate.
_MOST_LATER_GROWTH = 1e3


class Observation(eqx.Module):
    """A linear map of one component of the state: what is kept of a solution instead of the state."""

    operator: lx.AbstractLinearOperator
    component: int = eqx.field(static=True)


class Problem(eqx.Module):
    """`dᵠu/dtᵠ = A u + sources` with `order` q, in the inner product of `weight`."""

    operator: lx.AbstractLinearOperator
    weight: Weight
    observation: Observation | None
    order: int = eqx.field(static=True)


def growth_rate(operator: lx.AbstractLinearOperator) -> Array | None:
    """The upper end of the spectrum of a self-adjoint operator, where that is known: no state grows faster.

    The Krylov space of data that lie far from where a state grows never meets that growth, and its Ritz values say
    nothing about it.
    """
    interval = spectral_interval(operator) if is_self_adjoint(operator) else None
    return None if interval is None else lax.stop_gradient(interval[1])


class Settings(eqx.Module):
    """What is static about a march."""

    method: AbstractMethod
    rtol: float = eqx.field(static=True)
    atol: float = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    @property
    def krylov(self) -> AbstractKrylov:
        """The method, where one with Krylov spaces is needed: `Dense` never marches."""
        assert isinstance(self.method, AbstractKrylov)
        return self.method


class Schedule(eqx.Module):
    """Output times in the order in which a march meets them: away from 0, first backwards, then forwards in time."""

    times: Real[Array, " n"]
    order: Int[Array, " n"]

    def __init__(self, times: Real[Array, " n"]):
        # Ascending |t| within each sign, negative times first.
        keys = (jnp.abs(times), times >= 0)
        self.order = jnp.lexsort(keys).astype(jnp.int32)
        self.times = times[self.order]

    @property
    def inverse(self) -> Int[Array, " n"]:
        return jnp.argsort(self.order)

    def __getitem__(self, index: Int[Array, "*k"]) -> Real[Array, "*k"]:
        return self.times[jnp.clip(index, 0, self.times.size - 1)]

    def last(self, time: Real[Array, ""]) -> Real[Array, ""]:
        """The last time on the same side of 0."""
        return jnp.where(time < 0, jnp.min(self.times), jnp.max(self.times))


class Horizon(eqx.Module):
    """The time around a step: what decides how large its error may be.

    * `total`: the last time on this side of 0.   * `left`: from the start of this step to the end of the march.
    * `rate`: the operator's growth rate, or None where unknown.
    * `first`: the duration to the first output time: the shortest that the step's space must serve.
    """

    total: Real[Array, ""]
    left: Real[Array, ""]
    rate: Real[Array, ""] | None
    first: Real[Array, ""]

    def share(self, t: Array) -> Array:
        """The part of the tolerance that a step of length t may use."""
        return jnp.where(self.total == 0, 1.0, jnp.abs(t) / jnp.where(self.total == 0, 1.0, jnp.abs(self.total)))

    def growth(self, order: int, t: Array) -> Array:
        """By how much anything can grow in time t. Backwards in time, diffusion's own growth is left to the space."""
        if self.rate is None:
            return jnp.ones_like(t)
        rate = jnp.maximum(self.rate.astype(t.dtype), 0.0)
        exponent = jnp.maximum(t, 0.0) * rate if order == 1 else jnp.abs(t) * jnp.sqrt(rate)
        return jnp.exp(exponent) if order == 1 else jnp.cosh(exponent)

    def later_growth(self, order: int, t: Array) -> Array:
        """By how much anything can grow after a step of length t, as far as a more accurate step is of help."""
        rest = jnp.sign(t) * jnp.maximum(jnp.abs(self.left) - jnp.abs(t), 0.0)
        return jnp.minimum(self.growth(order, rest), _MOST_LATER_GROWTH)


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


def local_error(
    method: AbstractKrylov, order: int, table: Array, growth: Array, reduction: Reduction
) -> tuple[Array, Array]:
    """Error estimate and size of each component `j < q`, from the coefficients of `F_(l-q+1) … F_(l+q)`.

    The defect of a Krylov approximation from component l is `h v_(m+1) e_mᵀ F_l(s, H) e_1 β` in the highest
    derivative; integrated against the flow it is of size `β h |e_mᵀ F_(l+q-j)(t, H) e_1|` in component j. For q = 1
    this is the φ_1 form, for q = 2 the forms of the wave equation (Hochbruck, Lubich 1997, and NUMERICS). The larger
    of the last two entries guards against the zero of an oscillating entry, the growth against non-normality.
    """
    last = jnp.maximum(reduction.dimension - 1, 0)
    previous = jnp.maximum(last - 1, 0)
    errors, sizes = [], []
    for component in range(order):
        entries = method.tail(order, component, table, reduction)
        tail = jnp.maximum(jnp.abs(entries[last]), jnp.abs(entries[previous]))
        errors.append(reduction.coupling * tail * growth)
        sizes.append(jnp.linalg.norm(table[order - 1 - component]))
    return jnp.stack(errors), jnp.stack(sizes)


def assess(
    settings: Settings,
    order: int,
    level: int,
    t: Array,
    count: int,
    horizon: Horizon,
    scales: Array,
    reduction: Reduction,
) -> tuple[Array, Array]:
    """The largest ratio of estimated error to allowed error at time t, and the relative error."""
    share = horizon.share(t) / count
    table, growth = settings.krylov.coefficients(order, level - order + 1, level + order, t, reduction)
    growth = jnp.maximum(growth, horizon.growth(order, t).astype(growth.dtype))
    errors, sizes = local_error(settings.krylov, order, table, growth, reduction)
    reference = jnp.maximum(sizes, scales)
    allowed = share * (settings.atol + settings.rtol * reference)
    # Neither a NaN estimate nor one from functions that have lost their digits (infinite growth) may pass for zero.
    positive = ~(errors <= 0) | ~jnp.isfinite(growth)
    ratios = horizon.later_growth(order, t).astype(errors.dtype) * errors
    ratios = jnp.where(positive, ratios / jnp.where(allowed > 0, allowed, jnp.finfo(errors.dtype).tiny), 0.0)
    relative = jnp.where(positive, errors / jnp.where(reference > 0, reference, 1.0), 0.0)
    ratio = jnp.max(jnp.where(jnp.isfinite(ratios) & jnp.isfinite(growth), ratios, jnp.inf))
    return ratio, jnp.max(relative)


def build(
    settings: Settings,
    operator: lx.AbstractLinearOperator,
    weight: Weight,
    order: int,
    starts: tuple[PyTree[Array], ...],
    levels: tuple[int, ...],
    goal: Array,
    horizon: Horizon,
    scales: Array,
) -> tuple[list[Reduction], Array, Array]:
    """Spaces from `starts` (components `levels` of the state), the step that all of them allow, its relative error.

    The error allowed in a step is its share of the tolerance, split among the starts.
    """
    count = len(starts)

    def judge(level: int, t: Array, reduction: Reduction) -> tuple[Array, Array]:
        return assess(settings, order, level, t, count, horizon, scales, reduction)

    served = (goal,) if settings.krylov.window is None else (goal, horizon.first)

    def accept(level: int, trial: Reduction) -> Bool[Array, ""]:
        ratios = [judge(level, duration, trial)[0] for duration in served]
        return functools.reduce(jnp.maximum, ratios) <= 1.0

    reductions, step, error = [], goal, jnp.zeros_like(goal)
    for start, level in zip(starts, levels, strict=True):
        reduction = settings.krylov.reduce(
            operator, weight, start, goal, settings.rtol, functools.partial(accept, level)
        )
        reductions.append(reduction)
        longest = settings.krylov.longest(order, reduction)
        step, relative = _longest_step(functools.partial(judge, level), step, longest, reduction)
        error = error + relative
    return reductions, step, error


def total_error(
    settings: Settings,
    order: int,
    horizon: Horizon,
    spaces: list[Reduction],
    step: Array,
    scales: Array,
    before: Array,
    error: Array,
) -> Array:
    """The relative error after a step: what was there before may have grown, truncation and rounding are added.

    `before` is relative to `scales`, the sizes at the start of the step.
    """
    unit = _rounding(spaces, error)
    if horizon.rate is None:
        return before + unit + error
    size = scales
    if order == 1 and len(spaces) == 1:
        (space,) = spaces
        size = jnp.maximum(scales, jnp.linalg.norm(settings.krylov.coefficients(order, 0, 0, step, space)[0]))
    shrunk = jnp.max(scales / jnp.where(size > 0, size, 1.0))
    growth = jnp.maximum(horizon.growth(order, step) * shrunk, 1.0)
    return (before + unit) * jnp.minimum(growth, jnp.finfo(growth.dtype).max) + error


def _rounding(spaces: list[Reduction], like: Array) -> Array:
    """What rounding adds to the relative error of a step: one unit for each application in a row.

    Measured in single precision: 1.7e-5 for a wave of 170 applications, 2e-5 for diffusion of 200.
    """
    dimension = functools.reduce(jnp.maximum, [space.dimension for space in spaces])
    return jnp.finfo(like.dtype).eps * dimension.astype(like.dtype)


def _longest_step(
    judge: Callable[[Array, Reduction], tuple[Array, Array]], step: Array, longest: Array, reduction: Reduction
) -> tuple[Array, Array]:
    """The longest step, at most `step`, that the estimate accepts, and its relative error.

    The error of a step of length t goes as t to the power of the dimension at first; half of that is used, because the
    power law sets in late. After a failure at full length nothing longer than `longest` is tried.
    """
    exponent = 2.0 / jnp.maximum(reduction.dimension, 2).astype(step.dtype)

    def shorten(carry):
        tries, trial, ratio, _ = carry
        factor = jnp.clip(jnp.where(jnp.isfinite(ratio), 0.9 * ratio**-exponent, 0.3), 0.1, 0.9)
        shorter = jnp.sign(trial) * jnp.minimum(jnp.abs(trial) * factor, longest)
        trial = jnp.where((tries > 0) & (ratio > 1.0), shorter, trial)
        return (tries + 1, trial, *judge(trial, reduction))

    def rejected(carry) -> Bool[Array, ""]:
        tries, _, ratio, _ = carry
        return batch_any(ratio > 1.0) & (tries < _MAX_TRIES)

    infinite = jnp.full_like(step, jnp.inf)
    _, trial, _, relative = lax.while_loop(rejected, shorten, (jnp.zeros((), jnp.int32), step, infinite, infinite))
    return trial, relative


class Step(eqx.Module):
    """What the backward pass needs to know about one step."""

    time: Real[Array, ""]
    end: Real[Array, ""]
    first_output: Int[Array, ""]
    state: tuple[PyTree[Array], ...]


class Record(eqx.Module):
    """Steps of a march (leading axis `max_steps`), and the spaces of the first few of them."""

    steps: Step
    spaces: list[Reduction]
    count: Int[Array, ""]

    @property
    def slots(self) -> int:
        return self.spaces[0].dimension.shape[0]


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


def component_from_tables(order: int, component: int, spaces: list[Reduction], tables: list[Array]) -> PyTree[Array]:
    """Component of the state from coefficients `tables[l][k] = F_(l-order+1+k)` (one set or a stack of them)."""
    parts = [lift(space, table[..., order - 1 - component, :]) for space, table in zip(spaces, tables, strict=True)]
    total = parts[0]
    for part in parts[1:]:
        total = add(total, part)
    return total


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
        outputs=_empty_outputs(problem, start, schedule.times.size),
        counters=Counters.zero(scales.dtype),
        result=RESULTS.where(jnp.all(jnp.isfinite(scales)), RESULTS.successful, RESULTS.nonfinite),
        scales=scales,
        record=_empty_record(settings, problem, start, schedule, slots) if slots else None,
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
        record = _remember(record, active, Step(time, end, carry.next_output, state), spaces)
    next_output, outputs = _write_outputs(
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


def _write_outputs(settings, problem, schedule, spaces, time, end, active, next_output, outputs):
    """Evaluates every output time in reach, `_CHUNK` at once: one pass over the basis serves them all."""
    count = schedule.times.size
    chunk = min(count, _CHUNK)
    reader = _reader(settings, problem, spaces)

    def in_reach(index: Array) -> Array:
        times = schedule[index]
        forward = jnp.where(end < time, times >= end, times <= end) & ((times < 0) == (schedule[next_output] < 0))
        return active & (index < count) & forward

    def body(carry):
        index, outputs = carry
        indices = index + jnp.arange(chunk, dtype=jnp.int32)
        valid = in_reach(indices)
        values = reader(jnp.where(valid, schedule[indices] - time, 0.0))

        def write(buffer, value):
            old = lax.dynamic_slice_in_dim(buffer, index, chunk, axis=0)
            mask = valid.reshape((chunk,) + (1,) * (value.ndim - 1))
            return lax.dynamic_update_slice_in_dim(buffer, jnp.where(mask, value, old), index, axis=0)

        return index + jnp.sum(valid, dtype=jnp.int32), jtu.tree_map(write, outputs, values)

    return lax.while_loop(lambda carry: batch_any(in_reach(carry[0])), body, (next_output, outputs))


def _reader(settings: Settings, problem: Problem, spaces: list[Reduction]):
    """A function of a stack of offsets that returns the outputs there."""
    order = problem.order
    seen = spaces
    if problem.observation is not None:
        # Observe the basis once; every output is then a sum of a few short rows.
        observe = jax.vmap(problem.observation.operator.mv)
        seen = [eqx.tree_at(lambda s: s.basis, space, observe(space.basis)) for space in spaces]

    def read(offsets: Array) -> PyTree[Array]:
        tables = [
            jax.vmap(
                lambda t, level=level, space=space: settings.krylov.coefficients(
                    order, level - order + 1, level, t, space
                )[0]
            )(offsets)
            for level, space in enumerate(spaces)
        ]
        if problem.observation is not None:
            return component_from_tables(order, problem.observation.component, seen, tables)
        return tuple(component_from_tables(order, component, spaces, tables) for component in range(order))

    return read


def _empty_outputs(problem: Problem, start: tuple[PyTree[Array], ...], count: int) -> PyTree[Array]:
    if problem.observation is None:
        like = jax.eval_shape(lambda: start[: problem.order])
    else:
        like = jax.eval_shape(problem.observation.operator.mv, start[problem.observation.component])
    rows = count + min(count, _CHUNK) - 1
    return jtu.tree_map(lambda leaf: jnp.full((rows, *leaf.shape), jnp.nan, leaf.dtype), like)


def _empty_record(settings, problem, start, schedule, slots: int) -> Record:
    zero = jnp.zeros_like(schedule.times[0])
    step = Step(zero, zero, jnp.zeros((), jnp.int32), start)
    like = [
        jax.eval_shape(
            lambda vector: settings.krylov.reduce(
                problem.operator, problem.weight, vector, zero, settings.rtol, lambda _: jnp.array(True)
            ),
            vector,
        )
        for vector in start
    ]

    def stacked(count: int, tree: PyTree) -> PyTree:
        return jtu.tree_map(lambda leaf: jnp.zeros((count, *leaf.shape), leaf.dtype), tree)

    slots = min(slots, settings.max_steps)
    return Record(stacked(settings.max_steps, step), stacked(slots, like), jnp.zeros((), jnp.int32))


def _remember(record: Record, active: Array, step: Step, spaces: list[Reduction]) -> Record:
    def write(buffers, values):
        return jtu.tree_map(lambda buffer, value: write_where(buffer, value, record.count, active), buffers, values)

    def room(slots: int) -> Array:
        return batch_any(active & (record.count < slots))

    # Past the slots nothing is written: the bases are large.
    keep = functools.partial(lax.cond, room(record.slots), write, lambda buffers, _: buffers)
    keep_step = functools.partial(lax.cond, room(record.steps.time.shape[0]), write, lambda buffers, _: buffers)
    return Record(
        steps=keep_step(record.steps, step),
        spaces=keep(record.spaces, spaces),
        count=record.count + active.astype(jnp.int32),
    )
