"""What the engines of both polynomial recurrences have in common: reports, sources that vary in time, judgement."""

import functools
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, PyTree

from .._solution import RESULTS
from ..action import Driven, FaberRun, Polynomials
from ._base import Report
from ._engine import Direction

# The expansions aim at the tolerance divided by this, which takes a degree or two: for values, too, so that a gradient
# uses the polynomial of its value.
MARGIN = 5.0
# A gradient is missed where the estimate, rounding included, exceeds this many times the tolerance.
_MISSED = 10.0


def reported(outputs: PyTree[Array], final: Polynomials | FaberRun, times: Array) -> tuple[PyTree[Array], Report]:
    """Outputs, NaN after a failure, and the report of a forward pass."""
    failed = final.result != RESULTS.successful
    report = Report(
        applications=final.applications,
        dimension=final.degree,
        steps=jnp.ones((), jnp.int32),
        error=final.error,
        time=times[jnp.argmax(jnp.abs(times))],
        result=final.result,
    )
    return jtu.tree_map(lambda leaf: jnp.where(failed, jnp.nan, leaf), outputs), report


def pulled_start(
    start: PyTree, profile: PyTree[Array], moments: Array | None, pull: Callable[[Driven, Array], Array]
) -> PyTree[Array]:
    """The cotangent of a field, or of a driven source: of its profile, and of its signal from the moments."""
    if not isinstance(start, Driven):
        return profile
    signal = jtu.tree_map(jnp.zeros_like, start.signal)
    if moments is not None:
        signal = eqx.tree_at(lambda s: s.coefficients, signal, pull(start, moments))
    return Driven(profile, signal)


def judged(direction: Direction, error: Array, rtol: float, forward: RESULTS) -> RESULTS:
    """The result of a backward pass: that of the forward one, unless the tolerance is missed or a number not finite."""
    result = RESULTS.where(error <= _MISSED * rtol, forward, RESULTS.tolerance_not_reached)
    result = RESULTS.where(forward == RESULTS.successful, result, forward)
    finite = functools.reduce(
        jnp.logical_and, [jnp.all(jnp.isfinite(leaf)) for leaf in jtu.tree_leaves(direction)], jnp.array(True)
    )
    return RESULTS.where(finite, result, RESULTS.nonfinite)
