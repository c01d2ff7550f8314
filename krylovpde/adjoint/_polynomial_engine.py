"""Forward and backward by Chebyshev's recurrence, run both ways."""

import functools

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, PyTree

from .._solution import RESULTS
from ..action import (
    Chebyshev,
    Driven,
    Polynomials,
    Problem,
    Settings,
    components_of,
    profile_of,
    pull_signal,
    run_recurrences,
)
from ..krylov._space import norm, scale, subtract
from ._base import Report
from ._clenshaw import Pulled, no_sums, pairs_back, pull_sequence
from ._engine import AbstractEngine, Direction, PullReport, Wanted

# The expansions aim at the tolerance divided by this, which takes a degree or two: for values, too, so that a gradient
# uses the polynomial of its value.
_MARGIN = 5.0
# A gradient is missed where the estimate, rounding included, exceeds this many times the tolerance.
_MISSED = 10.0


class PolynomialEngine(AbstractEngine):
    """One recurrence for each start, and its adjoint."""

    def forward(
        self, settings: Settings, problem: Problem, state: tuple[PyTree[Array], ...], times: Array, recorded: bool
    ) -> tuple[PyTree[Array], Report, Polynomials | None]:
        final = _recurrences(settings, problem, state, times)
        failed = final.result != RESULTS.successful
        outputs = jtu.tree_map(lambda leaf: jnp.where(failed, jnp.nan, leaf), final.outputs)
        report = Report(
            applications=final.applications,
            dimension=_degree(final),
            steps=jnp.ones((), jnp.int32),
            error=final.error,
            time=times[jnp.argmax(jnp.abs(times))],
            result=final.result,
        )
        return outputs, report, final if recorded else None

    def reached(self, times: Array, record: Polynomials) -> Bool[Array, " n"]:
        return jnp.broadcast_to(record.result == RESULTS.successful, times.shape)

    def backward(
        self,
        settings: Settings,
        problem: Problem,
        state: tuple[PyTree[Array], ...],
        times: Array,
        cotangents: PyTree[Array],
        record: Polynomials,
        wanted: Wanted,
    ) -> tuple[Direction, PullReport]:
        parts, sums = [], no_sums(problem)
        for sequence, start in zip(record.sequences, state, strict=True):
            weighed = wanted.signals and isinstance(start, Driven)
            part = pull_sequence(problem, record.spectrum, sequence, cotangents, wanted, weighed, sums)
            # One after the other: side by side, all would hold their vectors at the same time.
            sums = part.operator, part.observation
            parts.append(part)
        pairs = list(zip(parts, state, strict=True))
        direction = Direction(
            scale(2.0 / record.spectrum.width, sums[0]),
            sums[1],
            tuple(_pulled_start(settings, problem, record, part, start, times) for part, start in pairs),
        )
        drift = [_drift(problem, part.regenerated, profile_of(start)) for part, start in pairs]
        error = record.error + functools.reduce(jnp.maximum, drift).astype(record.error.dtype)
        result = RESULTS.where(error <= _MISSED * settings.rtol, record.result, RESULTS.tolerance_not_reached)
        result = RESULTS.where(record.result == RESULTS.successful, result, record.result)
        finite = functools.reduce(
            jnp.logical_and, [jnp.all(jnp.isfinite(leaf)) for leaf in jtu.tree_leaves(direction)], jnp.array(True)
        )
        result = RESULTS.where(finite, result, RESULTS.nonfinite)
        steps = functools.reduce(jnp.add, [2 * pairs_back(sequence, wanted) + 1 for sequence in record.sequences])
        again = steps - len(record.sequences)  # the start itself is known: its image is not needed
        report = PullReport(
            applications=again,
            transpose_applications=steps,
            parameter_vjps=steps if wanted.parameters else jnp.zeros_like(steps),
            dimension=_degree(record),
            steps=jnp.ones((), jnp.int32),
            error=error,
            result=result,
        )
        return direction, report


def _pulled_start(
    settings: Settings, problem: Problem, record: Polynomials, part: Pulled, start: PyTree, times: Array
) -> PyTree[Array]:
    """The cotangent of a field, or of a driven source's profile and signal."""
    if not isinstance(start, Driven):
        return part.start
    signal = jtu.tree_map(jnp.zeros_like, start.signal)
    if part.moments is not None:
        pulled = pull_signal(
            problem.order,
            components_of(problem),
            start.signal,
            times,
            record.spectrum,
            part.moments,
            settings.rtol / _MARGIN,
            _table_length(settings, problem, times),
        )
        signal = eqx.tree_at(lambda s: s.coefficients, signal, pulled)
    return Driven(part.start, signal)


def _recurrences(settings: Settings, problem: Problem, state: tuple[PyTree[Array], ...], times: Array) -> Polynomials:
    length = _table_length(settings, problem, times)
    return run_recurrences(problem, state, times, settings.rtol / _MARGIN, length)


def _table_length(settings: Settings, problem: Problem, times: Array) -> int:
    assert isinstance(settings.method, Chebyshev)
    return settings.method.length(len(components_of(problem)) * times.size)


def _degree(final: Polynomials) -> Array:
    return functools.reduce(jnp.maximum, [2 * sequence.pairs + 1 for sequence in final.sequences])


def _drift(problem: Problem, regenerated: PyTree[Array], start: PyTree[Array]) -> Array:
    """How far the recurrence, run back, has come from where it started: what rounding did on the way."""
    size = norm(start, problem.weight)
    distance = norm(subtract(regenerated, start), problem.weight)
    return jnp.where(size > 0, distance / jnp.where(size > 0, size, 1.0), 0.0)
