"""What computes the two functions of the core: one class for each family of methods, the rules are the same."""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Int, PyTree, Real

from .._solution import RESULTS
from ..action import Driven, Problem, Settings
from ._base import Report


class Direction(eqx.Module):
    """A tangent or cotangent of the differentiable arguments (but for the times): inexact arrays only.

    A `Driven` source has one, too: of its profile, and of its signal's coefficients (the edges have none: zero).
    """

    operator: PyTree
    observation: PyTree
    state: tuple[PyTree[Array], ...]


class Wanted(NamedTuple):
    """Which cotangents somebody asks for; static. The others are zero."""

    parameters: bool = True
    state: bool = True
    signals: bool = True

    def only(self, direction: Direction) -> Direction:
        """The direction with zeros in the place of what is not wanted."""
        operator, observation, state = direction.operator, direction.observation, direction.state
        if not self.parameters:
            operator, observation = _zeros((operator, observation))
        if not self.state:
            state = tuple(_without_profile(part) for part in state)
        if not self.signals:
            state = tuple(_without_signal(part) for part in state)
        return Direction(operator, observation, state)


def _without_profile(part: PyTree) -> PyTree:
    if isinstance(part, Driven):
        return Driven(_zeros(part.profile), part.signal)
    return _zeros(part)


def _without_signal(part: PyTree) -> PyTree:
    return Driven(part.profile, _zeros(part.signal)) if isinstance(part, Driven) else part


def _zeros(tree: PyTree) -> PyTree:
    return jtu.tree_map(jnp.zeros_like, tree)


class PullReport(eqx.Module):
    """How a backward pass went, the forward pass that it needed included."""

    applications: Int[Array, ""]
    transpose_applications: Int[Array, ""]
    parameter_vjps: Int[Array, ""]
    dimension: Int[Array, ""]
    steps: Int[Array, ""]
    error: Real[Array, ""]
    result: RESULTS


class AbstractEngine(eqx.Module):
    """Outputs, and cotangents from what the forward pass left behind."""

    @abc.abstractmethod
    def forward(
        self, settings: Settings, problem: Problem, state: tuple[PyTree[Array], ...], times: Array, recorded: bool
    ) -> tuple[PyTree[Array], Report, Any]:
        """The outputs in the order of `times`, a report, and a record for `backward` (None unless `recorded`)."""

    @abc.abstractmethod
    def reached(self, times: Array, record: Any) -> Bool[Array, " n"]:
        """Which of the times the forward pass reached; the other outputs are NaN."""

    @abc.abstractmethod
    def backward(
        self,
        settings: Settings,
        problem: Problem,
        state: tuple[PyTree[Array], ...],
        times: Array,
        cotangents: PyTree[Array],
        record: Any,
        wanted: Wanted,
    ) -> tuple[Direction, PullReport]:
        """Cotangents of `Σ_i <g_i, output_i>` with `cotangents` in the order of `times`, zero where not reached.

        What is not `wanted` need not be computed (and may be anything). The report does not count the forward pass.
        """
