"""Forward and backward by marches with Krylov spaces."""

import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, PyTree

from .._solution import RESULTS
from ..action import March, Problem, Schedule, Settings, march, record_slots
from ._backward import pull_back
from ._base import Report
from ._engine import AbstractEngine, Direction, PullReport, Wanted

# A gradient is missed where the estimate, rounding included, exceeds ten times the tolerance that was asked for, which
# is the margin of five above the one that the marches aimed at.
_MISSED = 50.0


class KrylovEngine(AbstractEngine):
    """Two Krylov spaces for each step: one from the state, one from the adjoint state."""

    def forward(
        self, settings: Settings, problem: Problem, state: tuple[PyTree[Array], ...], times: Array, recorded: bool
    ) -> tuple[PyTree[Array], Report, March | None]:
        schedule = Schedule(times)
        slots = 0
        if recorded:
            capacity = settings.krylov.capacity(problem.operator)
            slots = record_slots(capacity, problem.operator.in_structure(), len(state))
        final = march(settings, problem, state, schedule, slots)
        outputs = jtu.tree_map(lambda leaf: leaf[schedule.inverse], final.outputs)
        counts = final.counters
        report = Report(counts.applications, counts.dimension, counts.steps, counts.error, final.time, final.result)
        return outputs, report, final if recorded else None

    def reached(self, times: Array, record: March) -> Bool[Array, " n"]:
        in_order = jnp.arange(times.size, dtype=jnp.int32) < record.next_output
        return in_order[Schedule(times).inverse]

    def backward(
        self,
        settings: Settings,
        problem: Problem,
        state: tuple[PyTree[Array], ...],
        times: Array,
        cotangents: PyTree[Array],
        record: March,
        wanted: Wanted,
    ) -> tuple[Direction, PullReport]:
        schedule = Schedule(times)
        ordered = jtu.tree_map(lambda leaf: leaf[schedule.order], cotangents)
        pulled = pull_back(settings, problem, state, schedule, record, ordered, wanted.parameters)
        result = RESULTS.where(record.result == RESULTS.successful, pulled.result, record.result)
        error = jnp.maximum(pulled.counters.error, record.counters.error)
        missed = error > _MISSED * settings.rtol
        result = RESULTS.where((result == RESULTS.successful) & missed, RESULTS.tolerance_not_reached, result)
        report = PullReport(
            applications=pulled.rebuilt,
            transpose_applications=pulled.counters.applications,
            parameter_vjps=pulled.parameter_vjps,
            dimension=jnp.maximum(pulled.counters.dimension, record.counters.dimension),
            steps=pulled.counters.steps,
            error=error,
            result=result,
        )
        return Direction(pulled.operator, pulled.observation, pulled.start), report
