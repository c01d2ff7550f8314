"""Exponential time differencing with Runge–Kutta stages: the operator is exact, the rest is interpolated."""

from typing import Any

from jaxtyping import Array, PyTree, Real

from ..action import AbstractMethod
from ._exponential_step import Linearised, exponential_step
from ._integrator import AbstractIntegrator, Flow, Step, as_step_size
from ._tableau import ETDRK2_TABLEAU, ETDRK4_TABLEAU, Tableau


class ETDRK2(AbstractIntegrator):
    r"""Exponential Runge–Kutta of order two.

        U = exp(hA) u + h φ_1(hA) g(t, u)
        u⁺ = U + h φ_2(hA) (g(t + h, U) - g(t, u))

    for `u' = A u + g(t, u)`. Recommended for low accuracy and for data that are not smooth; it keeps its order with
    any boundary. The error is estimated by the same rule that takes `g` at `u⁺`, and by how far `g` is from a straight
    line in time.

    !!! cite "Sources"

        Cox and Matthews, *Exponential time differencing for stiff systems* (2002).
    """

    action: AbstractMethod | None
    step_size: Real[Array, ""] | None

    def __init__(self, action: AbstractMethod | None = None, *, step_size: Any = None):
        """The integrator.

        **Arguments:**

        - `action`: how the linear flows are computed; `None` chooses by the operator, as `krylovpde.solve` does.
        - `step_size`: a step to keep to, instead of steps that follow from the tolerance; output times still end one.
        """
        self.action = action
        self.step_size = as_step_size(step_size, "ETDRK2")

    @property
    def name(self) -> str:
        return "ETDRK2"

    @property
    def error_order(self) -> int:
        return ETDRK2_TABLEAU.error_order

    @property
    def extrapolates(self) -> bool:
        return False

    def step(self, flow: Flow, t: Array, u: PyTree[Array], h: Array) -> Step:
        return _step(ETDRK2_TABLEAU, flow, t, u, h)


class ETDRK4(AbstractIntegrator):
    r"""Exponential Runge–Kutta of order four, with Krogstad's stages: the default for semilinear equations.

    Four evaluations of `g` a step, and one linear combination of φ-functions for each. Of order four for periodic
    boundaries and for functions that respect the boundary conditions; otherwise boundary layers in the derivatives of
    `g` reduce it, as with every method of this kind whose stages are of lower order (Hochbruck, Ostermann 2005).

    !!! cite "Sources"

        Krogstad, *Generalized integrating factor methods for stiff PDEs* (2005).
    """

    action: AbstractMethod | None
    step_size: Real[Array, ""] | None

    def __init__(self, action: AbstractMethod | None = None, *, step_size: Any = None):
        """The integrator; the arguments are those of [`krylovpde.ETDRK2`][]."""
        self.action = action
        self.step_size = as_step_size(step_size, "ETDRK4")

    @property
    def name(self) -> str:
        return "ETDRK4"

    @property
    def error_order(self) -> int:
        return ETDRK4_TABLEAU.error_order

    @property
    def extrapolates(self) -> bool:
        return True

    def step(self, flow: Flow, t: Array, u: PyTree[Array], h: Array) -> Step:
        return _step(ETDRK4_TABLEAU, flow, t, u, h)


def _step(tableau: Tableau, flow: Flow, t: Array, u: PyTree[Array], h: Array) -> Step:
    linearised = Linearised(flow.equation.operator(), flow.rest, flow.rest(t, u), None)
    return exponential_step(tableau, flow.linear, linearised, t, u, h)
