"""Strang's splitting: half a step of the rest, a step of the operator, half a step of the rest."""

import functools
from typing import Any

import jax.tree_util as jtu
from jaxtyping import Array, PyTree, Real

from ..action import AbstractMethod
from ..krylov._space import axpy, subtract
from ._integrator import AbstractIntegrator, Flow, Step, as_step_size, no_cost, with_report


class Strang(AbstractIntegrator):
    r"""Strang's splitting, of order two.

        u⁺ = N(h/2) exp(hA) N(h/2) u

    with `N` the flow of `u' = g(t, u)`, by one step of the classical Runge–Kutta method of order four. The simple
    baseline: one linear flow a step, and two more for the estimate of the error, the difference to the splitting in
    the other order, `exp(hA/2) N(h) exp(hA/2) u`.

    !!! cite "Sources"

        Strang, *On the construction and comparison of difference schemes* (1968).
    """

    action: AbstractMethod | None
    step_size: Real[Array, ""] | None

    def __init__(self, action: AbstractMethod | None = None, *, step_size: Any = None):
        """The integrator; the arguments are those of [`krylovpde.ETDRK2`][]."""
        self.action = action
        self.step_size = as_step_size(step_size, "Strang")

    @property
    def name(self) -> str:
        return "Strang"

    @property
    def error_order(self) -> int:
        return 3

    @property
    def extrapolates(self) -> bool:
        return False

    def step(self, flow: Flow, t: Array, u: PyTree[Array], h: Array) -> Step:
        operator, half = flow.equation.operator(), 0.5 * h
        middle, first = flow.linear(operator, (_runge_kutta(flow, t, u, half),), h)
        state = _runge_kutta(flow, t + half, middle, half)
        before, second = flow.linear(operator, (u,), half)
        other, third = flow.linear(operator, (_runge_kutta(flow, t, before, h),), half)
        cost = functools.reduce(with_report, (first, second, third), no_cost())
        return Step(state, subtract(state, other), *cost)


def _runge_kutta(flow: Flow, t: Array, u: PyTree[Array], h: Array) -> PyTree[Array]:
    """One step of the classical method for `u' = g(t, u)`."""
    first = flow.rest(t, u)
    second = flow.rest(t + 0.5 * h, axpy(0.5 * h, first, u))
    third = flow.rest(t + 0.5 * h, axpy(0.5 * h, second, u))
    fourth = flow.rest(t + h, axpy(h, third, u))
    slope = jtu.tree_map(lambda a, b, c, d: (a + 2.0 * b + 2.0 * c + d) / 6.0, first, second, third, fourth)
    return axpy(h, slope, u)
