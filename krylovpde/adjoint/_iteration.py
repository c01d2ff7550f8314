"""Gradients of the Krylov iteration itself."""

import equinox as eqx
from jaxtyping import Array, PyTree

from ..action import AbstractMethod, Problem, Settings
from ..action._arnoldi import Arnoldi
from ..action._lanczos import Lanczos
from ._base import AbstractAdjoint, Report
from ._fixed import FixedSteps, fixed_outputs


class IterationAdjoint(AbstractAdjoint):
    r"""The discrete adjoint of Arnoldi's and Lanczos' iterations (Krämer, Moreno-Muñoz, Roy, Hauberg 2024).

    The exact reverse-mode derivative of the computed approximation, from the adjoint systems of Theorems 4.1 and 4.2,
    in memory $O(n m)$. It is *not* the derivative of the solution to the same accuracy: on smooth data its error can be
    thousands of times the gradient while the value is right to six digits, because the Krylov polynomial is free where
    the start vector has no components, and its derivative sees that. Use it to reproduce the literature, for rough
    data, or where consistency with the computed value matters more than accuracy.

    Reverse mode, first order. The Krylov dimension is the method's `max_dimension` and the sub-steps are equal; the
    error estimate of the value still decides whether the result is successful.

    **Arguments:**

    - `num_steps`: equal sub-steps between two output times.
    """

    num_steps: int = eqx.field(default=1, static=True)

    @property
    def name(self) -> str:
        return "IterationAdjoint"

    def serves(self, method: AbstractMethod) -> bool:
        return isinstance(method, Arnoldi | Lanczos)

    def evaluate(
        self, settings: Settings, problem: Problem, state: tuple[PyTree[Array], ...], times: Array, throw: bool
    ) -> tuple[PyTree[Array], Report]:
        del throw
        return fixed_outputs(FixedSteps(self.num_steps, unrolled=False), settings, problem, state, times)
