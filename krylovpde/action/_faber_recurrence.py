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
from ..krylov._space import norm, scale
from ..operator import Ellipse, Rectangle, numerical_range
from ._batch import batch_max
from ._checkpoints import Layout, Pair, Ring, write_pair
from ._driven import Driven, driven_of, profile_of
from ._excitation import Forced, Released
from ._faber_series import NOISE, FaberSeries, expand_on_ellipse
from ._keep import Keep
from ._one_by_one import one_by_one
from ._problem import Problem
from ._spectrum import like_of

# Crouzeix and Palencia: ‖f(A)‖ ≤ (1 + √2) max |f| on the numerical range, and |F_k| ≤ 2. The flow through walls, which
# the ellipse leaves out, lets F_k grow like √k besides.
_MOST_GROWTH = 2.0 * (1.0 + math.sqrt(2.0))
# Of `log |exp(tz)|` on an ellipse around a rectangle, where there are no digits to spare: in single precision.
_LEAST_GROWTH = 2.0
# Vectors that have grown more than that are believed as long as the error stays below this many times what is aimed at.
_MET = 5.0


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

    @property
    def degree(self) -> Array:
        """The largest of all polynomials."""
        return functools.reduce(jnp.maximum, [2 * sequence.pairs - 1 for sequence in self.sequences])


def run_faber(
    problem: Problem, state: tuple[PyTree[Array], ...], times: Array, rtol: float, max_degree: int, recorded: bool
) -> tuple[PyTree[Array], FaberRun]:
    """The outputs at all times: a tuple with the state, or what is observed; stacked in the order of `times`."""
    ellipse = range_of(problem, times, rtol)
    ring = Ring(ellipse)
    excitations = [Forced(part.signal) if isinstance(part, Driven) else Released(k) for k, part in enumerate(state)]
    series = [expand_on_ellipse(excitation, times, ellipse, rtol, max_degree) for excitation in excitations]
    starts = [profile_of(part) for part in state]
    # Each adds to the sums of the one before.
    outputs, runs = one_by_one(
        functools.partial(_run, problem, ring, rtol, recorded),
        Keep(problem, series[0].coefficients).nothing(starts[0]),
        starts,
        jtu.tree_map(lambda *leaves: jnp.stack(leaves), *series),
    )
    pairs, checkpoints, errors, results = (list(column) for column in zip(*runs, strict=True))
    sequences = [FaberSequence(*parts) for parts in zip(series, pairs, checkpoints, strict=True)]
    sizes = [norm(start, problem.weight).astype(times.dtype) for start in starts]
    expected = [size * sequence.series.scales for size, sequence in zip(sizes, sequences, strict=True)]
    scales = jnp.maximum(functools.reduce(jnp.add, expected), sizes[0])
    if problem.observation is None:
        reached = jax.vmap(lambda output: norm(output, problem.weight))(outputs[0])
        scales = jnp.maximum(scales, reached.astype(times.dtype))
    error = functools.reduce(jnp.add, errors)
    error = jnp.max(jnp.where(error > 0, error / jnp.where(scales > 0, scales, 1.0), 0.0))
    for part in driven_of(state):
        error = jnp.maximum(error, part.signal.error)
    applications = functools.reduce(jnp.add, [2 * sequence.pairs - 1 for sequence in sequences])
    return outputs, FaberRun(tuple(sequences), ring, applications, error, first_failure(results))


def range_of(problem: Problem, times: Array, rtol: float) -> Ellipse:
    """The ellipse around the operator's spectrum or numerical range, in the precision of the times."""
    known = numerical_range(like_of(problem.operator))
    assert known is not None
    if isinstance(known, Rectangle):
        # Growth costs digits: as many as there are between the tolerance and the rounding of the series.
        growth = max(math.log(rtol / (NOISE * float(jnp.finfo(times.dtype).eps))), _LEAST_GROWTH)
        known = known.ellipse(jnp.max(jnp.abs(times)).astype(known.height.dtype), growth)
    return jtu.tree_map(lambda number: number.astype(times.dtype), known)


def _run(
    problem: Problem,
    ring: Ring,
    rtol: float,
    recorded: bool,
    totals: Any,
    item: tuple[PyTree[Array], FaberSeries],
) -> tuple[Any, tuple[Array, Pair | None, Array, RESULTS]]:
    """The sums with those of one start, pairs and checkpoints of its recurrence, its error at all times, the result."""
    start, series = item
    size = norm(start, problem.weight)
    # A start of zero needs no steps (its series may still be needed, for the adjoint).
    pairs = batch_max(jnp.where(size == 0, 1, series.pairs))
    keep = Keep(problem, series.coefficients)
    pair = scale(2.0, start), ring.mapped(problem.operator.mv(start), start)
    carry = pair, _keep_pair(keep, keep.start(start, totals), 0, pair)

    def body(index, carry):
        pair, kept = carry
        pair = ring.pair_after(problem.operator, pair)
        return pair, _keep_pair(keep, kept, index, pair)

    checkpoints = None
    if recorded:
        layout = Layout(series.coefficients.shape[-1])
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
    error, result = _judged(problem, series, size, norm(last, problem.weight), rtol)
    return keep.finish(kept, 2 * pairs - 1), (pairs, checkpoints, error, result)


def _keep_pair(keep: Keep, kept: Any, index, pair: Pair) -> Any:
    """With the terms `2 index` and `2 index + 1`."""
    return keep(keep(kept, 2 * index, pair[0]), 2 * index + 1, pair[1])


def _judged(problem: Problem, series: FaberSeries, size: Array, grown: Array, rtol: float) -> tuple[Array, RESULTS]:
    """The error at all times, with how far the last vector has grown, and whether to believe the sums."""
    growth = (grown / jnp.where(size > 0, 2.0 * size, 1.0)).astype(series.error.dtype)
    # The pairs of a tangent may grow like k, in units that are not theirs.
    pair_of_tangent = like_of(problem.operator) is not problem.operator
    growth = jnp.ones_like(growth) if pair_of_tangent else jnp.maximum(growth, 1.0)
    error = size.astype(growth.dtype) * growth * series.error
    # Of an operator that is far from normal (a layer that absorbs, with auxiliary fields) the ellipse may hold the
    # spectrum and not the numerical range: vectors grow for a while. That does no harm as long as the account of
    # errors, which counts how they have grown, meets the tolerance.
    met = jnp.all(growth * series.error <= _MET * rtol * series.scales)
    within = grown <= _MOST_GROWTH * jnp.sqrt(series.terms.astype(size.dtype)) * size
    good = jnp.isfinite(grown) & (within | met | pair_of_tangent)
    result = RESULTS.where(series.resolved, RESULTS.successful, RESULTS.max_degree_reached)
    result = RESULTS.where(good, result, RESULTS.bound_violated)
    result = RESULTS.where(jnp.isfinite(size), result, RESULTS.nonfinite)
    result = RESULTS.where(size == 0, RESULTS.successful, result)
    return error, result
