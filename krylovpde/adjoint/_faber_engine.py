"""Forward by Faber's recurrence, backward by its adjoint with checkpoints."""

import functools

import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, PyTree

from .._solution import RESULTS
from ..action import Faber, FaberRun, Problem, Settings, run_faber
from ..krylov._space import add
from ._base import Report
from ._engine import AbstractEngine, Direction, PullReport, Wanted
from ._faber_pull import has_parameters, pairs_back, pull_faber

# The series aim at the tolerance divided by this, which takes a few terms: for values, too, so that a gradient uses the
# polynomial of its value.
_MARGIN = 5.0
# A gradient is missed where the estimate, rounding included, exceeds this many times the tolerance.
_MISSED = 10.0


class FaberEngine(AbstractEngine):
    """One recurrence for each start, and its adjoint."""

    def forward(
        self, settings: Settings, problem: Problem, state: tuple[PyTree[Array], ...], times: Array, recorded: bool
    ) -> tuple[PyTree[Array], Report, FaberRun | None]:
        stored = recorded and has_parameters(problem)
        outputs, final = run_faber(problem, state, times, settings.rtol / _MARGIN, _max_degree(settings), stored)
        failed = final.result != RESULTS.successful
        outputs = jtu.tree_map(lambda leaf: jnp.where(failed, jnp.nan, leaf), outputs)
        report = Report(
            applications=final.applications,
            dimension=_degree(final),
            steps=jnp.ones((), jnp.int32),
            error=final.error,
            time=times[jnp.argmax(jnp.abs(times))],
            result=final.result,
        )
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
        del times
        # A tuple with the states, unless something is observed.
        kept = cotangents if problem.observation is not None else cotangents[0]
        length = _max_degree(settings)
        parts = [
            pull_faber(problem, record.ring, sequence, start, kept, wanted, length)
            for sequence, start in zip(record.sequences, state, strict=True)
        ]
        direction = Direction(
            functools.reduce(add, [part.operator for part in parts]),
            functools.reduce(add, [part.observation for part in parts]),
            tuple(part.start for part in parts),
        )
        result = RESULTS.where(record.error <= _MISSED * settings.rtol, record.result, RESULTS.tolerance_not_reached)
        result = RESULTS.where(record.result == RESULTS.successful, result, record.result)
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jtu.tree_leaves(direction)]))
        result = RESULTS.where(finite, result, RESULTS.nonfinite)
        steps = functools.reduce(jnp.add, [2 * pairs_back(sequence, wanted) for sequence in record.sequences])
        parameters = wanted.parameters and has_parameters(problem)
        report = PullReport(
            applications=functools.reduce(jnp.add, [2 * part.remade for part in parts]),
            transpose_applications=steps,
            parameter_vjps=steps if parameters else jnp.zeros_like(steps),
            dimension=_degree(record),
            steps=jnp.ones((), jnp.int32),
            error=record.error,
            result=result,
        )
        return direction, report


def _max_degree(settings: Settings) -> int:
    assert isinstance(settings.method, Faber)
    return settings.method.max_degree


def _degree(final: FaberRun) -> Array:
    return functools.reduce(jnp.maximum, [2 * sequence.pairs - 1 for sequence in final.sequences])
