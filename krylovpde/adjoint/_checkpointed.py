"""Gradients by a recurrence's adjoint, with its vectors made again from checkpoints."""

from jaxtyping import Array, PyTree

from ..action import AbstractMethod, Faber, Problem, Settings
from ._base import AbstractAdjoint, Report
from ._faber_engine import FaberEngine
from ._rules import Arguments, Rules, act


class CheckpointedAdjoint(AbstractAdjoint):
    r"""Derivatives of Faber's recurrence from checkpoints: the default for `Faber`.

    Faber's recurrence cannot be run backwards: it would grow like $(a_1/a_2)^k$. So the forward pass stores two of its
    vectors every now and then, in a static number of slots, and the adjoint (Clenshaw's recurrence) makes those between
    two checkpoints again before it passes through them. The gradient is the exact derivative of the computed value
    and as accurate as that, since the polynomial is accurate on the whole numerical range. Time: one or two more
    applications for each step, one of the transpose, one parameter VJP. Memory: `6 (max_degree / 2)^(1/3)` fields, 126
    for the default, whatever the degree that is used.

    Both modes, every order, `vmap` and `linearize`: tangents are the same recurrence on a larger operator.
    """

    @property
    def name(self) -> str:
        return "CheckpointedAdjoint"

    def serves(self, method: AbstractMethod) -> bool:
        return isinstance(method, Faber)

    def rules(self, settings: Settings, problem: Problem, throw: bool) -> Rules:
        """The static half of a solve and of all its derivatives."""
        return Rules(settings, FaberEngine(), problem.order, 1.0, throw)

    def evaluate(
        self, settings: Settings, problem: Problem, state: tuple[PyTree[Array], ...], times: Array, throw: bool
    ) -> tuple[PyTree[Array], Report]:
        arguments = Arguments(problem.operator, problem.observation, state, times)
        return act(self.rules(settings, problem, throw), arguments)
