"""Faber's recurrence: from a start vector to the outputs at all times, with checkpoints on the way.

With `F̃_0 = 2 F_0` in the place of `F_0` (and half its coefficient) every step is the same,

    a₁ F_(k+1) = (A - x₀) F_k - a₂ F_(k-1),        2 a₁ F_1 = (A - x₀) F̃_0 .

Run backwards it would grow like `(a₁/a₂)ᵏ`, so a gradient needs checkpoints (`_checkpoints`). Two terms are taken at a
time: a loop that swaps its vectors would copy them.
"""

import functools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax
from jaxtyping import Array, PyTree

from .._solution import RESULTS, first_failure
from ..krylov._space import add, norm, scale
from ..operator import Ellipse, Rectangle, numerical_range
from ._batch import batch_max
from ._checkpoints import Layout, Pair, Ring, write_pair
from ._faber_series import NOISE, FaberSeries, expand_on_ellipse
from ._problem import Problem
from ._recurrence import along
from ._spectrum import like_of

# Crouzeix and Palencia: ‖f(A)‖ ≤ (1 + √2) max |f| on the numerical range, and |F_k| ≤ 2. The flow through walls, which
# the ellipse leaves out, lets F_k grow like √k besides.
_MOST_GROWTH = 2.0 * (1.0 + math.sqrt(2.0))
# Of `log |exp(tz)|` on an ellipse around a rectangle, where there are no digits to spare: in single precision.
_LEAST_GROWTH = 2.0


class FaberSequence(eqx.Module):
    """What is left of a recurrence.

    * `pairs`: of terms that were made, one for a start of zero.
    * `checkpoints`: those of the coarsest level, or None.
    """

    series: FaberSeries
    pairs: Array
    checkpoints: Pair | None


class FaberRun(eqx.Module):
    """What is left of all recurrences, one for each start."""

    sequences: tuple[FaberSequence, ...]
    ring: Ring
    applications: Array
    error: Array
    result: RESULTS


def run_faber(
    problem: Problem, state: tuple[PyTree[Array], ...], times: Array, rtol: float, max_degree: int, recorded: bool
) -> tuple[PyTree[Array], FaberRun]:
    """The outputs at all times: a tuple with the state, or what is observed; stacked in the order of `times`."""
    ellipse = _ellipse(problem, times, rtol)
    ellipse = jtu.tree_map(lambda number: number.astype(times.dtype), ellipse)
    ring, sequences, errors, sizes, results = Ring(ellipse), [], [], [], []
    kept: Any = None
    for level, start in enumerate(state):
        series = expand_on_ellipse(level, times, ellipse, rtol, max_degree)
        part, sequence, growth, result = _run(problem, ring, series, start, max_degree, recorded)
        kept = part if kept is None else add(kept, part)
        sequences.append(sequence)
        results.append(result)
        sizes.append(norm(start, problem.weight).astype(times.dtype))
        errors.append(sizes[-1] * series.error * jnp.maximum(growth.astype(times.dtype), 1.0))
    expected = [size * sequence.series.scales for size, sequence in zip(sizes, sequences, strict=True)]
    scales = jnp.maximum(functools.reduce(jnp.add, expected), sizes[0])
    if problem.observation is None:
        reached = jax.vmap(lambda output: norm(output, problem.weight))(kept)
        scales = jnp.maximum(scales, reached.astype(times.dtype))
    error = functools.reduce(jnp.add, errors)
    error = jnp.max(jnp.where(error > 0, error / jnp.where(scales > 0, scales, 1.0), 0.0))
    result = first_failure(results)
    applications = functools.reduce(jnp.add, [2 * sequence.pairs - 1 for sequence in sequences])
    outputs = (kept,) if problem.observation is None else kept
    return outputs, FaberRun(tuple(sequences), ring, applications, error, result)


def _ellipse(problem: Problem, times: Array, rtol: float) -> Ellipse:
    known = numerical_range(like_of(problem.operator))
    assert known is not None
    if not isinstance(known, Rectangle):
        return known
    # Growth costs digits: as many as there are between the tolerance and the rounding of the series.
    growth = max(math.log(rtol / (NOISE * float(jnp.finfo(times.dtype).eps))), _LEAST_GROWTH)
    return known.ellipse(jnp.max(jnp.abs(times)).astype(known.height.dtype), growth)


