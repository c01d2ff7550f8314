"""What a way of differentiating an action must answer."""

import abc

import equinox as eqx
from jaxtyping import Array, Int, PyTree, Real

from .._solution import RESULTS
from ..action import AbstractMethod, Problem, Settings


class Report(eqx.Module):
    """How a forward march went."""

    applications: Int[Array, ""]
    dimension: Int[Array, ""]
    steps: Int[Array, ""]
    error: Real[Array, ""]
    time: Real[Array, ""]
    result: RESULTS


class AbstractAdjoint(eqx.Module):
    """How the outputs of a march are differentiated. See `krylovpde.TwoSidedAdjoint` and its neighbours."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The name that `stats.adjoint` and messages use."""

    @abc.abstractmethod
    def serves(self, method: AbstractMethod) -> bool:
        """Whether this adjoint can differentiate that method."""

    @abc.abstractmethod
    def evaluate(
        self, settings: Settings, problem: Problem, state: tuple[PyTree[Array], ...], times: Array, throw: bool
    ) -> tuple[PyTree[Array], Report]:
        """The outputs at all times, stacked in the order of `times`, differentiable in this adjoint's way."""


def check_pair(method: AbstractMethod, adjoint: AbstractAdjoint, known: tuple[AbstractAdjoint, ...]) -> None:
    """Raises `ValueError` for an adjoint that cannot differentiate a method; names those that can."""
    if not adjoint.serves(method):
        possible = ", ".join(f"{other.name}()" for other in known if other.serves(method))
        message = f"`adjoint={adjoint.name}()` cannot differentiate `method={method.name}()`. Possible: {possible}."
        raise ValueError(message)
