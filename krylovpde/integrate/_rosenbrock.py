"""Exponential Rosenbrock: the equation is linearised anew in every step."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jaxtyping import Array, PyTree, Real

from ..action import AbstractMethod
from ..equation import AbstractEquation
from ..krylov._space import subtract
from ._exponential_step import Linearised, Rest, exponential_step
from ._integrator import AbstractIntegrator, Flow, Step, as_step_size
from ._tableau import ROSENBROCK_TABLEAU


class Rosenbrock(AbstractIntegrator):
    r"""Exponential Rosenbrock method of order four with an embedded result of order three (`exprb43`).

        J = A + ∂g/∂u(t, u),     u' = J u + (g(t, u) - ∂g/∂u u)

    with the Jacobian of the present state, applied by `jax.jvp` and never formed. For reactions that are stiff
    themselves, and for nonlinear diffusion. The Jacobian has no tags, so that
    its flows are Arnoldi's.

    !!! cite "Sources"

        Hochbruck, Ostermann and Schweitzer, *Exponential Rosenbrock-type methods* (2009).
    """

    action: AbstractMethod | None
    step_size: Real[Array, ""] | None

    def __init__(self, action: AbstractMethod | None = None, *, step_size: Any = None):
        """The integrator; the arguments are those of [`krylovpde.ETDRK2`][]."""
        self.action = action
        self.step_size = as_step_size(step_size, "Rosenbrock")

    @property
    def name(self) -> str:
        return "Rosenbrock"

    @property
    def error_order(self) -> int:
        return ROSENBROCK_TABLEAU.error_order

    @property
    def extrapolates(self) -> bool:
        return True

    def flow_operator(self, equation: AbstractEquation, u: PyTree[Array]) -> lx.AbstractLinearOperator:
        return equation.operator() + _jacobian(lambda u: jtu.tree_map(lambda leaf: 0.0 * leaf, u), u)

    def step(self, flow: Flow, t: Array, u: PyTree[Array], h: Array) -> Step:
        around = linearise(flow.equation.operator(), flow.rest, t, u)
        return exponential_step(ROSENBROCK_TABLEAU, flow.linear, around, t, u, h)


def linearise(operator: lx.AbstractLinearOperator, rest: Rest, t: Array, u: PyTree[Array]) -> Linearised:
    """`u' = A u + g(t, u)` around a state: the Jacobian, and what it leaves of `g`."""
    jacobian = _jacobian(lambda state: rest(t, state), u)

    def remainder(time: Array, state: PyTree[Array]) -> PyTree[Array]:
        return subtract(rest(time, state), jacobian.mv(state))

    drift = jax.jvp(lambda time: rest(time, u), (t,), (jnp.ones_like(t),))[1]
    return Linearised(operator + jacobian, remainder, remainder(t, u), drift)


def _jacobian(function: Any, u: PyTree[Array]) -> lx.AbstractLinearOperator:
    """`v -> ∂f/∂u v` at u, linearised once."""
    _, tangent = jax.linearize(function, u)
    return lx.FunctionLinearOperator(tangent, jax.eval_shape(lambda: u))
