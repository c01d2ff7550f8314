"""`kp.solve`: a linear evolution equation from an initial state to its observations."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jaxtyping import Array, PyTree

from .._solution import Solution
from ..action import AbstractMethod, Driven, Observation
from ..adjoint import AbstractAdjoint
from ..equation import AbstractEquation, AbstractSource, WaveState
from ..grid import AbstractCondition, is_concrete, steady_condition
from ._adaptive import Control
from ._driven_method import method_for_driven
from ._entrance import as_field, as_times, cast_like, check_square, choose, common_state, real_dtype, tolerances
from ._integrator import AbstractIntegrator
from ._panels import Panels
from ._run import Options, checked_max_steps, finish, max_steps_of, run
from ._solve_semilinear import MAX_STEPS, as_integrator, is_semilinear, is_varying, make_flow, solve_semilinear


def solve(
    equation: AbstractEquation,
    initial: PyTree[Any],
    times: Any,
    *,
    t0: Any = 0.0,
    method: AbstractMethod | AbstractIntegrator | None = None,
    adjoint: AbstractAdjoint | None = None,
    observe: lx.AbstractLinearOperator | Callable[[Any, Any], Any] | None = None,
    rtol: float | None = None,
    atol: float = 0.0,
    max_steps: int | None = None,
    throw: bool = True,
) -> Solution:
    r"""The solution of an evolution equation at given times.

    For linear equations with constant coefficients and boundary values, with $L = -A$ and $\tau = t - t_0$,

    - first order: $u(t) = e^{\tau A} u_0 + \tau\,\varphi_1(\tau A)\, b$;
    - second order: $u(t) = \cos(\tau\sqrt L)\, u_0 + \tau \operatorname{sinc}(\tau\sqrt L)\, v_0 +
      \int_0^\tau \sigma\operatorname{sinc}(\sigma\sqrt L)\, b\, \mathrm{d}\sigma$, never put into first-order form;

    and for sources and boundary values $f(x)\,w(t)$ the same integrals with $w$ under them: by Chebyshev's polynomials
    where they serve; else from one breakpoint to the next, where all signals are straight lines in between; else in
    steps of [`krylovpde.ETDRK4`][].

    A semilinear equation $u' = Au + g(t, u)$ is solved in steps of an exponential integrator ([`krylovpde.ETDRK4`][]
    if nothing is said), whose size follows from the tolerance; output times and jumps end a step.

    A linear equation whose operator depends on time, $u' = A(t)u + b(t)$, is solved in steps of
    [`krylovpde.Magnus4`][], in the same way.

    There is no time step and no Krylov dimension to choose.

    **Arguments:**

    - `equation`: [`krylovpde.Diffusion`][], [`krylovpde.AdvectionDiffusion`][], [`krylovpde.Wave`][],
        [`krylovpde.Linear`][], [`krylovpde.ReactionDiffusion`][], [`krylovpde.Semilinear`][], or your own
        [`krylovpde.AbstractEquation`][].
    - `initial`: the state at `t0`: a field, or a [`krylovpde.WaveState`][] for equations of second order. Its precision
        is that of the computation.
    - `times`: absolute times: one number or a non-decreasing 1-D array, none before `t0`; repeats allowed.
    - `observe`: what to keep of the solution. `None`: the states. [`krylovpde.Sensors`][] or any lineax operator on the
        field: its outputs only, and nothing else is stored (for a `WaveState` it sees the displacement, unless it is an
        operator on the whole state). A function `observe(t, state) -> pytree`.
    - `method`, `adjoint`, `rtol`, `atol`, `max_steps`, `throw`: as in [`krylovpde.expm_multiply`][]. For a
        `WaveState` the tolerance holds for each part. For semilinear equations `method` is an integrator
        ([`krylovpde.ETDRK2`][] and its neighbours, which also take equations of first order that are linear), and
        `max_steps` bounds the attempts between two output times (4096), jumps not counted.

    **Returns:**

    A [`krylovpde.Solution`][]; every leaf of its `value` has a leading axis for an array of times.

    **Raises:**

    `TypeError`, `ValueError` for arguments that do not fit, and for functions of time with an action that serves time
    series alone; `equinox.EquinoxRuntimeError` for a failed result.
    """
    _check_equation(equation)
    operator = equation.operator()
    check_square(operator, "solve")
    fields = _as_fields(equation, initial, operator)
    dtype = real_dtype(fields)
    fields = cast_like(fields, dtype)
    absolute, scalar = as_times(times, dtype, "times")
    start = _as_start(t0, dtype)
    _check_order(absolute, start)
    rtol, atol = tolerances(rtol, atol, dtype)
    linear, component = _as_observation(observe, equation.order, operator)
    varying = is_varying(equation, start)
    driving = equation.driving()
    if driving and not (varying or is_semilinear(equation)):
        method = method_for_driven(operator, equation.order, [signal for _, signal in driving], method)
    if varying or is_semilinear(equation) or isinstance(method, AbstractIntegrator):
        (field,) = common_state(operator, fields) if equation.order == 1 else (fields[0],)
        stepped = _stepped(equation, varying, field, absolute, start, method, adjoint, rtol, atol, max_steps, throw)
        states, result, stats = stepped
        value = states if observe is None else _observed(observe, absolute, states)
        return finish(value, result, stats, absolute, scalar, throw)
    method, adjoint = choose(operator, equation.order, method, adjoint, onwards=True, driven=bool(driving))
    options = Options(method, adjoint, rtol, atol, max_steps_of(method, max_steps), throw)
    durations = absolute - start
    # Signals are read here, outside of anything compiled, so that whatever a function of time closes over keeps its
    # gradient, and a new function compiles nothing again.
    driven = tuple(
        Driven(profile, signal.pieces(start, jnp.maximum(jnp.max(durations), 0.0))) for profile, signal in driving
    )
    steady = jtu.tree_map(_steady, equation, is_leaf=_may_vary)
    outputs, result, stats = _compiled(options, steady, driven, linear, component, fields, durations)
    value = outputs if linear is not None else _as_state(equation, outputs)
    if observe is not None and linear is None:
        value = _observed(observe, absolute, value)
    return finish(value, result, stats, absolute, scalar, throw)


def _stepped(equation, varying, initial, times, start, method, adjoint, rtol, atol, max_steps, throw):
    """By steps of an integrator."""
    integrator = as_integrator(equation, method, varying)
    parts = times.size + equation.breakpoints.size if isinstance(integrator, Panels) else 1
    flow = make_flow(equation, integrator, adjoint, initial, rtol, throw, parts)
    max_steps = MAX_STEPS if max_steps is None else checked_max_steps(max_steps)
    control = Control(jax.lax.stop_gradient(times[-1] - start), rtol, atol, max_steps)
    return solve_semilinear(integrator, flow, control, start, initial, times)


@eqx.filter_jit
def _compiled(
    options: Options,
    equation: AbstractEquation,
    driven: tuple[Driven, ...],
    linear: Any,
    component: int,
    fields: tuple[PyTree[Array], ...],
    durations: Array,
):
    operator, forcing = equation.operator(), equation.forcing()
    if forcing is not None:
        fields = (*fields, as_field(forcing, operator.in_structure(), "forcing"))
    observation = None if linear is None else Observation(linear, component)
    count = len(fields)
    fields = common_state(operator, (*fields, *(part.profile for part in driven)))
    state = (*fields[:count], *(Driven(f, part.signal) for f, part in zip(fields[count:], driven, strict=True)))
    return run(options, operator, equation.order, observation, state, durations)


def _check_equation(equation: Any) -> None:
    if not isinstance(equation, AbstractEquation):
        message = (
            f"`equation` must be a krylovpde.AbstractEquation, got {type(equation)}. Wrap an operator in "
            "krylovpde.Linear(operator)."
        )
        raise TypeError(message)
    if equation.order not in (1, 2):
        message = f"`{type(equation).__name__}.order` must be 1 or 2, but is {equation.order!r}."
        raise ValueError(message)
    if callable(getattr(equation, "source", None)):
        message = "`source` is a function: sources that vary in time are `kp.Source(profile, function_of_time)`."
        raise ValueError(message)  # noqa: TRY004


def _may_vary(node: Any) -> bool:
    return isinstance(node, AbstractSource | AbstractCondition)


def _steady(node: Any) -> Any:
    if isinstance(node, AbstractCondition):
        return steady_condition(node)
    return None if isinstance(node, AbstractSource) else node


def _as_fields(equation: AbstractEquation, initial: Any, operator: lx.AbstractLinearOperator):
    structure = operator.in_structure()
    if equation.order == 1:
        return (as_field(initial, structure, "initial"),)
    if not isinstance(initial, WaveState):
        message = (
            f"`initial` of {type(equation).__name__}, an equation of second order in time, must be a "
            f"krylovpde.WaveState(displacement, velocity), got {type(initial)}."
        )
        raise TypeError(message)
    parts = (initial.displacement, initial.velocity)
    return tuple(
        as_field(part, structure, f"initial.{name}")
        for part, name in zip(parts, ("displacement", "velocity"), strict=True)
    )


def _as_start(t0: Any, dtype: Any) -> Array:
    start, scalar = as_times(t0, dtype, "t0")
    if not scalar:
        message = "`t0` must be one number."
        raise ValueError(message)
    return start[0]


def _check_order(times: Array, start: Array) -> None:
    """Times that are known while tracing must not decrease; unknown ones are sorted out by the march."""
    if not (is_concrete(times) and is_concrete(start)):
        return
    if bool(jnp.any(jnp.isnan(times))) or bool(jnp.any(times[1:] < times[:-1])):
        message = f"`times` must not decrease, got {times}."
        raise ValueError(message)
    if bool(times[0] < start):
        message = f"`times` must not lie before `t0` = {start}, got {times[0]}."
        raise ValueError(message)


def _as_observation(observe: Any, order: int, operator: lx.AbstractLinearOperator):
    """The linear observation of one component that the march can apply to its basis, if it is one."""
    if observe is None:
        return None, 0
    if not isinstance(observe, lx.AbstractLinearOperator):
        if callable(observe):
            return None, 0
        message = (
            "`observe` must be krylovpde.Sensors, a lineax operator or a function observe(t, state), got "
            f"{type(observe)}."
        )
        raise TypeError(message)
    seen, field = observe.in_structure(), operator.in_structure()
    if _same_shapes(seen, field):
        return observe, 0
    if order == 2 and _same_shapes(seen, WaveState(field, field)):
        return None, 0
    message = f"`observe` acts on {seen}, but the equation's field is {field}."
    raise ValueError(message)


def _same_shapes(first: PyTree, second: PyTree) -> bool:
    if jtu.tree_structure(first) != jtu.tree_structure(second):
        return False
    pairs = zip(jtu.tree_leaves(first), jtu.tree_leaves(second), strict=True)
    return all(a.shape == b.shape for a, b in pairs)


def _as_state(equation: AbstractEquation, outputs: tuple[PyTree[Array], ...]) -> PyTree[Array]:
    return outputs[0] if equation.order == 1 else WaveState(*outputs)


def _observed(observe: Any, times: Array, states: PyTree[Array]) -> PyTree:
    # Outside of anything compiled here, so that whatever the function closes over keeps its gradient.
    if isinstance(observe, lx.AbstractLinearOperator):
        return jax.vmap(observe.mv)(states)
    return jax.vmap(observe)(times, states)
