"""Two functions, `act` and `pull`, and their derivatives of every order and mode: themselves.

With `J(θ, z, t, g) = Σ_i <g_i, C exp(t_i 𝒜(θ)) z>` (𝒜 the first-order form of `dᵠu/dtᵠ = A u + sources`, C an
observation)

    act  = ∂J/∂g                 the outputs at every time
    pull = ∂J/∂(θ, z)            the cotangents

The tangent of each is the same function of the `TangentOperator`, with its own Krylov spaces and its own error
estimate; since the Hessian of J is symmetric, the transposes are the same functions again. So whatever mixture of
`jvp`, `vjp`, `linearize` and `vmap` is asked for, only these two ever run, and no derivative enters a Krylov loop:
there it would see the part of the Krylov polynomial that nothing controls (NUMERICS 3.3).
"""

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, PyTree, Real

from .._solution import RESULTS, raise_unless_successful
from ..action import (
    AbstractKrylov,
    Arnoldi,
    Observation,
    Problem,
    Settings,
    ShiftInvert,
    ShiftInvertArnoldi,
    driven_of,
    fields_of,
    resolvent,
    select,
    shift_and_task,
    shift_chain,
)
from ..krylov._space import add, norm, scale
from ..operator import weight
from ._base import Report
from ._engine import AbstractEngine, Direction, PullReport, Wanted
from ._linear_map import linear_map
from ._starts import (
    changed_starts,
    magnitude,
    magnitude_of_change,
    paired_starts,
    representatives,
    sort_tangents,
    unpaired_starts,
    without_fields,
)
from ._tangent import TangentOperator

# A tangent is scaled to be this many times larger than what it is the tangent of, so that the tolerance of the pair is
# a tolerance of the tangent (unscaled, a tangent of 1e-6 of the state was 40 % wrong: NUMERICS 7.5).

_TANGENT_SHARE = 10.0
_ALL = Wanted()
_ESTIMATE_TOLERANCE = 0.1


class Rules(eqx.Module):
    """What is static about a solve and all its derivatives."""

    settings: Settings
    engine: AbstractEngine
    order: int = eqx.field(static=True)
    margin: float = eqx.field(static=True)
    throw: bool = eqx.field(static=True)

    def for_gradient(self) -> "Rules":
        """The same with the tolerance that both sides of a gradient aim at.

        `atol` is in units of the state and says nothing about an adjoint state or a tangent: it is left out.
        """
        settings = self.settings
        tight = Settings(settings.method, settings.rtol / self.margin, 0.0, settings.max_steps)
        return Rules(tight, self.engine, self.order, 1.0, self.throw)

    def for_tangent(self) -> "Rules":
        """The same on a `TangentOperator`, which is never self-adjoint."""
        tight = self.for_gradient().settings
        if not isinstance(tight.method, AbstractKrylov):
            # A polynomial of the pair is the derivative of the polynomial: nothing about it changes.
            return Rules(tight, self.engine, self.order, 1.0, self.throw)
        method = _method_of_tangents(tight.method, self.order)
        max_steps = max(tight.max_steps, method.max_steps)
        settings = Settings(method, tight.rtol, tight.atol, max_steps)
        return Rules(settings, self.engine, self.order, 1.0, self.throw)


def _method_of_tangents(method: AbstractKrylov, order: int) -> AbstractKrylov:
    if isinstance(method, Arnoldi | ShiftInvertArnoldi):
        return method
    return method.of_tangents() if isinstance(method, ShiftInvert) and order == 1 else Arnoldi()


class Arguments(eqx.Module):
    """The differentiable arguments of `J` but for the cotangent."""

    operator: lx.AbstractLinearOperator
    observation: Observation | None
    state: tuple[PyTree[Array], ...]
    times: Real[Array, " n"]


# ---- act


def act(rules: Rules, arguments: Arguments) -> tuple[PyTree[Array], Report]:
    """The outputs at all times (stacked, in the order of `times`), and a report."""
    return _act(rules, arguments, recorded=False)[:2]


