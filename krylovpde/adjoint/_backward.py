"""The backward march: cotangents of operator, observation and start state from two Krylov spaces for each step.

For `J = Σ_i <g_i, z_0(t_i)>` and `dᵠu/dtᵠ = A u + sources`, the adjoint state `λ` runs backwards through the record of
the forward march, jumps by `g_i` at each output time, and

    dJ = ∫ <λ_(q-1)(s), dA z_0(s)> ds,        ∂J/∂z(0) = λ(0)

With `μ_j = λ_(q-1-j)` the adjoint state solves the same equation with `Aᵀ`, so its Krylov spaces and functions are
those of the forward march; the cotangents of the sources are the family's next members. Between two events both
factors of the integral are short sums, `z_0(s) = V c(s)` and `λ_(q-1)(s) = W d(s)`, and `∫ d(s) c(s)ᵀ ds` has low
rank: the parameter derivative is a handful of vector–Jacobian products of `θ -> A(θ) x` (Kandolf, Koskela, Relton,
Schweitzer 2021, for the low rank).
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax
from jaxtyping import Array, Int, PyTree, Real

from .._solution import RESULTS
from ..action._batch import batch_any, batch_max
from ..action._error_control import Horizon, build, growth_rate, total_error
from ..action._march import Counters, March, select, worst
from ..action._problem import Observation, Problem, Settings
from ..action._record import Step
from ..action._reduction import Reduction, lift
from ..action._schedule import Schedule
from ..action._step_outputs import component_from_tables
from ..krylov._space import add, norm, scale
from ..operator import pull_parameters
from ._low_rank import eliminate
from ._recall import Past, recall

_RANK_CHUNK = 8
# Rank-one terms are kept down to this share of the tolerance. 0.1 was measured to be safe for gradients (NUMERICS 3.1);
# a tenth of that costs one or two terms and serves Hessian-vector products, too.
_RANK_CUT = 0.01
# A backward pass may take this many times `max_steps` segments (an output time ends a segment, too).
_STEPS_FACTOR = 16


class Pulled(eqx.Module):
    """Cotangents of `Σ_i <g_i, output_i>`, and how they were found."""

    operator: PyTree
    observation: PyTree
    start: tuple[PyTree[Array], ...]
    counters: Counters
    rebuilt: Int[Array, ""]
    parameter_vjps: Int[Array, ""]
    result: RESULTS


class _Task(eqx.Module):
    """What a backward pass knows and never changes."""

    past: Past
    cotangents: PyTree[Array]
    parameters: bool = eqx.field(static=True)

    @property
    def settings(self) -> Settings:
        return self.past.settings

    @property
    def problem(self) -> Problem:
        return self.past.problem

    @property
    def schedule(self) -> Schedule:
        return self.past.schedule


class _Carry(eqx.Module):
    """The backward loop within a step: where it is, the adjoint state, and what has been summed up."""

    time: Real[Array, ""]
    output: Int[Array, ""]
    adjoint: tuple[PyTree[Array], ...]
    scales: Array
    largest: Array
    pulled: Pulled


def pull_back(
    settings: Settings,
    problem: Problem,
    start: tuple[PyTree[Array], ...],
    schedule: Schedule,
    forward: March,
    cotangents: PyTree[Array],
    parameters: bool,
) -> Pulled:
    """Cotangents from a recorded march; `cotangents` are stacked in the schedule's order.

    Without `parameters` only the adjoint state is computed; the other cotangents stay zero.
    Output times that the forward march did not reach are constants (NaN), so their cotangents are ignored.
    """
    past = Past(settings, problem, start, schedule, forward, growth_rate(problem.operator))
    task = _Task(past, cotangents, parameters)
    zeros = jtu.tree_map(jnp.zeros_like, start)
    real = forward.time.dtype
    carry = _Carry(
        time=forward.time,
        output=forward.next_output - 1,
        adjoint=zeros,
        scales=jnp.zeros((problem.order,), real),
        largest=jnp.zeros((), real),
        pulled=Pulled(
            operator=jtu.tree_map(jnp.zeros_like, eqx.filter(problem.operator, eqx.is_inexact_array)),
            observation=jtu.tree_map(jnp.zeros_like, eqx.filter(problem.observation, eqx.is_inexact_array)),
            start=zeros,
            counters=Counters.zero(real),
            rebuilt=jnp.zeros((), jnp.int32),
            parameter_vjps=jnp.zeros((), jnp.int32),
            result=RESULTS.successful,
        ),
    )

    def body(loop):
        k, segment, carry = loop
        active = k >= 0
        index = jnp.maximum(k, 0)
        spaces, segment, rebuilt = recall(past, index, active, segment)
        carry = _step_back(task, past.record.step(index), spaces, active, carry)
        carry = eqx.tree_at(lambda c: c.pulled.rebuilt, carry, carry.pulled.rebuilt + rebuilt)
        return k - active.astype(jnp.int32), segment, carry

    loop = (past.record.count - 1, past.no_segment(), carry)
    _, _, carry = lax.while_loop(lambda loop: batch_any(loop[0] >= 0), body, loop)
    return carry.pulled


def _step_back(task: _Task, step: Step, spaces: list[Reduction], active: Array, carry: _Carry) -> _Carry:
    """One step of the forward march, backwards: its output times and the segments between them, down to its start."""
    carry = eqx.tree_at(lambda c: c.time, carry, jnp.where(active, step.end, carry.time))

    def unfinished(carry: _Carry) -> Array:
        return active & ((carry.output >= step.first_output) | (carry.time != step.time))

    def body(carry: _Carry) -> _Carry:
        busy = unfinished(carry)
        carry = _absorb(task, step, spaces, busy, carry)
        return _segment(task, step, spaces, busy, carry)

    carry = lax.while_loop(lambda carry: batch_any(unfinished(carry)), body, carry)
    # At time 0 the adjoint state is the cotangent of the start; the other direction of time begins with zero.
    landed = active & (step.time == 0)
    start = jtu.tree_map(lambda total, x: jnp.where(landed, total + x, total), carry.pulled.start, carry.adjoint)
    adjoint = select(landed, jtu.tree_map(jnp.zeros_like, carry.adjoint), carry.adjoint)
    return eqx.tree_at(lambda c: (c.pulled.start, c.adjoint), carry, (start, adjoint))


def _absorb(task: _Task, step: Step, spaces: list[Reduction], busy: Array, carry: _Carry) -> _Carry:
    """The adjoint state's jump by `g_i` where an output time has been reached."""
    problem, schedule, cotangents = task.problem, task.schedule, task.cotangents
    order, observation = problem.order, problem.observation
    here = busy & (carry.output >= step.first_output) & (schedule[carry.output] == carry.time)
    index = jnp.maximum(carry.output, 0)
    jump = jtu.tree_map(lambda leaf: jnp.where(here, leaf[index], 0.0), cotangents)
    adjoint, pulled = list(carry.adjoint), carry.pulled
    if observation is None:
        for component in range(order):
            adjoint[component] = add(adjoint[component], jump[component])
    else:
        component = observation.component
        if task.parameters and jtu.tree_leaves(pulled.observation):
            state = _component_at(task.settings, order, component, spaces, carry.time - step.time)
            pulled = eqx.tree_at(
                lambda p: p.observation, pulled, add(pulled.observation, _parameter_vjp(observation, state, jump))
            )
        adjoint[component] = add(adjoint[component], observation.operator.transpose().mv(jump))
    return eqx.tree_at(
        lambda c: (c.adjoint, c.output, c.pulled),
        carry,
        (tuple(adjoint), carry.output - here.astype(jnp.int32), pulled),
    )


