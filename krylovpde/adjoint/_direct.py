"""Gradients by JAX's own differentiation of everything: the reference, and right where there is no iteration."""

import equinox as eqx
from jaxtyping import Array, PyTree

from ..action import AbstractMethod, Contour, Dense, Problem, Settings
from ..action._arnoldi import Arnoldi
from ..action._lanczos import Lanczos
from ._base import AbstractAdjoint, Report
from ._fixed import FixedSteps, contour_outputs, dense_outputs, fixed_outputs


class DirectAdjoint(AbstractAdjoint):
    r"""JAX differentiates the computation as it stands: a matrix exponential, direct solves, an unrolled iteration.

    With `Dense` it is exact to rounding, with `Contour` as exact as the solution, in both modes and every order. With a
    Krylov method it is the derivative of the approximation, which for smooth data has little to do with the derivative
    of the solution (see *How to choose*), and it keeps $O(n m^2)$ numbers: a reference to test against. The Krylov
    dimension is `max_dimension` of the method and the sub-steps are equal, because neither may depend on the data here;
    the error estimate still decides whether the result is successful.

    **Arguments:**

    - `num_steps`: equal sub-steps between two output times (Krylov methods only).
    """

    num_steps: int = eqx.field(default=1, static=True)

    @property
    def name(self) -> str:
        return "DirectAdjoint"

    def serves(self, method: AbstractMethod) -> bool:
        return isinstance(method, Dense | Contour | Arnoldi | Lanczos)

    def evaluate(
        self, settings: Settings, problem: Problem, state: tuple[PyTree[Array], ...], times: Array, throw: bool
    ) -> tuple[PyTree[Array], Report]:
        del throw
        if isinstance(settings.method, Dense):
            return dense_outputs(problem, state, times)
        if isinstance(settings.method, Contour):
            return contour_outputs(settings, problem, state, times)
        return fixed_outputs(FixedSteps(self.num_steps, unrolled=True), settings, problem, state, times)
