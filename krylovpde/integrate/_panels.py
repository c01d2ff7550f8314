"""The exact flow of a linear equation that time series drive."""

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, PyTree, Real

from ..action import AbstractMethod
from ..krylov._space import scale, subtract
from ._integrator import AbstractIntegrator, Flow, Step, no_cost, with_report


class Panels(AbstractIntegrator):
    r"""`u' = A u + b(t)` where `b` is a straight line between its breakpoints, each of which ends a step.

        u(t + h) = exp(hA) u + h φ_1(hA) b(t) + h² φ_2(hA) b'

    is the solution itself: the only error is that of the linear flow, so steps reach from breakpoint to breakpoint.

    **Arguments:**

    - `action`: how the linear flows are computed; `None` chooses by the operator.
    - `degree`: of `b`, 0 or 1.
    """

    action: AbstractMethod | None
    degree: int = eqx.field(static=True)
    step_size: Real[Array, ""] | None = None

    @property
    def name(self) -> str:
        return "Panels"

    @property
    def error_order(self) -> int:
        return 4

    @property
    def extrapolates(self) -> bool:
        # Each step meets the tolerance by itself, whatever its length.
        return True

    def rate(self, flow: Flow, t: Array, u: PyTree[Array], end: Array) -> Array:
        """Nothing is inexact: the first step is as long as it can be."""
        del flow, u, end
        return jnp.zeros_like(t)

    def step(self, flow: Flow, t: Array, u: PyTree[Array], h: Array) -> Step:
        first = flow.rest(t, u)
        vectors = (u, first)
        if self.degree > 0:
            length = jnp.where(h == 0, 1.0, h)
            vectors = (u, first, scale(1.0 / length, subtract(flow.rest(t + h, u), first)))
        state, report = flow.linear(flow.equation.operator(), vectors, h)
        error = jtu.tree_map(lambda leaf: report.error.astype(leaf.real.dtype) * leaf, state)
        return Step(state, error, *with_report(no_cost(), report))