def _component_at(settings, order: int, component: int, spaces: list[Reduction], offset: Array) -> PyTree[Array]:
    tables = [
        settings.krylov.coefficients(order, level - order + 1, level, offset, space)[0]
        for level, space in enumerate(spaces)
    ]
    return component_from_tables(order, component, spaces, tables)


def _parameter_vjp(observation: Observation, state: PyTree[Array], cotangent: PyTree[Array]) -> PyTree:
    return pull_parameters(lambda observation, x: observation.operator.mv(x), observation, state, cotangent)


def _segment(task: _Task, step: Step, spaces: list[Reduction], busy: Array, carry: _Carry) -> _Carry:
    """Moves the adjoint state back to the next event, or as far as its Krylov spaces reach."""
    settings, problem, schedule = task.settings, task.problem, task.schedule
    order = problem.order
    target = jnp.where(carry.output >= step.first_output, schedule[carry.output], step.time)
    goal = jnp.where(busy, carry.time - target, 0.0)
    moving = busy & (goal != 0)
    operator, weight, duals = _dual_starts(settings, problem, carry.adjoint, moving)
    scales = jnp.maximum(carry.scales, jnp.stack([norm(dual, weight) for dual in duals]))
    horizon = Horizon(schedule.last(carry.time), jnp.where(moving, carry.time, 0.0), task.past.rate, goal)
    levels = tuple(range(order))
    dual_spaces, span, error = build(settings, operator, weight, order, duals, levels, goal, horizon, scales)
    adjoint = _advance_adjoint(settings, problem, dual_spaces, carry.adjoint, span)
    reached = span == goal
    time = jnp.where(reached, target, carry.time - span)
    pulled, largest = _accumulate(task, spaces, dual_spaces, time - step.time, span, carry)
    applications = sum(space.applications for space in dual_spaces)
    counters = Counters(
        applications=pulled.counters.applications + applications,
        dimension=jnp.maximum(
            pulled.counters.dimension, jnp.max(jnp.stack([space.dimension for space in dual_spaces]))
        ),
        steps=pulled.counters.steps + moving.astype(jnp.int32),
        error=jnp.where(
            moving,
            total_error(settings, order, horizon, dual_spaces, span, scales, pulled.counters.error, error),
            pulled.counters.error,
        ),
    )
    finite = jnp.all(jnp.isfinite(scales)) & jnp.isfinite(counters.error)
    stuck = moving & ((time == carry.time) | (counters.steps >= _STEPS_FACTOR * settings.max_steps))
    outcome = RESULTS.where(stuck, RESULTS.step_underflow, RESULTS.successful)
    outcome = RESULTS.where(finite, outcome, RESULTS.nonfinite)
    outcome = worst([settings.krylov.outcome(space) for space in dual_spaces], outcome)
    failed = outcome != RESULTS.successful
    result = RESULTS.where(pulled.result == RESULTS.successful, outcome, pulled.result)
    pulled = eqx.tree_at(lambda p: (p.counters, p.result), pulled, (counters, result))
    return _Carry(
        # A failed pass jumps to its end: what it has summed up is not used.
        time=jnp.where(moving, jnp.where(failed, target, time), carry.time),
        output=carry.output,
        adjoint=select(moving, adjoint, carry.adjoint),
        scales=scales,
        largest=largest,
        pulled=pulled,
    )


