"""Any optimistix minimiser or least-squares solver, one step at a time."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Int, PyTree, Scalar

from ..loss import half_sum_of_squares
from ._driver import AbstractDriver, Objective, Point, check_residual
from ._tree import all_finite, equal, euclidean_norm


class OptimistixState(eqx.Module):
    """Where an optimistix iteration stands; `solver_state` is the solver's own."""

    parameters: PyTree
    solver_state: PyTree
    evaluations: Int[Array, ""]
    accepted: Bool[Array, ""]


class OptimistixDriver(AbstractDriver[OptimistixState]):
    """The `init`, `step`, `terminate` interface of optimistix.

    Each step evaluates the function (a least-squares solver: the residual and its linearisation) at one trial, which
    its search then accepts or rejects; a trial that is not finite is always rejected and the step shortened. The
    solver's own tolerances (`rtol`, `atol`) are obeyed beside `fit`'s rules.

    **Arguments:**

    - `solver`: an `optimistix.AbstractMinimiser` or `AbstractLeastSquaresSolver`.
    - `options`: handed to the solver (for example `{"jac": "bwd"}`).
    """

    solver: Any
    options: dict[str, Any] = eqx.field(default_factory=dict)
    stuck_reason: ClassVar[str] = (
        "the optimistix solver could not go on: its parameters or its linear solve are not finite"
    )

    @property
    def name(self) -> str:
        return f"optimistix.{type(self.solver).__name__}"

    def check(self, objective: Objective, parameters: PyTree):
        if isinstance(self.solver, optx.AbstractLeastSquaresSolver):
            check_residual(objective, self.name)
        if objective.bounds.exist:
            message = (
                f"fit: {self.name} knows no limits, but the model has a kp.inverse.Box. Use kp.inverse.GaussNewton(), "
                "kp.inverse.LBFGS() or an optax optimiser without a line search; or kp.inverse.Bounded instead."
            )
            raise ValueError(message)

    def init(self, objective: Objective, parameters: PyTree) -> OptimistixState:
        function = _function(self.solver)
        out, aux = eqx.filter_eval_shape(function, parameters, objective)
        state = self.solver.init(function, parameters, objective, self.options, out, aux, frozenset())
        unevaluated = OptimistixState(parameters, state, jnp.asarray(0), jnp.asarray(True))
        # The first step of every solver evaluates the start and accepts it.
        return eqx.tree_at(lambda s: s.accepted, self.step(objective, unevaluated), jnp.asarray(True))

    def step(self, objective: Objective, state: OptimistixState) -> OptimistixState:
        parameters, solver_state, _ = self.solver.step(
            _function(self.solver), state.parameters, objective, self.options, state.solver_state, frozenset()
        )
        moved = jnp.logical_not(equal(parameters, state.parameters))
        return OptimistixState(parameters, solver_state, state.evaluations + 1, moved)

    def point(self, objective: Objective, state: OptimistixState) -> Point:
        value, gradient = _value_and_gradient(objective, state)
        converged, result = self.solver.terminate(
            _function(self.solver), state.parameters, objective, self.options, state.solver_state, frozenset()
        )
        successful = result == optx.RESULTS.successful
        return Point(
            state.parameters,
            value,
            euclidean_norm(gradient),
            state.evaluations,
            state.accepted,
            stuck=jnp.logical_not(successful & all_finite(state.parameters)),
            converged=converged & successful,
        )


def _minimised(parameters: PyTree, objective: Objective) -> tuple[Scalar, None]:
    return objective(parameters), None


def _squared(parameters: PyTree, objective: Objective) -> tuple[PyTree[Array], None]:
    return objective.residual(parameters), None


def _function(solver: Any) -> Callable:
    return _squared if isinstance(solver, optx.AbstractLeastSquaresSolver) else _minimised


def _value_and_gradient(objective: Objective, state: OptimistixState) -> tuple[Scalar, PyTree[Array]]:
    """From the solver's own record of the accepted point; evaluated anew for solvers that keep none (Nelder–Mead)."""
    info: Any = getattr(state.solver_state, "f_info", None)
    if hasattr(info, "residual") and hasattr(info, "compute_grad"):
        return half_sum_of_squares(info.residual), info.compute_grad()
    if hasattr(info, "f") and hasattr(info, "grad"):
        return info.f, info.grad
    return jax.value_and_grad(objective)(state.parameters)
