"""What a signal answers, and what a source answers."""

import abc
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Inexact, PyTree, Real

from ._pieces import Pieces


class AbstractSignal(eqx.Module):
    """A real function of time with known jumps.

    The polynomial methods know it as a piecewise polynomial on the interval of a solve, the integrators by its values
    and breakpoints: nothing is ever stepped across one.
    """

    @property
    @abc.abstractmethod
    def breakpoints(self) -> Real[Array, " breaks"]:
        """Where it jumps or has a kink, not decreasing; constants to every derivative."""

    @property
    @abc.abstractmethod
    def degree(self) -> int | None:
        """That of the polynomials that it consists of between the breakpoints; `None` where it does not."""

    @abc.abstractmethod
    def __call__(self, t: Any) -> Real[Array, ""]:
        """The value at time `t`; at a jump the one after it."""

    @abc.abstractmethod
    def pieces(self, start: Array, duration: Array) -> Pieces:
        """The signal on `[start, start + duration]` as a piecewise polynomial of the time since `start`."""


class AbstractSource(eqx.Module):
    """`f(x) w(t)`: a profile in space times a signal in time."""

    signal: eqx.AbstractVar[AbstractSignal]

    @abc.abstractmethod
    def field(self, structure: PyTree[jax.ShapeDtypeStruct]) -> PyTree[Inexact[Array, "..."]]:
        """The profile `f` with the shapes of a state."""
