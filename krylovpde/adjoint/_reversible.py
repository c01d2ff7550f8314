"""Gradients by running a recurrence backwards."""

from jaxtyping import Array, PyTree

from ..action import AbstractMethod, Chebyshev, Problem, Settings
from ._base import AbstractAdjoint, Report
from ._polynomial_engine import PolynomialEngine
from ._rules import Arguments, Rules, act


class ReversibleAdjoint(AbstractAdjoint):
    r"""Derivatives of Chebyshev's recurrence by its own reversal: the default for `Chebyshev`.

    The three-term recurrence runs backwards as well as forwards, so the adjoint (Clenshaw's recurrence) meets every
    $T_k(Z) v$ without any of them having been stored: memory for some twenty fields (21 were measured), whatever
    the duration. The gradient is the exact derivative of the computed value and as accurate as that, since the
    polynomial is accurate on the whole spectrum. Time: one more application for each step, one of the transpose,
    one parameter VJP.

    Both modes, every order, `vmap` and `linearize`: tangents are the same recurrence on a larger operator. The vectors
    that it comes back to are compared with the start; a difference beyond the tolerance is a failed backward pass.
    """

    @property
    def name(self) -> str:
        return "ReversibleAdjoint"

    def serves(self, method: AbstractMethod) -> bool:
        return isinstance(method, Chebyshev)

    def rules(self, settings: Settings, problem: Problem, throw: bool) -> Rules:
        """The static half of a solve and of all its derivatives."""
        return Rules(settings, PolynomialEngine(), problem.order, 1.0, throw)

    def evaluate(
        self, settings: Settings, problem: Problem, state: tuple[PyTree[Array], ...], times: Array, throw: bool
    ) -> tuple[PyTree[Array], Report]:
        arguments = Arguments(problem.operator, problem.observation, state, times)
        return act(self.rules(settings, problem, throw), arguments)