def _dual_starts(settings, problem: Problem, adjoint: tuple[PyTree[Array], ...], moving: Array):
    """`μ_j = λ_(q-1-j)`, as the method wants to start from them."""
    fields = [
        select(moving, field, jtu.tree_map(jnp.zeros_like, field)) for field in reversed(adjoint[: problem.order])
    ]
    duals = [settings.krylov.dual(problem.operator, problem.weight, field) for field in fields]
    operator, weight, _ = duals[0]
    return operator, weight, tuple(start for _, _, start in duals)


def _advance_adjoint(settings, problem, spaces: list[Reduction], adjoint, span: Array) -> tuple[PyTree[Array], ...]:
    """`μ_j(s) = Σ_i F_(i-j)(s, Aᵀ) μ_i`; the cotangents of the sources collect `∫ μ_0`, `∫∫ μ_0` and so on."""
    order, num_sources = problem.order, len(adjoint) - problem.order
    method = settings.krylov
    tables = [
        method.dual_coefficients(order, level - order + 1, level + num_sources, span, space)[0]
        for level, space in enumerate(spaces)
    ]

    def combine(member: int) -> PyTree[Array]:
        # member: F_(i + member) of each start i; row order-1+member of its table.
        parts = [
            method.dual_lift(problem.weight, space, table[order - 1 + member])
            for space, table in zip(spaces, tables, strict=True)
        ]
        return functools.reduce(add, parts)

    moved = [combine(-component) for component in range(order)][::-1]
    sources = []
    for r in range(num_sources):
        total, factor = combine(1 + r), jnp.ones_like(span)
        for lower in range(r, -1, -1):
            total = add(total, scale(factor, adjoint[order + lower]))
            factor = factor * span / (r - lower + 1)
        sources.append(total)
    return (*moved, *sources)


