"""From checked arguments to a `Solution`: the one function that every entrance compiles."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jaxtyping import Array, PyTree

from .._solution import RESULTS, Solution, Statistics, raise_unless_successful
from ..action import AbstractMethod, Observation, Problem, Settings
from ..adjoint import AbstractAdjoint, Report
from ..operator import weight


class Options(eqx.Module):
    """The static options that all entrances share."""

    method: AbstractMethod
    adjoint: AbstractAdjoint
    rtol: float = eqx.field(static=True)
    atol: float = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)
    throw: bool = eqx.field(static=True)

    def settings(self) -> Settings:
        return Settings(self.method, self.rtol, self.atol, self.max_steps)


def run(
    options: Options,
    operator: lx.AbstractLinearOperator,
    order: int,
    observation: Observation | None,
    state: tuple[PyTree[Array], ...],
    times: Array,
) -> tuple[PyTree[Array], RESULTS, Statistics]:
    """Outputs at all times (NaN where a time was not reached), the result, the statistics."""
    problem = Problem(operator, weight(operator), observation, order)
    outputs, report = options.adjoint.evaluate(options.settings(), problem, state, times, options.throw)
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jtu.tree_leaves(outputs)]))
    result = RESULTS.where((report.result == RESULTS.successful) & ~finite, RESULTS.nonfinite, report.result)
    # The march meets the tolerance by truncation; what rounding adds can be more than that in single precision.
    missed = (result == RESULTS.successful) & (report.error > 10.0 * options.rtol) & (options.atol == 0)
    result = RESULTS.where(missed, RESULTS.tolerance_not_reached, result)
    return outputs, result, _statistics(options, report)


def _statistics(options: Options, report: Report) -> Statistics:
    zero = jnp.zeros_like(report.applications)
    return Statistics(
        applications=report.applications,
        transpose_applications=zero,
        parameter_vjps=zero,
        krylov_dimension=report.dimension,
        num_steps=report.steps,
        error_estimate=report.error,
        time=report.time,
        method=options.method.name,
        adjoint=options.adjoint.name,
    )


def finish(value: PyTree, result: RESULTS, stats: Statistics, times: Any, scalar: bool, throw: bool) -> Solution:
    """The `Solution`; a failed result is raised with `throw`."""
    if scalar:
        value, times = jtu.tree_map(lambda leaf: leaf[0], value), times[0]
    if throw:
        value = raise_unless_successful(result, value)
    return Solution(value, result, stats, times)


def max_steps_of(method: AbstractMethod, max_steps: Any) -> int:
    """The bound on the number of sub-steps: as given, or the method's own."""
    return method.max_steps if max_steps is None else checked_max_steps(max_steps)


def checked_max_steps(max_steps: Any) -> int:
    """A positive integer."""
    if not isinstance(max_steps, int) or max_steps < 1:
        message = f"`max_steps` must be a positive integer or None, got {max_steps!r}."
        raise ValueError(message)
    return max_steps
