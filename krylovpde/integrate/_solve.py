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
from ..grid import is_concrete
from ._adaptive import Control
from ._entrance import as_field, as_times, cast_like, check_square, choose, common_state, real_dtype, tolerances
from ._first_order import solve_in_first_order
from ._integrator import AbstractIntegrator
from ._observation import as_fields, as_observation, observed
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
      \int_0^\tau \sigma\operatorname{sinc}(\sigma\sqrt L)\, b\, \mathrm{d}\sigma$, never put into first-order form; but
      waves with damping or absorbing layers, which are more than $L$, are, by their `first_order_form()`;

    and for sources $f(x)\,w(t)$ the same integrals with $w$ under them, for self-adjoint operators with a known
    spectral bound, and in first order for those with a known numerical range.

    A semilinear equation $u' = Au + g(t, u)$ is solved in steps of an exponential integrator ([`krylovpde.ETDRK4`][]
    if nothing is said), whose size follows from the tolerance; output times end a step.

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
        `max_steps` bounds the attempts between two output times (4096).

    **Returns:**

    A [`krylovpde.Solution`][]; every leaf of its `value` has a leading axis for an array of times.

    **Raises:**

    `TypeError`, `ValueError` for arguments that do not fit, and for sources that vary in time with an operator of which
    nothing is known, unless `method` is an integrator; `equinox.EquinoxRuntimeError` for a failed result.
    """
    _check_equation(equation)
    form = equation.first_order_form()
    if form is not None:
        options = {"method": method, "adjoint": adjoint, "max_steps": max_steps, "throw": throw, "atol": atol}
        return solve_in_first_order(solve, equation, form, initial, times, t0, observe, rtol, options)
    operator = equation.operator()
    check_square(operator, "solve")
    fields = as_fields(equation, initial, operator)
    dtype = real_dtype(fields)
    fields = cast_like(fields, dtype)
    absolute, scalar = as_times(times, dtype, "times")
    start = _as_start(t0, dtype)
    _check_order(absolute, start)
    rtol, atol = tolerances(rtol, atol, dtype)
    linear, component = as_observation(observe, equation.order, operator)
    varying = is_varying(equation, start)
    if varying or is_semilinear(equation) or isinstance(method, AbstractIntegrator):
        (field,) = common_state(operator, fields) if equation.order == 1 else (fields[0],)
        stepped = _stepped(equation, varying, field, absolute, start, method, adjoint, rtol, atol, max_steps, throw)
        states, result, stats = stepped
        value = states if observe is None else observed(observe, absolute, states)
        return finish(value, result, stats, absolute, scalar, throw)
    driving = equation.driving()
    method, adjoint = choose(operator, equation.order, method, adjoint, onwards=True, driven=bool(driving))
    options = Options(method, adjoint, rtol, atol, max_steps_of(method, max_steps), throw)
    durations = absolute - start
    # Signals are read here, outside of anything compiled, so that whatever a function of time closes over keeps its
    # gradient, and a new function compiles nothing again.
    driven = tuple(
        Driven(profile, signal.pieces(start, jnp.maximum(jnp.max(durations), 0.0))) for profile, signal in driving
    )
    steady = jtu.tree_map(lambda node: None if _varies(node) else node, equation, is_leaf=_varies)
    outputs, result, stats = _compiled(options, steady, driven, linear, component, fields, durations)
    value = outputs if linear is not None else _as_state(equation, outputs)
    if observe is not None and linear is None:
        value = observed(observe, absolute, value)
    return finish(value, result, stats, absolute, scalar, throw)


def _stepped(equation, varying, initial, times, start, method, adjoint, rtol, atol, max_steps, throw):
    """By steps of an integrator."""
    integrator = as_integrator(equation, method, varying)
    flow = make_flow(equation, integrator, adjoint, initial, rtol, throw)
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


def _varies(node: Any) -> bool:
    return isinstance(node, AbstractSource)


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


def _as_state(equation: AbstractEquation, outputs: tuple[PyTree[Array], ...]) -> PyTree[Array]:
    return outputs[0] if equation.order == 1 else WaveState(*outputs)