def _run(problem: Problem, ring: Ring, series: FaberSeries, start: PyTree[Array], max_degree: int, recorded: bool):
    """The sums of one start, what is left of its recurrence, how it has grown, and the result."""
    size = norm(start, problem.weight)
    # A start of zero needs no steps (its series may still be needed, for the adjoint).
    pairs = batch_max(jnp.where(size == 0, 1, series.pairs))
    keep = Kept(problem, series.coefficients)
    pair = scale(2.0, start), ring.mapped(problem.operator.mv(start), start)
    carry = pair, keep.pair(keep.start(start), 0, pair)

    def body(index, carry):
        pair, kept = carry
        pair = ring.pair_after(problem.operator, pair)
        return pair, keep.pair(kept, index, pair)

    checkpoints = None
    if recorded:
        layout = Layout(max_degree)
        spacing = layout.spacings(series.pairs)[0]

        def segment(index, carry):
            carry, checkpoints = carry
            first = index * spacing + 1
            carry_on = lax.fori_loop(first, jnp.minimum(first + spacing, pairs), body, carry)
            return carry_on, write_pair(checkpoints, index, carry[0])

        segments = (pairs + spacing - 1) // spacing
        carry, checkpoints = lax.fori_loop(0, segments, segment, (carry, layout.empty(pair)))
    else:
        carry = lax.fori_loop(1, pairs, body, carry)
    (_, last), kept = carry
    growth, result = _judged(problem, series, size, norm(last, problem.weight))
    return kept, FaberSequence(series, pairs, checkpoints), growth, result


def _judged(problem: Problem, series: FaberSeries, size: Array, grown: Array) -> tuple[Array, RESULTS]:
    """How much longer the last vector is than it may be, and whether to believe the sums."""
    pair_of_tangent = like_of(problem.operator) is not problem.operator
    growth = grown / jnp.where(size > 0, 2.0 * size, 1.0)
    # The pairs of a tangent may grow like k, in units that are not theirs.
    most = _MOST_GROWTH * jnp.sqrt(series.terms.astype(size.dtype))
    good = jnp.isfinite(grown) if pair_of_tangent else grown <= most * size
    result = RESULTS.where(series.resolved, RESULTS.successful, RESULTS.max_degree_reached)
    result = RESULTS.where(good, result, RESULTS.bound_violated)
    result = RESULTS.where(jnp.isfinite(size), result, RESULTS.nonfinite)
    result = RESULTS.where(size == 0, RESULTS.successful, result)
    return jnp.ones_like(growth) if pair_of_tangent else growth, result


class Kept(eqx.Module):
    """The sums `Σ_k c_k(t_i) F_k v`, or of what is observed of `F_k v`, where that is asked."""

    problem: Problem
    coefficients: Array

    def start(self, vector: PyTree[Array]) -> PyTree[Array]:
        count = self.coefficients.shape[0]
        like = jax.eval_shape(self._seen, vector)
        return jtu.tree_map(lambda leaf: jnp.zeros((count, *leaf.shape), leaf.dtype), like)

    def pair(self, kept: PyTree[Array], index, pair: Pair) -> PyTree[Array]:
        """With the terms `2 index` and `2 index + 1`."""
        return self._with(self._with(kept, 2 * index, pair[0]), 2 * index + 1, pair[1])

    def _with(self, kept: PyTree[Array], k, vector: PyTree[Array]) -> PyTree[Array]:
        numbers = coefficients_of(self.coefficients, k)

        def accumulate(total: Array, leaf: Array) -> Array:
            return total + scale(along(numbers, leaf), leaf[None])

        return jtu.tree_map(accumulate, kept, self._seen(vector))

    def _seen(self, vector: PyTree[Array]) -> PyTree[Array]:
        observation = self.problem.observation
        return vector if observation is None else observation.operator.mv(vector)


def coefficients_of(coefficients: Array, k) -> Array:
    """`c_k(t_i)` for all times, half of it for `k = 0`, where the vector is `2 F_0 v`."""
    numbers = lax.dynamic_index_in_dim(coefficients, k, 1, keepdims=False)
    return jnp.where(jnp.asarray(k) == 0, 0.5, 1.0).astype(numbers.dtype) * numbers
