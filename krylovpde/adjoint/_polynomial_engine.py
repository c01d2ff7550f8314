"""Forward and backward by Chebyshev's recurrence, run both ways."""

import functools

import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from .._solution import RESULTS
from ..action import (
    Chebyshev,
    Driven,
    Polynomials,
    Problem,
    Settings,
    components_of,
    one_by_one,
    profile_of,
    pull_signal,
    run_recurrences,
)
from ..krylov._space import norm, scale, subtract
from ._base import Report
from ._clenshaw import pull_sequence
from ._engine import AbstractEngine, Direction, PullReport, Wanted
from ._recurrences import MARGIN, judged, pulled_start, reported
from ._seeds import Weighed, no_sums


class PolynomialEngine(AbstractEngine):
    """One recurrence for each start, and its adjoint."""

    def forward(
        self, settings: Settings, problem: Problem, state: tuple[PyTree[Array], ...], times: Array, recorded: bool
    ) -> tuple[PyTree[Array], Report, Polynomials | None]:
        length = _table_length(settings, problem, times)
        final = run_recurrences(problem, state, times, settings.rtol / MARGIN, length, recorded)
        outputs, report = reported(final.outputs, final, times)
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
        weighed = [Weighed(wanted.signals and isinstance(start, Driven)) for start in state]
        ends = [end for end in record.ends if end is not None]
        assert len(ends) == len(state), "the forward recurrences must be recorded"
        # A start of zero has no share in the parameters' cotangent, only one of its own.
        steps = record.expansions.pairs if wanted.state else record.pairs
        sums, parts = one_by_one(
            functools.partial(pull_sequence, problem, record.spectrum, cotangents, wanted),
            no_sums(problem),
            list(zip(ends, list(steps), weighed, strict=True)),
            record.expansions,
        )
        pairs = list(zip(parts, state, strict=True))

        def pull(source: Driven, moments: Array) -> Array:
            components, length = components_of(problem), _table_length(settings, problem, times)
            rtol = settings.rtol / MARGIN
            return pull_signal(problem.order, components, source.signal, times, record.spectrum, moments, rtol, length)

        direction = Direction(
            scale(2.0 / record.spectrum.width, sums[0]),
            sums[1],
            tuple(pulled_start(start, part.start, part.moments, pull) for part, start in pairs),
        )
        drift = [_drift(problem, part.regenerated, profile_of(start)) for part, start in pairs]
        error = record.error + functools.reduce(jnp.maximum, drift).astype(record.error.dtype)
        steps = jnp.sum(2 * steps + 1, dtype=jnp.int32)
        again = steps - len(state)  # the start itself is known: its image is not needed
        report = PullReport(
            applications=again,
            transpose_applications=steps,
            parameter_vjps=steps if wanted.parameters else jnp.zeros_like(steps),
            dimension=record.degree,
            steps=jnp.ones((), jnp.int32),
            error=error,
            result=judged(direction, error, settings.rtol, record.result),
        )
        return direction, report


def _table_length(settings: Settings, problem: Problem, times: Array) -> int:
    assert isinstance(settings.method, Chebyshev)
    return settings.method.length(len(components_of(problem)) * times.size)


def _drift(problem: Problem, regenerated: PyTree[Array], start: PyTree[Array]) -> Array:
    """How far the recurrence, run back, has come from where it started: what rounding did on the way."""
    size = norm(start, problem.weight)
    distance = norm(subtract(regenerated, start), problem.weight)
    return jnp.where(size > 0, distance / jnp.where(size > 0, size, 1.0), 0.0)