def _act(rules: Rules, arguments: Arguments, recorded: bool) -> tuple[PyTree[Array], Report, Any]:
    """`act`, with the record that a backward pass can use; the record is a constant to every derivative."""
    arrays, rest = eqx.partition(arguments, eqx.is_array)

    @jax.custom_jvp
    def evaluate(arrays):
        return _run(rules, eqx.combine(arrays, rest), recorded)

    @functools.partial(evaluate.defjvp, symbolic_zeros=True)
    def _rule(primals, tangents):
        (outputs, report, record), change = _act_rule(rules, rest, primals[0], tangents[0], recorded)
        return (outputs, report, record), (change, _no_tangent(report), _no_tangent(record))

    outputs, report, record = evaluate(arrays)
    return outputs, report, jtu.tree_map(jax.lax.stop_gradient, record)


def _run(rules: Rules, arguments: Arguments, recorded: bool) -> tuple[PyTree[Array], Report, Any]:
    problem = _problem(rules, arguments)
    return rules.engine.forward(rules.settings, problem, arguments.state, arguments.times, recorded)


def _problem(rules: Rules, arguments: Arguments) -> Problem:
    operator_weight = jax.lax.stop_gradient(weight(arguments.operator))
    return Problem(arguments.operator, operator_weight, arguments.observation, rules.order)


def _act_rule(rules: Rules, rest: Any, arrays: Any, tangents: Any, recorded: bool) -> tuple[Any, Any]:
    arguments = eqx.combine(arrays, rest)
    change = None
    if _moves(tangents.operator) or _moves(tangents.observation):
        rules = rules.for_gradient()
        outputs, report, record = _act(rules, arguments, recorded=True)
        change = linear_map(
            functools.partial(_act_along, rules, rest),
            functools.partial(_pull_recorded, rules, rest, _wanted(tangents.state)),
            (arrays, record),
            _direction(arguments, tangents),
            like=outputs,
        )
    else:
        outputs, report, record = _act(rules, arguments, recorded)
        if _moves(tangents.state):
            change = _state_change(rules, rest, arrays, tangents, outputs)
    if _moves(tangents.times):
        times_change = _instantiate(tangents.times, arguments.times)

        def drifted(speed: Array) -> Array:
            # Times that were not reached have no rate: their outputs are constants (NaN), whatever their cotangents.
            known = ~jnp.isnan(speed)
            return jnp.where(known, _rows(times_change, speed) * jnp.where(known, speed, 0.0), 0.0)

        drift = jtu.tree_map(drifted, rate(rules, arguments))
        change = drift if change is None else add(change, drift)
    if change is None:
        change = jtu.tree_map(jnp.zeros_like, outputs)
    return (outputs, report, record if recorded else None), change


def _state_change(rules: Rules, rest, arrays, tangents, outputs):
    """The tangent of the starts alone: the outputs are linear in each of them, so nothing is augmented."""
    wanted = _wanted(tangents.state)

    def forward(residuals, state):
        arguments = eqx.combine(residuals, rest)
        arguments = dataclasses.replace(arguments, state=changed_starts(arguments.state, state))
        outputs, report = act(rules, arguments)
        return _checked(rules, report.result, outputs)

    def backward(residuals, cotangents):
        arguments = eqx.combine(residuals, rest)
        arguments = dataclasses.replace(arguments, state=without_fields(arguments.state, wanted.signals))
        return pull(rules.for_gradient(), arguments, cotangents, wanted=wanted._replace(parameters=False))[0].state

    state = jtu.tree_map(_instantiate, tangents.state, arrays.state, is_leaf=_is_symbolic)
    return linear_map(forward, backward, arrays, state, like=outputs)


def _act_along(rules: Rules, rest: Any, residuals: Any, direction: Direction) -> PyTree[Array]:
    arrays, _ = residuals
    return act_tangent(rules, eqx.combine(arrays, rest), direction)


