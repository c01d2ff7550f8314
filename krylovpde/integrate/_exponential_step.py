"""One step of any exponential Runge–Kutta method: its rows in a loop, so that the linear flow is compiled once."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jax import lax
from jaxtyping import Array, PyTree

from ..action import select
from ..krylov._space import axpy, subtract
from ._integrator import LinearFlow, Step, no_cost, with_report
from ._tableau import Tableau

Rest: TypeAlias = Callable[[Array, PyTree[Array]], PyTree[Array]]


class Linearised(NamedTuple):
    """`u' = M u + g(t, u)` around the start of a step: `M`, `g`, `g_1 = g(t, u)`, and `g_t` or None."""

    operator: lx.AbstractLinearOperator
    rest: Rest
    first: PyTree[Array]
    drift: PyTree[Array] | None


def exponential_step(
    tableau: Tableau, linear: LinearFlow, linearised: Linearised, t: Array, u: PyTree[Array], h: Array
) -> Step:
    """The rows one after another; the differences of `g` are collected as they become known."""
    count = len(tableau.rows)
    in_time = _in_time(tableau, linearised, t, u, h)
    differences = jtu.tree_map(lambda leaf: jnp.zeros((count + 1, *leaf.shape), leaf.dtype).at[0].set(leaf), in_time)
    # Row r is stage r + 2; the last one, the error, starts from nothing and is no stage.
    is_error = np.arange(count) == count - 1
    rows = (jnp.asarray(tableau.nodes, h.dtype), jnp.asarray(tableau.weights, h.dtype), jnp.asarray(is_error))

    def row(carry, inputs):
        differences, cost = carry
        (node, weights, error), stage = inputs
        vectors = _vectors(linearised, u, differences, node, weights, error, h)
        value, report = linear(linearised.operator, vectors, node * h)
        # The function is not asked about an error: it may not be defined there.
        at = select(error, u, value)
        difference = subtract(linearised.rest(t + node * h, at), linearised.first)
        if linearised.drift is not None:
            difference = axpy(-node * h, linearised.drift, difference)
        differences = jtu.tree_map(
            lambda rows, leaf: lax.dynamic_update_index_in_dim(rows, leaf, stage, 0), differences, difference
        )
        return (differences, with_report(cost, report)), value

    stages = jnp.minimum(jnp.arange(count, dtype=jnp.int32) + 2, count)
    (_, cost), values = lax.scan(row, (differences, no_cost()), (rows, stages))
    state, error = (jtu.tree_map(lambda leaf, i=i: leaf[i], values) for i in (count - 2, count - 1))
    return Step(state, error, *cost)


def _in_time(tableau: Tableau, linearised: Linearised, t: Array, u: PyTree[Array], h: Array) -> PyTree[Array]:
    """The divided difference of `g` in time. It decides about the error only: no derivative goes through it."""
    zero = jtu.tree_map(jnp.zeros_like, u)
    if not tableau.in_time:
        return zero
    places, weights = (jnp.asarray(column, h.dtype) for column in zip(*tableau.in_time, strict=True))

    def one(total, inputs):
        place, factor = inputs
        return axpy(factor, subtract(linearised.rest(t + place * h, u), linearised.first), total), None

    return lax.stop_gradient(lax.scan(one, zero, (places, weights))[0])


def _vectors(linearised: Linearised, u, differences, node, weights, error, h) -> tuple[PyTree[Array], ...]:
    """What the φ-functions of a row act on: `v_k` with `(c h)^k φ_k(c h M) v_k` summed."""
    highest = max(weights.shape[0] - 1, 1 if linearised.drift is None else 2)
    base = [u, linearised.first, linearised.drift]
    vectors = []
    for k in range(highest + 1):
        own = base[k] if k < len(base) else None
        vector = jtu.tree_map(jnp.zeros_like, u) if own is None else _unless(error, own)
        if 0 < k < weights.shape[0]:
            # h φ_k D = (c h)^k φ_k · D / (c^k h^(k-1)). Steps of lanes that are done have length zero.
            power = jnp.where(h == 0, 1.0, h) ** (k - 1) * node**k
            factors = weights[k] / power
            vector = jtu.tree_map(
                lambda a, rows, f=factors: a + jnp.tensordot(f.astype(a.real.dtype).astype(a.dtype), rows, axes=1),
                vector,
                differences,
            )
        vectors.append(vector)
    return tuple(vectors)


def _unless(condition: Array, x: PyTree[Array]) -> PyTree[Array]:
    return jtu.tree_map(lambda leaf: jnp.where(condition, jnp.zeros_like(leaf), leaf), x)
