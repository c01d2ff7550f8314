"""Magnus' exponentials without commutators, for linear equations whose operator depends on time."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jax import lax
from jaxtyping import Array, PyTree, Real

from ..action import AbstractMethod, select
from ..equation import AbstractEquation
from ..krylov._space import norm, scale, subtract
from ..operator import affine_combination, weight
from ._integrator import AbstractIntegrator, Flow, Step, as_step_size, no_cost, with_report

# Gauss' nodes, and the share of the later one in the first and in the second exponential of length h/2.
_NODES = (0.5 - math.sqrt(3.0) / 6.0, 0.5 + math.sqrt(3.0) / 6.0)
_SHARES = (0.5 - math.sqrt(3.0) / 3.0, 0.5 + math.sqrt(3.0) / 3.0)
# One step of length 1, and two of length 1/2: where each begins, how long it is, whether it is the coarse one.
_BEGINS, _LENGTHS, _COARSE = (0.0, 0.0, 0.5), (1.0, 0.5, 0.5), (True, False, False)
# The difference of the two is 2⁴ - 1 times the error of the finer.
_RICHARDSON = 15.0
# Differences of the operator over so many parts of the whole duration tell how fast it changes.
_SAMPLES = 8


class Magnus4(AbstractIntegrator):
    r"""The commutator-free Magnus method of order four, for `u' = A(t) u + b(t)`.

        u⁺ = exp(h (α A₁ + β A₂)) exp(h (β A₁ + α A₂)) u,      α, β = 1/4 ∓ √3/6,   A_j = A(t + c_j h),  c = 1/2 ∓ √3/6

    Two exponentials for each half of a step, of averages over time of the operator: they keep its structure, so a
    Schrödinger state keeps its norm to the tolerance of the exponentials (to rounding with `Lanczos`), and stiffness
    costs no steps. Each step is taken once as a whole and once in two halves, of which the latter is kept: the
    difference is an estimate of order five at the price that the exponential midpoint rule has for one of order three.

    Sources and boundary values ride along in the same averages. Jumps and kinks of signals end a step; those of a
    function of time are met by short steps around them.

    !!! cite "Sources"

        Blanes and Moan, *Fourth- and sixth-order commutator-free Magnus integrators for linear and non-linear dynamical
        systems* (2006).
    """

    action: AbstractMethod | None
    step_size: Real[Array, ""] | None

    def __init__(self, action: AbstractMethod | None = None, *, step_size: Any = None):
        """The integrator; the arguments are those of [`krylovpde.ETDRK2`][]."""
        self.action = action
        self.step_size = as_step_size(step_size, "Magnus4")

    @property
    def name(self) -> str:
        return "Magnus4"

    @property
    def error_order(self) -> int:
        return 5

    @property
    def extrapolates(self) -> bool:
        return False

    def flow_operator(self, equation: AbstractEquation, u: PyTree[Array]) -> lx.AbstractLinearOperator:
        zero = jnp.zeros((), np.finfo(jtu.tree_leaves(u)[0].dtype).dtype)
        operator = equation.operator_at(zero)
        operator = equation.operator() if operator is None else operator
        return affine_combination(operator, operator, zero)

    def rate(self, flow: Flow, t: Array, u: PyTree[Array], end: Array) -> Array:
        """`‖u‖ sqrt(‖A'(t) u‖ / ‖u‖)` at its largest, from differences: how soon a frozen operator errs."""
        times = t + (end - t) * jnp.linspace(0.0, 1.0, _SAMPLES + 1, dtype=t.dtype)
        images = lax.map(lambda time: flow.operator(time).mv(u), times)
        changes = jtu.tree_map(lambda leaf: jnp.diff(leaf, axis=0), images)
        inner_product = weight(flow.equation.operator())
        largest = jnp.max(jax.vmap(lambda change: norm(change, inner_product))(changes))
        size, spacing = norm(u, inner_product), (end - t) / _SAMPLES
        scaled = jnp.where(size > 0, size, 1.0) * jnp.where(spacing > 0, spacing, 1.0)
        return size * jnp.sqrt(largest / scaled)

    def step(self, flow: Flow, t: Array, u: PyTree[Array], h: Array) -> Step:
        # The exponentials in a loop, so that the linear flow is compiled once.
        columns = [np.repeat(np.asarray(column), 2) for column in (_BEGINS, _LENGTHS, _COARSE)]
        begins, lengths = (jnp.asarray(column, h.dtype) for column in columns[:2])
        rows = (t + begins * h, lengths * h, jnp.asarray(_SHARES * len(_BEGINS), h.dtype), jnp.asarray(columns[2]))

        def row(carry, inputs):
            states, cost = carry
            begin, length, share, is_coarse = inputs
            value, report = _exponential(flow, select(is_coarse, *states), begin, length, share)
            states = (select(is_coarse, value, states[0]), select(is_coarse, states[1], value))
            return (states, with_report(cost, report)), None

        ((coarse, fine), cost), _ = lax.scan(row, ((u, u), no_cost()), rows)
        return Step(fine, scale(1.0 / _RICHARDSON, subtract(fine, coarse)), *cost)


def _exponential(flow: Flow, u: PyTree[Array], begin: Array, length: Array, share: Array):
    """Half of a step of that length: by the averages of the operator and of the rest."""
    early, late = (begin + node * length for node in _NODES)
    operator = affine_combination(flow.operator(early), flow.operator(late), share)
    if not flow.is_driven:
        return flow.linear(operator, (u,), 0.5 * length)
    sources = [flow.rest(time, u) for time in (early, late)]
    average = jtu.tree_map(lambda a, b: a + share.astype(a.real.dtype).astype(a.dtype) * (b - a), *sources)
    return flow.linear(operator, (u, average), 0.5 * length)
