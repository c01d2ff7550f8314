"""Any `optax.GradientTransformation`, those with a line search included."""

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Int, PyTree, Scalar

from ._driver import AbstractDriver, Objective, Point
from ._tree import all_finite, equal, euclidean_norm, select

# A step into a region where the loss is not finite is halved so often; 2⁻¹⁰ of a step is no step.
_MAX_HALVINGS = 10


class OptaxState(eqx.Module):
    """Where an optax iteration stands: the loss and its gradient are known at `parameters`."""

    parameters: PyTree
    value: Scalar
    gradient: PyTree
    optimiser_state: PyTree
    evaluations: Int[Array, ""]
    accepted: Bool[Array, ""]


class OptaxDriver(AbstractDriver[OptaxState]):
    """`parameters += update(gradient)`, with the loss handed to those transformations that search along a line.

    A trial whose loss or gradient is not finite is not taken: the step is halved until it is, and where that does not
    help the parameters stay and the point is stuck. Transformations that search do their own halving.

    Within bounds every trial is projected: projected gradient descent, and its usual analogue for the others.
    """

    optimiser: Any
    stuck_reason: ClassVar[str] = (
        "no step along the optimiser's direction has a finite loss and gradient, or its line search found none"
    )

    @property
    def name(self) -> str:
        return "optax"

    def check(self, objective: Objective, parameters: PyTree):
        optax = import_optax()
        if not objective.bounds.exist:
            return
        # A transformation that searches a line has been where its step ends; projected, it ends elsewhere.
        if _find_search(optax, jax.eval_shape(self.optimiser.init, parameters)) is not None:
            message = (
                "fit: the model has a kp.inverse.Box, but the optax optimiser searches along a line that knows no "
                "limits. Use kp.inverse.LBFGS() in place of optax.lbfgs(), or an optimiser without a line search."
            )
            raise ValueError(message)

    def init(self, objective: Objective, parameters: PyTree) -> OptaxState:
        value, gradient = jax.value_and_grad(objective)(parameters)
        state = self.optimiser.init(parameters)
        return OptaxState(parameters, value, gradient, state, jnp.asarray(1), jnp.asarray(True))

    def step(self, objective: Objective, state: OptaxState) -> OptaxState:
        optax = import_optax()
        # Plain transformations ignore the extra arguments; line searches and Polyak steps read them.
        optimiser = optax.with_extra_args_support(self.optimiser)
        updates, optimiser_state = optimiser.update(
            state.gradient,
            state.optimiser_state,
            state.parameters,
            value=state.value,
            grad=state.gradient,
            value_fn=objective,
        )
        searched = _find_search(optax, optimiser_state)
        if searched is not None and jtu.tree_leaves(searched.grad):
            parameters = optax.apply_updates(state.parameters, updates)
            trial = _Trial(parameters, searched.value, searched.grad, searched.info.num_linesearch_steps)
        else:
            trial = _halve_until_finite(objective, state.parameters, updates)
        moved = jnp.logical_not(equal(trial.parameters, state.parameters))
        accepted = moved & all_finite(trial.value, trial.gradient)
        kept = (state.parameters, state.value, state.gradient)
        taken = (trial.parameters, trial.value.astype(state.value.dtype), trial.gradient)
        parameters, value, gradient = select(accepted, taken, kept)
        return OptaxState(parameters, value, gradient, optimiser_state, state.evaluations + trial.evaluations, accepted)

    def point(self, objective: Objective, state: OptaxState) -> Point:
        return Point(
            state.parameters,
            state.value,
            euclidean_norm(objective.bounds.reduced(state.parameters, state.gradient)),
            state.evaluations,
            state.accepted,
            stuck=jnp.logical_not(state.accepted),
            converged=jnp.asarray(False),
        )


class _Trial(NamedTuple):
    parameters: PyTree
    value: Scalar
    gradient: PyTree
    evaluations: Int[Array, ""]


def _halve_until_finite(objective: Objective, parameters: PyTree, updates: PyTree) -> _Trial:
    """Evaluate at `parameters + updates`, at half of it, ... until loss and gradient are finite."""

    def evaluate(trial: _Trial) -> _Trial:
        scale = [jnp.asarray(0.5, leaf.dtype) ** trial.evaluations for leaf in jtu.tree_leaves(updates)]
        shrunk = [leaf * factor for leaf, factor in zip(jtu.tree_leaves(updates), scale, strict=True)]
        update = jtu.tree_unflatten(jtu.tree_structure(updates), shrunk)
        candidate = objective.bounds.project(jtu.tree_map(lambda p, u: (p + u).astype(p.dtype), parameters, update))
        value, gradient = jax.value_and_grad(objective)(candidate)
        return _Trial(candidate, value, gradient, trial.evaluations + 1)

    def not_yet(trial: _Trial) -> Bool[Array, ""]:
        unusable = jnp.logical_not(all_finite(trial.value, trial.gradient))
        return unusable & (trial.evaluations <= _MAX_HALVINGS)

    value, gradient = jax.eval_shape(jax.value_and_grad(objective), parameters)
    unevaluated = jnp.full(value.shape, jnp.nan, value.dtype)
    zeros = jtu.tree_map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), gradient)
    # The evaluation stands in the loop's body alone, so it is compiled once.
    return jax.lax.while_loop(not_yet, evaluate, _Trial(parameters, unevaluated, zeros, jnp.asarray(0)))


def _find_search(optax: Any, optimiser_state: PyTree) -> Any:
    """The state of the line search inside an optimiser's state: it holds value and gradient at the new point."""
    kinds = (optax.ScaleByZoomLinesearchState, optax.ScaleByBacktrackingLinesearchState)
    leaves = jtu.tree_leaves(optimiser_state, is_leaf=lambda node: isinstance(node, kinds))
    found = [leaf for leaf in leaves if isinstance(leaf, kinds)]
    return found[-1] if found else None


def import_optax() -> Any:
    """optax, or an `ImportError` that says how to get it."""
    try:
        import optax
    except ImportError as error:
        message = "fit with an optax optimiser needs optax: pip install krylovpde[fit]"
        raise ImportError(message) from error
    return optax
