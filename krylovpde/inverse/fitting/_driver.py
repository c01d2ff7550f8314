"""One interface to optimisers of different libraries: a state that `step` moves, and a `Point` to look at.

All of it runs inside `jit`; the loop around it (`fit`) runs outside, so that it can print, stop and keep the best.
"""

import abc
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Int, PyTree, Scalar

from ..loss import AbstractLoss

State = TypeVar("State")


class Objective(eqx.Module):
    """The loss as a function of the free parameters alone.

    **Arguments:**

    - `loss`: a scalar function of a model.
    - `fixed`: the model with `None` where the free parameters are.
    """

    loss: Callable[[Any], Scalar]
    fixed: PyTree

    def __call__(self, parameters: PyTree) -> Scalar:
        return self.loss(eqx.combine(parameters, self.fixed))

    def residual(self, parameters: PyTree) -> PyTree[Array]:
        """What a least-squares solver needs; `fit` has checked that the loss has it."""
        return self.loss.residual(eqx.combine(parameters, self.fixed))  # pyright: ignore[reportFunctionMemberAccess]

    def reduced_misfit(self, parameters: PyTree, value: Scalar) -> Scalar:
        """`χ²/N`, NaN for a loss that does not know it."""
        misfit = None
        if isinstance(self.loss, AbstractLoss):
            misfit = self.loss.reduced_misfit(eqx.combine(parameters, self.fixed), value)
        return jnp.full_like(value, jnp.nan) if misfit is None else misfit


class Point(eqx.Module):
    """Where an iteration ended.

    `accepted` is false where the parameters did not move; `stuck` where the optimiser cannot go on from here;
    `converged` where its own criterion is met.
    """

    parameters: PyTree
    value: Scalar
    gradient_norm: Scalar
    evaluations: Int[Array, ""]
    accepted: Bool[Array, ""]
    stuck: Bool[Array, ""]
    converged: Bool[Array, ""]


class AbstractDriver(eqx.Module, Generic[State]):
    """Drives one library's optimisers."""

    #: What to say of a point that is stuck.
    stuck_reason: eqx.AbstractClassVar[str]

    @abc.abstractmethod
    def init(self, objective: Objective, parameters: PyTree) -> State:
        """The state at the start, where the loss has been evaluated."""

    @abc.abstractmethod
    def step(self, objective: Objective, state: State) -> State:
        """One iteration."""

    @abc.abstractmethod
    def point(self, objective: Objective, state: State) -> Point:
        """Where the state stands. Costs no solve where the optimiser keeps value and gradient."""


def euclidean_norm(tree: PyTree[Array]) -> Scalar:
    """`sqrt(Σ|x|²)` over the leaves of a pytree."""
    parts = [jnp.sum(jnp.real(leaf * jnp.conj(leaf))) for leaf in jtu.tree_leaves(tree)]
    return jnp.sqrt(sum(parts[1:], parts[0]))


def all_finite(*trees: PyTree[Array]) -> Bool[Array, ""]:
    """Whether every number of every tree is finite."""
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jtu.tree_leaves(trees)]
    return jnp.all(jnp.stack(finite))


def select(condition: Bool[Array, ""], if_true: PyTree[Array], if_false: PyTree[Array]) -> PyTree[Array]:
    """One tree or the other, leaf by leaf."""
    return jtu.tree_map(lambda a, b: jnp.where(condition, a, b), if_true, if_false)
