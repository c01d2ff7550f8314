"""Forward and backward by Chebyshev's recurrence, run both ways."""

import functools

import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, PyTree

from .._solution import RESULTS
from ..action import Chebyshev, Polynomials, Problem, Settings, run_recurrences
from ..krylov._space import add, norm, subtract
from ._base import Report
from ._clenshaw import pairs_back, pull_sequence
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
        del times
        parts = [pull_sequence(problem, record.spectrum, sequence, cotangents, wanted) for sequence in record.sequences]
        direction = Direction(
            functools.reduce(add, [part.operator for part in parts]),
            functools.reduce(add, [part.observation for part in parts]),
            tuple(part.start for part in parts),
        )
        drift = [_drift(problem, part.regenerated, start) for part, start in zip(parts, state, strict=True)]
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


def _recurrences(settings: Settings, problem: Problem, state: tuple[PyTree[Array], ...], times: Array) -> Polynomials:
    assert isinstance(settings.method, Chebyshev)
    return run_recurrences(problem, state, times, settings.rtol / _MARGIN, settings.method.max_degree)


def _degree(final: Polynomials) -> Array:
    return functools.reduce(jnp.maximum, [2 * sequence.pairs + 1 for sequence in final.sequences])


def _drift(problem: Problem, regenerated: PyTree[Array], start: PyTree[Array]) -> Array:
    """How far the recurrence, run back, has come from where it started: what rounding did on the way."""
    size = norm(start, problem.weight)
    distance = norm(subtract(regenerated, start), problem.weight)
    return jnp.where(size > 0, distance / jnp.where(size > 0, size, 1.0), 0.0)