def _pull_recorded(rules: Rules, rest: Any, wanted: Wanted, residuals: Any, cotangents: PyTree[Array]) -> Direction:
    arrays, record = residuals
    return pull(rules, eqx.combine(arrays, rest), cotangents, wanted=wanted, record=record)[0]


def act_tangent(rules: Rules, arguments: Arguments, direction: Direction) -> PyTree[Array]:
    """The derivative of `act` along a direction (times fixed): `act` of the pair."""
    factor = _tangent_factor(rules, arguments, direction, None)
    outputs, report = act(rules.for_tangent(), _augment(arguments, direction, factor))
    change = outputs[1] if arguments.observation is not None else tuple(change for _, change in outputs)
    return scale(1.0 / factor, _checked(rules, report.result, change))


def rate(rules: Rules, arguments: Arguments) -> PyTree[Array]:
    """The time derivative of the outputs, from the states themselves: `C 𝒜 z(t_i)`."""
    states, _ = act(rules, dataclasses.replace(arguments, observation=None))
    return _rate_from(rules, arguments, states)


def _rate_from(rules: Rules, arguments: Arguments, states: tuple[PyTree[Array], ...]) -> PyTree[Array]:
    def at(t: Array, state: tuple[PyTree[Array], ...]) -> PyTree[Array]:
        highest = arguments.operator.mv(state[0])
        sources = shift_chain(fields_of(arguments.state)[rules.order :], t)[:1]
        for source in (*sources, *(scale(part.signal(t), part.profile) for part in driven_of(arguments.state))):
            highest = add(highest, source)
        speed = (*state[1:], highest)
        observation = arguments.observation
        return speed if observation is None else observation.operator.mv(speed[observation.component])

    return jax.vmap(at)(arguments.times, states)


# ---- pull


def pull(
    rules: Rules, arguments: Arguments, cotangents: PyTree[Array], *, wanted: Wanted = _ALL, record: Any = None
) -> tuple[Direction, PullReport]:
    """Cotangents of `Σ_i <g_i, output_i>`; those that are not `wanted` are zero.

    `record`: what a forward march with the same arguments left, to be used instead of marching again.
    """
    arrays, rest = eqx.partition(arguments, eqx.is_array)

    @jax.custom_jvp
    def evaluate(arrays, cotangents, record):
        return _run_back(rules, eqx.combine(arrays, rest), cotangents, wanted, record)

    @functools.partial(evaluate.defjvp, symbolic_zeros=True)
    def _rule(primals, tangents):
        arrays, cotangents, record = primals
        out, report = evaluate(arrays, cotangents, record)
        # The record is a function of the arguments that changes nothing but the cost: it has no tangent of its own.
        if not (_moves(tangents[0]) or _moves(tangents[1])):
            return (out, report), (jtu.tree_map(jnp.zeros_like, out), _no_tangent(report))
        along = (
            _direction(arrays, tangents[0]),
            _instantiate(tangents[0].times, arrays.times),
            jtu.tree_map(_instantiate, tangents[1], cotangents, is_leaf=_is_symbolic),
        )
        change = linear_map(
            functools.partial(_pull_along, rules, rest, wanted),
            functools.partial(_pull_along_transposed, rules, rest, wanted),
            (arrays, cotangents),
            along,
            like=out,
        )
        return (out, report), (change, _no_tangent(report))

    return evaluate(arrays, cotangents, record)


