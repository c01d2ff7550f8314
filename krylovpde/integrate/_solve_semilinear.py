"""`kp.solve` for semilinear equations: by steps of an integrator."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, PyTree

from .._solution import RESULTS, Statistics
from ..adjoint import AbstractAdjoint
from ..equation import AbstractEquation
from ._adaptive import Control, integrate
from ._cuts import cuts_of
from ._entrance import choose
from ._etdrk import ETDRK4
from ._integrator import AbstractIntegrator, Flow, LinearFlow
from ._magnus import Magnus4
from ._rosenbrock import Rosenbrock

# Attempts between two output times.
MAX_STEPS = 4096
# The linear flows may err by this part of what a step may err.
_LINEAR_PART = 0.1


def is_semilinear(equation: AbstractEquation) -> bool:
    """Whether an equation has a nonlinear part."""
    return type(equation).nonlinear is not AbstractEquation.nonlinear


def is_varying(equation: AbstractEquation, start: Array) -> bool:
    """Whether the operator of an equation depends on time."""
    return equation.operator_at(start) is not None


def as_integrator(equation: AbstractEquation, method: Any, varying: bool) -> AbstractIntegrator:
    """The integrator: as given, or the default; `varying`: the operator depends on time."""
    if equation.order != 1:
        message = f"{type(equation).__name__}: integrators serve equations of first order in time; write it as one."
        raise ValueError(message)
    if (varying or isinstance(method, Magnus4)) and is_semilinear(equation):
        message = (
            f"{type(equation).__name__} has a nonlinear part: Magnus4(), and operators that depend on time, are for "
            "linear equations. Put what varies in time into `nonlinear(t, u)`, or use Diffrax with `vector_field`."
        )
        raise ValueError(message)
    if varying and not (method is None or isinstance(method, Magnus4)):
        message = (
            f"{type(equation).__name__} has an operator that depends on time: `method` must be None or "
            f"Magnus4(action), got {method!r}."
        )
        raise TypeError(message)
    if method is None:
        if varying:
            return Magnus4()
        return Rosenbrock() if equation.quasilinear else ETDRK4()
    if not isinstance(method, AbstractIntegrator):
        message = (
            f"{type(equation).__name__} has a nonlinear part: `method` must be None or an integrator, ETDRK2(), "
            f"ETDRK4(), Rosenbrock() or Strang(), got {method!r}. An action goes inside: ETDRK4(action)."
        )
        raise TypeError(message)
    return method


def make_flow(
    equation: AbstractEquation,
    integrator: AbstractIntegrator,
    adjoint: AbstractAdjoint | None,
    initial: PyTree[Array],
    rtol: float,
    throw: bool,
    parts: int = 1,
) -> Flow:
    """The equation with the method of its linear flows, whose errors in so many `parts` add up to the tolerance."""
    operator = integrator.flow_operator(equation, initial)
    method, adjoint = choose(operator, 1, integrator.action, adjoint, onwards=True)
    eps = float(np.finfo(jtu.tree_leaves(initial)[0].dtype).eps)
    return Flow(equation, LinearFlow(method, adjoint, max(min(_LINEAR_PART, 1.0 / parts) * rtol, 10 * eps), throw))


@eqx.filter_jit
def solve_semilinear(
    integrator: AbstractIntegrator, flow: Flow, control: Control, start: Array, initial: PyTree[Array], times: Array
) -> tuple[PyTree[Array], RESULTS, Statistics]:
    """The states at all times."""
    cuts = cuts_of(flow.equation, start, times[-1], adaptive=integrator.step_size is None)
    outputs, end = integrate(integrator, flow, control, cuts, start, initial, times)
    zero = jnp.zeros((), jnp.int32)
    statistics = Statistics(
        applications=end.applications,
        transpose_applications=zero,
        parameter_vjps=zero,
        krylov_dimension=end.dimension,
        num_steps=end.accepted,
        error_estimate=end.error,
        time=end.time - start,
        method=f"{integrator.name}({flow.linear.method.name})",
        adjoint=flow.linear.adjoint.name,
    )
    return outputs, end.result, statistics
