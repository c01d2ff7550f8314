"""The solvers."""

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax
import equinox as eqx
from jaxtyping import Array, PyTree

from ..action import AbstractMethod
from ..integrate import ETDRK2_TABLEAU, ETDRK4_TABLEAU, EXPONENTIAL_EULER_TABLEAU, ROSENBROCK_TABLEAU, Tableau
from ..krylov._space import add
from ._step import Split, exponential_diffrax_step
from ._term import check_terms

_INTERPOLATION = diffrax.ThirdOrderHermitePolynomialInterpolation


class _ExponentialSolver(diffrax.AbstractAdaptiveSolver[None]):
    """What the solvers share: everything but a tableau."""

    # The parts are checked in `init`, which says what to do; Diffrax's own check would only say that they do not fit.
    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar[Callable[..., Any]] = _INTERPOLATION

    action: eqx.AbstractVar[AbstractMethod | None]
    rtol: eqx.AbstractVar[float | None]
    tableau: eqx.AbstractClassVar[Tableau]
    rosenbrock: ClassVar[bool] = False

    def order(self, terms: Any) -> int:
        """Of the result."""
        del terms
        return self.tableau.order

    def error_order(self, terms: Any) -> int:
        """Of the error of a step."""
        del terms
        return self.tableau.error_order

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> None:
        """No state; the terms are checked."""
        del t0, t1, y0, args
        check_terms(terms, type(self).__name__)

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: None, made_jump: Any
    ) -> tuple[PyTree[Array], PyTree[Array], dict[str, PyTree[Array]], None, diffrax.RESULTS]:
        """From `t0` to `t1`."""
        del solver_state, made_jump
        split = Split(terms, t0, t1, args)
        y1, error, dense, result = exponential_diffrax_step(
            self.tableau, self.rosenbrock, self.action, self.rtol, split, t0, t1, y0
        )
        return y1, error, dense, None, result

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """The whole vector field, which is what `steady_state_event` and `ImplicitAdjoint` ask for."""
        return add(*terms.vf(t0, y0, args))


class ExponentialEuler(_ExponentialSolver):
    r"""Exponential Euler, of order one: `y⁺ = exp(hA) y + h φ_1(hA) g(t, y)`.

    The error is compared with [`krylovpde.diffrax.ETDRK2`][].

    **Arguments:**

    - `action`: how the exponentials are computed; `None` chooses by the operator's tags.
    - `rtol`: of the exponentials; `None` is 1e-10 in double and 1e-5 in single precision.
    """

    action: AbstractMethod | None = None
    rtol: float | None = eqx.field(static=True, default=None)
    tableau: ClassVar[Tableau] = EXPONENTIAL_EULER_TABLEAU


class ETDRK2(_ExponentialSolver):
    """Exponential Runge–Kutta of order two: see [`krylovpde.ETDRK2`][]; arguments as for `ExponentialEuler`."""

    action: AbstractMethod | None = None
    rtol: float | None = eqx.field(static=True, default=None)
    tableau: ClassVar[Tableau] = ETDRK2_TABLEAU


class ETDRK4(_ExponentialSolver):
    """Exponential Runge–Kutta of order four: see [`krylovpde.ETDRK4`][]; arguments as for `ExponentialEuler`."""

    action: AbstractMethod | None = None
    rtol: float | None = eqx.field(static=True, default=None)
    tableau: ClassVar[Tableau] = ETDRK4_TABLEAU


class ExponentialRosenbrock(_ExponentialSolver):
    """Exponential Rosenbrock of order four: see [`krylovpde.Rosenbrock`][]; arguments as for `ExponentialEuler`."""

    action: AbstractMethod | None = None
    rtol: float | None = eqx.field(static=True, default=None)
    tableau: ClassVar[Tableau] = ROSENBROCK_TABLEAU
    rosenbrock: ClassVar[bool] = True