def _run_back(rules: Rules, arguments: Arguments, cotangents, wanted: Wanted, record) -> tuple[Direction, PullReport]:
    forward = jnp.zeros((), jnp.int32)
    if record is None:
        _, report, record = _run(rules, arguments, recorded=True)
        forward = report.applications
    times = arguments.times
    # Outputs that were not reached are NaN. A cotangent that came from such a value is NaN, too, and says nothing (the
    # branch of a `where` that was not taken); any other one asks for the derivative of a solve that failed.
    reached = rules.engine.reached(times, record)
    known = jtu.tree_map(lambda leaf: jnp.where(_along_times(reached, leaf), leaf, jnp.nan_to_num(leaf)), cotangents)
    cotangents = jtu.tree_map(lambda leaf: jnp.where(_along_times(reached, leaf), leaf, 0.0), cotangents)
    problem = _problem(rules, arguments)
    direction, report = rules.engine.backward(
        rules.settings, problem, arguments.state, times, cotangents, record, wanted
    )
    # With nothing to pull back the gradient is zero, whatever became of the forward pass.
    asked = jnp.any(jnp.stack([jnp.any(leaf != 0) for leaf in jtu.tree_leaves(known)]))
    result = RESULTS.where(asked, report.result, RESULTS.successful)
    direction = wanted.only(direction)
    direction = select(asked, direction, jtu.tree_map(jnp.zeros_like, direction))
    report = dataclasses.replace(report, applications=report.applications + forward, result=result)
    return _checked(rules, result, direction), report


def _pull_along(rules: Rules, rest, wanted: Wanted, residuals, along) -> Direction:
    """The derivative of `pull`: its own value on the pair, in the primal's place, and the part from the times."""
    arrays, cotangents = residuals
    arguments = eqx.combine(arrays, rest)
    direction, times_change, cotangents_change = along
    change = _pull_tangent(rules, arguments, cotangents, direction, cotangents_change, wanted)
    pulled = jtu.tree_map(lambda g: _rows(times_change, g) * g, cotangents)
    drift = jax.vjp(functools.partial(_rate_of, rules, arguments), _own_direction(arguments))[1](pulled)[0]
    return wanted.only(jtu.tree_map(jnp.add, change, drift))


def _pull_along_transposed(rules: Rules, rest, wanted: Wanted, residuals, direction: Direction):
    arrays, cotangents = residuals
    arguments = eqx.combine(arrays, rest)
    direction = wanted.only(direction)
    zero = _zeros(cotangents)
    change = _pull_tangent(rules, arguments, cotangents, direction, zero, _ALL)
    outputs_change = act_tangent(rules, arguments, direction)
    speeding = jax.jvp(functools.partial(_rate_of, rules, arguments), (_own_direction(arguments),), (direction,))[1]
    return change, _contract_times(cotangents, speeding, arguments.times), outputs_change


def _rate_of(rules: Rules, arguments: Arguments, direction: Direction) -> PyTree[Array]:
    _, rest = eqx.partition((arguments.operator, arguments.observation), eqx.is_inexact_array)
    operator, observation = eqx.combine((direction.operator, direction.observation), rest)
    return rate(rules, Arguments(operator, observation, direction.state, arguments.times))


def _own_direction(arguments: Arguments) -> Direction:
    """The inexact arrays of the arguments themselves, laid out as a direction."""
    operator, observation = eqx.filter((arguments.operator, arguments.observation), eqx.is_inexact_array)
    return Direction(operator, observation, arguments.state)


def _pull_tangent(rules: Rules, arguments: Arguments, cotangents, direction, cotangents_change, wanted: Wanted):
    factor = _tangent_factor(rules, arguments, direction, (cotangents, cotangents_change))
    changed = scale(factor, cotangents_change)
    if arguments.observation is not None:
        paired = (changed, cotangents)
    else:
        paired = tuple(zip(changed, cotangents, strict=True))
    augmented = _augment(arguments, direction, factor)
    pulled, _ = pull(rules.for_tangent(), augmented, paired, wanted=wanted)
    observation = pulled.observation
    if observation is not None:
        # Back from the observation of pairs to that of a single state.
        observation = eqx.tree_at(lambda o: o.operator, observation, observation.operator.operator)
    change = Direction(pulled.operator.operator, observation, unpaired_starts(arguments.state, pulled.state))
    return scale(1.0 / factor, change)


def _augment(arguments: Arguments, direction: Direction, factor: Array) -> Arguments:
    observation = arguments.observation
    if observation is not None:
        tangent = scale(factor, direction.observation).operator
        observation = Observation(TangentOperator(observation.operator, tangent), observation.component)
    return Arguments(
        TangentOperator(arguments.operator, scale(factor, direction.operator)),
        observation,
        paired_starts(arguments.state, scale(factor, direction.state)),
        arguments.times,
    )


