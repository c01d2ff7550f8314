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

        u⁺ = N(h/2) L(h) N(h/2) u

    with `N` the flow of `u' = g(t, u)`, by one step of the classical Runge–Kutta method of order four, and
    `L(h) u = exp(hA) u + h φ_1(hA) b` that of the operator with the constant part of the equation: boundary values are
    a layer of height `1/h_x²` there, which belongs to the diffusion that spreads it. With such walls the order is still
    reduced, to 1.3 or so: the other integrators keep theirs. The simple
    baseline: one linear flow a step, and two more for the estimate of the error, the difference to the splitting in
    the other order, `L(h/2) N(h) L(h/2) u`.

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
        forcing = flow.equation.forcing()
        constant = () if forcing is None else (jtu.tree_map(lambda b, like: b.astype(like.dtype), forcing, u),)
        middle, first = flow.linear(operator, (_runge_kutta(flow, t, u, half), *constant), h)
        state = _runge_kutta(flow, t + half, middle, half)
        before, second = flow.linear(operator, (u, *constant), half)
        other, third = flow.linear(operator, (_runge_kutta(flow, t, before, h), *constant), half)
        cost = functools.reduce(with_report, (first, second, third), no_cost())
        return Step(state, subtract(state, other), *cost)


def _runge_kutta(flow: Flow, t: Array, u: PyTree[Array], h: Array) -> PyTree[Array]:
    """One step of the classical method for `u' = g(t, u)`."""
    first = flow.varying(t, u)
    second = flow.varying(t + 0.5 * h, axpy(0.5 * h, first, u))
    third = flow.varying(t + 0.5 * h, axpy(0.5 * h, second, u))
    fourth = flow.varying(t + h, axpy(h, third, u))
    slope = jtu.tree_map(lambda a, b, c, d: (a + 2.0 * b + 2.0 * c + d) / 6.0, first, second, third, fourth)
    return axpy(h, slope, u)
