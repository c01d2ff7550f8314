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
from ._bounds import Bounds

State = TypeVar("State")


class Objective(eqx.Module):
    """The loss as a function of the free parameters alone.

    **Arguments:**

    - `loss`: a scalar function of a model.
    - `fixed`: the model with `None` where the free parameters are.
    - `bounds`: the limits of the free parameters.
    """

    loss: Callable[[Any], Scalar]
    fixed: PyTree
    bounds: Bounds = Bounds()

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
    `converged` where its own criterion is met. `gradient_norm` leaves out what pushes against a limit. The products are
    those with the Jacobian of the residual and with its transpose, of an optimiser that makes them one by one.
    """

    parameters: PyTree
    value: Scalar
    gradient_norm: Scalar
    evaluations: Int[Array, ""]
    accepted: Bool[Array, ""]
    stuck: Bool[Array, ""]
    converged: Bool[Array, ""]
    jacobian_products: Int[Array, ""] | int = 0
    transposed_products: Int[Array, ""] | int = 0


class AbstractDriver(eqx.Module, Generic[State]):
    """Drives one library's optimisers, or is an optimiser itself. Everything in a state that changes is an array."""

    #: What to say of a point that is stuck.
    stuck_reason: eqx.AbstractClassVar[str]

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The optimiser's name, for messages and checkpoints."""

    @abc.abstractmethod
    def check(self, objective: Objective, parameters: PyTree):
        """Refuse what this optimiser cannot do. Nothing is evaluated.

        **Raises:** `TypeError` or `ValueError`.
        """

    @abc.abstractmethod
    def init(self, objective: Objective, parameters: PyTree) -> State:
        """The state at the start, where the loss has been evaluated."""

    @abc.abstractmethod
    def step(self, objective: Objective, state: State) -> State:
        """One iteration."""

    @abc.abstractmethod
    def point(self, objective: Objective, state: State) -> Point:
        """Where the state stands. Costs no solve where the optimiser keeps value and gradient."""


def check_residual(objective: Objective, name: str):
    """Refuse a loss that is no sum of squares, for an optimiser that needs the squares."""
    if not hasattr(objective.loss, "residual"):
        message = (
            f"fit: {name} is a least-squares solver and needs a loss with a residual, but got "
            f"{type(objective.loss).__name__}. Use kp.inverse.LeastSquares, or a minimiser such as kp.inverse.LBFGS()."
        )
        raise TypeError(message)


def check_real(parameters: PyTree, name: str):
    """Refuse complex unknowns, for an optimiser that does not know what a gradient is there."""
    if any(jnp.iscomplexobj(leaf) for leaf in jtu.tree_leaves(parameters)):
        message = (
            f"fit: {name} takes real unknowns, but a free leaf of the model is complex. Hold its real and imaginary "
            "part as two leaves."
        )
        raise TypeError(message)