def _tangent_factor(rules: Rules, arguments: Arguments, direction: Direction, cotangents) -> Array:
    """By how much a tangent is enlarged: until it is `_TANGENT_SHARE` times the state, by a first-order estimate.

    A power of two, so that scaling rounds nothing. It cancels: to derivatives it is a constant.
    """
    estimate = _implicit_change if isinstance(rules.settings.method, ShiftInvert) else _explicit_change
    ratios = [_ratio(*estimate(rules, arguments, direction))]
    if cotangents is not None:
        ratios.append(_ratio(norm(cotangents[0]), norm(cotangents[1])))
    factor = _TANGENT_SHARE * functools.reduce(jnp.minimum, ratios)
    factor = jnp.where(jnp.isfinite(factor) & (factor > 0), factor, 1.0)
    return jax.lax.stop_gradient(2.0 ** jnp.round(jnp.log2(factor)))


def _explicit_change(rules: Rules, arguments: Arguments, direction: Direction) -> tuple[Array, Array]:
    """The sizes of the state and of its change, by `t dA v`.

    The estimate says nothing where the perturbation lies far from the data, so the change is taken for at least a small
    share (`_headroom`) of what the perturbation does to a rough field as large as the state.
    """
    tangent = TangentOperator(arguments.operator, direction.operator)
    duration = jnp.max(jnp.abs(arguments.times)) ** rules.order
    zero = jtu.tree_map(jnp.zeros_like, arguments.state[0])
    duration = duration.astype(norm(zero).dtype)
    size = magnitude(arguments.state, duration)
    rough = jtu.tree_map(_rough, arguments.state[0])
    met = [norm(tangent.mv((field, zero))[1]) for field in representatives(arguments.state, duration)]
    moved = jnp.linalg.norm(jnp.stack(met))
    shaken = norm(tangent.mv((rough, zero))[1]) * _ratio(size, norm(rough))
    shaken = jnp.where(jnp.isfinite(shaken), shaken, 0.0)
    own = magnitude_of_change(arguments.state, direction.state, duration)
    return size, jnp.maximum(own, duration * jnp.maximum(moved, shaken / _headroom(size.dtype)))


def _implicit_change(rules: Rules, arguments: Arguments, direction: Direction) -> tuple[Array, Array]:
    """The same by one step of the implicit Euler method with the pair, in the operator's norm.

    Of a stiff problem `t dA v` says nothing at all: for a point of data on a radial grid it was 2e11 times the change,
    which would have drowned the tangent in the state's tolerance.
    """
    pair = TangentOperator(arguments.operator, direction.operator)
    mass = jax.lax.stop_gradient(weight(arguments.operator))
    duration = jnp.max(jnp.abs(arguments.times))
    method = rules.settings.method
    assert isinstance(method, ShiftInvert)
    task = shift_and_task(pair, 1.0, duration, _ESTIMATE_TOLERANCE, method.max_iterations)[1]
    solve = resolvent(pair, task)
    start, change = arguments.state[0], direction.state[0]
    for source, source_change in zip(arguments.state[1:2], direction.state[1:2], strict=True):
        start, change = add(start, scale(duration, source)), add(change, scale(duration, source_change))
    value, moved = solve((start, change)).value
    size = jnp.maximum(norm(arguments.state[0], mass), norm(value, mass))
    rough = jtu.tree_map(_rough, start)
    shaken = norm(solve((rough, jtu.tree_map(jnp.zeros_like, rough))).value[1], mass) * _ratio(size, norm(rough, mass))
    shaken = jnp.where(jnp.isfinite(shaken), shaken, 0.0)
    return size, jnp.maximum(norm(moved, mass), shaken / _headroom(size.dtype))