def _accumulate(task: _Task, spaces, dual_spaces, offset: Array, span: Array, carry: _Carry):
    """Adds the parameter gradient of one segment to the sum."""
    pulled = carry.pulled
    settings, problem = task.settings, task.problem
    if not (task.parameters and jtu.tree_leaves(pulled.operator)):
        return pulled, carry.largest
    order, method = problem.order, settings.krylov
    blocks = [
        [_pair(method, order, i, level, offset, span, dual, primal) for level, primal in enumerate(spaces)]
        for i, dual in enumerate(dual_spaces)
    ]
    capacity = blocks[0][0].shape[0]
    sizes = method.sizes(capacity)
    used = jnp.stack([batch_max(dual.dimension) for dual in dual_spaces]).max()
    branch = jnp.minimum(jnp.searchsorted(jnp.asarray(sizes, jnp.int32), used), len(sizes) - 1)

    def factor(size: int, blocks, largest):
        kernel = jnp.block([[block[:size] for block in row] for row in blocks])
        largest = jnp.maximum(largest, jnp.linalg.norm(kernel))
        left, right, count = eliminate(kernel, _RANK_CUT * settings.rtol * largest)
        # Factors of all sizes in one shape, so that only the elimination is compiled once for each of them.
        missing = order * capacity - left.shape[0]
        left = left.reshape(left.shape[0], order, size)
        left = jnp.pad(left, ((0, missing), (0, 0), (0, capacity - size)))
        right = jnp.pad(right.reshape(right.shape[0], len(spaces), -1), ((0, missing), (0, 0), (0, 0)))
        return left, right, count, largest

    branches = [functools.partial(factor, size) for size in sizes]
    left, right, count, largest = lax.switch(branch, branches, blocks, carry.largest)
    gradient = _rank_one_vjps(settings, problem, spaces, dual_spaces, left, right, count)
    total = (add(pulled.operator, gradient), pulled.parameter_vjps + count)
    return eqx.tree_at(lambda p: (p.operator, p.parameter_vjps), pulled, total), largest


def _pair(method, order: int, i: int, level: int, offset: Array, span: Array, dual: Reduction, primal: Reduction):
    """The kernel of one pair of spaces; a space that started from zero has none."""
    kernel = functools.partial(method.pairing, order, i, level, offset, span)
    like = jax.eval_shape(kernel, dual, primal)
    exists = batch_any((dual.dimension > 0) & (primal.dimension > 0))
    return lax.cond(exists, kernel, lambda *_: jnp.zeros(like.shape, like.dtype), dual, primal)


def _rank_one_vjps(settings, problem: Problem, spaces, dual_spaces, left, right, count: Array) -> PyTree:
    """`Σ_k vjp_θ[A(θ) V right_k](W left_k)`, a batch of `_RANK_CHUNK` terms at a time."""
    method = settings.krylov
    room = -(-left.shape[0] // _RANK_CHUNK) * _RANK_CHUNK
    left = jnp.pad(left, ((0, room - left.shape[0]), (0, 0), (0, 0)))
    right = jnp.pad(right, ((0, room - right.shape[0]), (0, 0), (0, 0)))

    def body(carry):
        first, total = carry
        rows = lax.dynamic_slice_in_dim(left, first, _RANK_CHUNK)
        columns = lax.dynamic_slice_in_dim(right, first, _RANK_CHUNK)
        cotangents = functools.reduce(
            add,
            [
                method.dual_lift(problem.weight, space, method.dual_to_basis(space, rows[:, i]))
                for i, space in enumerate(dual_spaces)
            ],
        )
        vectors = functools.reduce(
            add, [lift(space, method.to_basis(space, columns[:, i])) for i, space in enumerate(spaces)]
        )

        change = pull_parameters(lambda operator, x: jax.vmap(operator.mv)(x), problem.operator, vectors, cotangents)
        return first + _RANK_CHUNK, add(total, change)

    zeros = jtu.tree_map(jnp.zeros_like, eqx.filter(problem.operator, eqx.is_inexact_array))
    carry = (jnp.zeros((), jnp.int32), zeros)
    return lax.while_loop(lambda carry: batch_any(carry[0] < count), body, carry)[1]
