"""Chebyshev's recurrence: from a start vector to the outputs at all times, in three vectors."""

import functools
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int, PyTree

from .._solution import RESULTS, first_failure
from ..krylov._space import add, inner, norm, subtract
from ..operator import is_self_adjoint, is_skew_adjoint
from ._batch import batch_max
from ._driven import Driven, driven_of, profile_of
from ._excitation import Forced, Released
from ._expansion import Expansion, expand
from ._keep import Keep
from ._one_by_one import one_by_one
from ._problem import Problem
from ._spectrum import Spectrum, spectrum_of

# |T_k| <= 1 on the interval, so a vector twice as long as the start tells that the spectrum is not in it.
_MOST_GROWTH = 2.0


Ends: TypeAlias = tuple[PyTree[Array], PyTree[Array]]


class Polynomials(eqx.Module):
    """The result of all recurrences, one for each start.

    * `ends`: `T_M v` and `T_(M-1) v` of each, M = terms - 1, from where it can be run backwards; None if not recorded.
    * `pairs`: how often each took two steps.
    """

    outputs: PyTree[Array]
    ends: list[Ends | None]
    pairs: Int[Array, " starts"]
    expansions: Expansion
    spectrum: Spectrum
    applications: Array
    error: Array
    result: RESULTS

    @property
    def degree(self) -> Array:
        """The largest of all polynomials."""
        return jnp.max(2 * self.pairs + 1)


def run_recurrences(
    problem: Problem, state: tuple[PyTree[Array], ...], times: Array, rtol: float, length: int, recorded: bool
) -> Polynomials:
    """The outputs at all times: a tuple of components, or what is observed; stacked in the order of `times`.

    `recorded`: with the last vectors of the recurrences.
    """
    spectrum = spectrum_of(problem.operator, times.dtype)
    starts = [profile_of(part) for part in state]
    excitations = tuple(
        Forced(part.signal) if isinstance(part, Driven) else Released(level) for level, part in enumerate(state)
    )
    rayleighs = [_rayleigh(problem, start).astype(times.dtype) for start in starts]
    expansions = expand(problem.order, excitations, components_of(problem), times, spectrum, rayleighs, rtol, length)
    # Each adds to the sums of the one before.
    nothing = Keep(problem, expansions.coefficients[0]).nothing(starts[0])
    run = functools.partial(_run, problem, spectrum, recorded)
    outputs, runs = one_by_one(run, nothing, starts, expansions)
    ends, pairs, results = (list(column) for column in zip(*runs, strict=True))
    error = _relative_error(problem, starts, expansions, outputs)
    for part in driven_of(state):
        error = jnp.maximum(error, part.signal.error)
    pairs = jnp.stack(pairs)
    applications = jnp.sum(2 * pairs + 1, dtype=jnp.int32)
    return Polynomials(outputs, ends, pairs, expansions, spectrum, applications, error, first_failure(results))


def components_of(problem: Problem) -> tuple[int, ...]:
    """The components of the state that anybody looks at."""
    observation = problem.observation
    return tuple(range(problem.order)) if observation is None else (observation.component,)


def _rayleigh(problem: Problem, start: PyTree[Array]) -> Array:
    """`<s, A s> / <s, s>`; zero where it says nothing."""
    if not _is_bounded(problem):
        return jnp.zeros_like(norm(start))
    size = norm(start, problem.weight)
    square = jnp.where(size > 0, size, 1.0) ** 2
    return jnp.real(inner(start, problem.operator.mv(start), problem.weight)) / square


def _is_bounded(problem: Problem) -> bool:
    """The pairs of a tangent may grow as k², and their operator is self-adjoint in nothing."""
    return is_self_adjoint(problem.operator) or is_skew_adjoint(problem.operator)


def _run(
    problem: Problem, spectrum: Spectrum, recorded: bool, totals: Any, item: tuple[PyTree[Array], Expansion]
) -> tuple[Any, tuple[Ends | None, Array, RESULTS]]:
    """The sums with those of one start, the last two vectors of its recurrence, pairs of steps, and the result."""
    start, expansion = item
    operator, size = problem.operator, norm(start, problem.weight)
    # A start of zero needs no steps (its expansion may still be needed, for the adjoint).
    pairs = batch_max(jnp.where(size == 0, 0, expansion.pairs))
    first = spectrum.shifted(operator.mv(start), start)
    keep = Keep(problem, expansion.coefficients)
    kept = keep(keep(keep.start(start, totals), 0, start), 1, first)

    def body(pair, carry):
        older, newer, kept = carry
        k = 2 * pair + 2
        older = advance(operator, spectrum, older, newer)
        kept = keep(kept, k, older)
        newer = advance(operator, spectrum, newer, older)
        kept = keep(kept, k + 1, newer)
        return older, newer, kept

    before, last, kept = lax.fori_loop(0, pairs, body, (start, first, kept))
    grown = norm(last, problem.weight)
    good = grown <= _MOST_GROWTH * size if _is_bounded(problem) else jnp.isfinite(grown)
    result = RESULTS.where(expansion.resolved, RESULTS.successful, RESULTS.max_degree_reached)
    result = RESULTS.where(good, result, RESULTS.bound_violated)
    result = RESULTS.where(jnp.isfinite(size), result, RESULTS.nonfinite)
    result = RESULTS.where(size == 0, RESULTS.successful, result)
    return keep.finish(kept, 2 * pairs + 1), ((last, before) if recorded else None, pairs, result)


def _relative_error(problem: Problem, starts: list, expansions: Expansion, outputs: PyTree[Array]) -> Array:
    """The largest error of any component at any time, relative to `max(‖result‖, ‖input‖)`.

    What is expected of the result stands in where it is not known, or where both are zero.
    """
    sizes = jnp.stack([norm(start, problem.weight) for start in starts])
    error = jnp.einsum("s,sct->ct", sizes, expansions.error)
    scale = jnp.einsum("s,sct->ct", sizes, expansions.scales)
    scale = jnp.maximum(scale, sizes[np.array(components_of(problem))][:, None])
    if problem.observation is None:
        reached = [jax.vmap(lambda state: norm(state, problem.weight))(component) for component in outputs]
        scale = jnp.maximum(scale, jnp.stack(reached))
    return jnp.max(jnp.where(error > 0, error / jnp.where(scale > 0, scale, 1.0), 0.0))


def advance(operator, spectrum: Spectrum, older: PyTree[Array], newer: PyTree[Array]) -> PyTree[Array]:
    """`T_(k+1) = 2 Z T_k - sign T_(k-1)`."""
    doubled = spectrum.shifted(operator.mv(newer), newer, 2.0)
    return subtract(doubled, older) if spectrum.sign == 1 else add(doubled, older)