def _rough(like: Array) -> Array:
    """A field without smoothness or pattern."""
    index = jnp.arange(like.size, dtype=like.real.dtype).reshape(like.shape)
    return jnp.cos(1.7 * index * index).astype(like.dtype)


def _headroom(dtype: Any) -> float:
    """How far the first-order estimate may fall below a rough field's before it is no longer believed."""
    return 1e4 if jnp.finfo(dtype).bits == 64 else 30.0


def _ratio(size: Array, change: Array) -> Array:
    usable = (size > 0) & (change > 0)
    return jnp.where(usable, size / jnp.where(usable, change, 1.0), jnp.inf)


def pull_with_times(
    rules: Rules, arguments: Arguments, cotangents: PyTree[Array]
) -> tuple[Direction, Array, PullReport]:
    """`pull`, and the cotangent of the times `<g_i, C 𝒜 z(t_i)>`, from one forward march."""
    rules = rules.for_gradient()
    states, forward, record = _act(rules, dataclasses.replace(arguments, observation=None), recorded=True)
    direction, report = pull(rules, arguments, cotangents, record=record)
    report = dataclasses.replace(report, applications=report.applications + forward.applications)
    speed = _rate_from(rules, arguments, states)
    return direction, _contract_times(cotangents, speed, arguments.times), report


# ---- small things


def _checked(rules: Rules, result: RESULTS, values: PyTree) -> PyTree:
    """A derivative that failed raises (threaded through the values, so that it is not dead code), or is NaN."""
    if rules.throw:
        return raise_unless_successful(result, values)
    failed = result != RESULTS.successful
    return jtu.tree_map(lambda leaf: jnp.where(failed, jnp.nan, leaf), values)


def _is_symbolic(node: Any) -> bool:
    return isinstance(node, SymbolicZero)


def _moves(tangents: PyTree) -> bool:
    return any(
        not _is_symbolic(leaf) and getattr(leaf, "dtype", None) != jax.dtypes.float0
        for leaf in jtu.tree_leaves(tangents, is_leaf=_is_symbolic)
    )


def _wanted(tangents: tuple) -> Wanted:
    """What to pull back to the starts, from their symbolic tangents."""
    moving = sort_tangents(tangents)
    return Wanted(state=_moves(moving.fields), signals=_moves(moving.signals))


def _instantiate(tangent: Any, primal: Array) -> Array:
    return jnp.zeros_like(primal) if _is_symbolic(tangent) else tangent


def _direction(arguments: Any, tangents: Any) -> Direction:
    """The tangents of the inexact arrays, symbolic zeros made real."""

    def instantiate(primal, tangent):
        if not eqx.is_inexact_array(primal):
            return None
        return _instantiate(tangent, primal)

    def filled(primal, tangent):
        return jtu.tree_map(instantiate, eqx.filter(primal, eqx.is_array), tangent)

    return Direction(
        filled(arguments.operator, tangents.operator),
        filled(arguments.observation, tangents.observation),
        filled(arguments.state, tangents.state),
    )


def _no_tangent(report: PyTree) -> PyTree:
    def zero(leaf):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            return jnp.zeros_like(leaf)
        return np.zeros(leaf.shape, jax.dtypes.float0)

    return jtu.tree_map(zero, report)


def _zeros(tree: PyTree) -> PyTree:
    return jtu.tree_map(jnp.zeros_like, tree)


def _along_times(values: Array, like: Array) -> Array:
    return values.reshape((-1,) + (1,) * (like.ndim - 1))


def _rows(values: Array, like: Array) -> Array:
    return _along_times(values, like).astype(like.dtype)


def _contract_times(cotangents: PyTree[Array], speed: PyTree[Array], times: Array) -> Array:
    """`<g_i, v_i>` for every time."""

    def one(g: Array, v: Array) -> Array:
        return jnp.real(jnp.sum((g * v).reshape(g.shape[0], -1), axis=1)).astype(times.dtype)

    return functools.reduce(jnp.add, jtu.tree_leaves(jtu.tree_map(one, cotangents, speed)))
