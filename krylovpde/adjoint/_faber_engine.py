"""Forward by Faber's recurrence, backward by its adjoint with checkpoints."""

import functools

import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from .._solution import RESULTS
from ..action import (
    Driven,
    Faber,
    FaberRun,
    Problem,
    Settings,
    driven_of,
    one_by_one,
    profile_of,
    pull_signal_on_ellipse,
    range_of,
    run_faber,
)
from ..krylov._space import scale
from ._base import Report
from ._engine import AbstractEngine, Direction, PullReport, Wanted
from ._faber_pull import pairs_back, pull_faber
from ._recurrences import MARGIN, judged, pulled_start, reported
from ._seeds import Weighed, has_parameters, no_sums


class FaberEngine(AbstractEngine):
    """One recurrence for each start, and its adjoint."""

    def forward(
        self, settings: Settings, problem: Problem, state: tuple[PyTree[Array], ...], times: Array, recorded: bool
    ) -> tuple[PyTree[Array], Report, FaberRun | None]:
        stored = recorded and (has_parameters(problem) or bool(driven_of(state)))
        outputs, final = run_faber(problem, state, times, settings.rtol / MARGIN, _max_degree(settings), stored)
        outputs, report = reported(outputs, final, times)
        return outputs, report, final if recorded else None

    def reached(self, times: Array, record: FaberRun) -> Bool[Array, " n"]:
        return jnp.broadcast_to(record.result == RESULTS.successful, times.shape)

    def backward(
        self,
        settings: Settings,
        problem: Problem,
        state: tuple[PyTree[Array], ...],
        times: Array,
        cotangents: PyTree[Array],
        record: FaberRun,
        wanted: Wanted,
    ) -> tuple[Direction, PullReport]:
        weighed = [Weighed(wanted.signals and isinstance(start, Driven)) for start in state]
        sums, parts = one_by_one(
            functools.partial(pull_faber, problem, record.ring, cotangents, wanted),
            no_sums(problem),
            list(zip(record.sequences, map(profile_of, state), weighed, strict=True)),
            (),
        )

        def pull(source: Driven, moments: Array) -> Array:
            rtol = settings.rtol / MARGIN
            ellipse = range_of(problem, times, rtol)
            return pull_signal_on_ellipse(source.signal, times, ellipse, moments, rtol, _max_degree(settings))

        direction = Direction(
            scale(1.0 / record.ring.outer, sums[0]),
            sums[1],
            tuple(
                pulled_start(start, part.start, part.moments, pull) for part, start in zip(parts, state, strict=True)
            ),
        )
        steps = functools.reduce(jnp.add, [2 * pairs_back(sequence, wanted) for sequence in record.sequences])
        parameters = wanted.parameters and has_parameters(problem)
        report = PullReport(
            applications=functools.reduce(jnp.add, [2 * part.remade for part in parts]),
            transpose_applications=steps,
            parameter_vjps=steps if parameters else jnp.zeros_like(steps),
            dimension=record.degree,
            steps=jnp.ones((), jnp.int32),
            error=record.error,
            result=judged(direction, record.error, settings.rtol, record.result),
        )
        return direction, report


def _max_degree(settings: Settings) -> int:
    assert isinstance(settings.method, Faber)
    return settings.method.max_degree
