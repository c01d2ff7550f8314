"""Chebyshev's recurrence: from a start vector to the outputs at all times, in three vectors."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax
from jaxtyping import Array, PyTree

from .._solution import RESULTS
from ..krylov._space import add, inner, norm, scale, subtract
from ..operator import is_self_adjoint, is_skew_adjoint
from ._batch import batch_max
from ._expansion import Expansion, expand
from ._march import Problem
from ._spectrum import Spectrum, spectrum_of

# |T_k| <= 1 on the interval, so a vector twice as long as the start tells that the spectrum is not in it.
_MOST_GROWTH = 2.0


class Sequence(eqx.Module):
    """What is left of a recurrence: enough to run it backwards.

    * `last`, `before`: `T_M v` and `T_(M-1) v`, M = terms - 1.   * `pairs`: how often two steps were taken.
    """

    last: PyTree[Array]
    before: PyTree[Array]
    expansion: Expansion
    pairs: Array


class Polynomials(eqx.Module):
    """The result of all recurrences, one for each start."""

    outputs: PyTree[Array]
    sequences: tuple[Sequence, ...]
    spectrum: Spectrum
    applications: Array
    error: Array
    result: RESULTS


def run_recurrences(
    problem: Problem, state: tuple[PyTree[Array], ...], times: Array, rtol: float, length: int
) -> Polynomials:
    """The outputs at all times: a tuple of components, or what is observed; stacked in the order of `times`."""
    spectrum = spectrum_of(problem.operator, times.dtype)
    parts, sequences, results = [], [], []
    for level, start in enumerate(state):
        part, sequence, result = _run(problem, spectrum, level, start, times, rtol, length)
        parts.append(part)
        sequences.append(sequence)
        results.append(result)
    outputs = parts[0]
    for part in parts[1:]:
        outputs = add(outputs, part)
    result = results[0]
    for other in results[1:]:
        result = RESULTS.where(result == RESULTS.successful, other, result)
    applications = functools.reduce(jnp.add, [2 * sequence.pairs + 1 for sequence in sequences])
    error = _relative_error(problem, state, sequences, outputs)
    return Polynomials(outputs, tuple(sequences), spectrum, applications, error, result)


def _run(problem: Problem, spectrum: Spectrum, level: int, start, times: Array, rtol: float, length: int):
    order, weight, operator = problem.order, problem.weight, problem.operator
    size = norm(start, weight)
    image = operator.mv(start)
    square = jnp.where(size > 0, size, 1.0) ** 2
    # The pairs of a tangent may grow as k², and their operator is self-adjoint in nothing.
    bounded = is_self_adjoint(operator) or is_skew_adjoint(operator)
    rayleigh = jnp.real(inner(start, image, weight)) / square if bounded else jnp.zeros_like(square)
    expansion = expand(order, level, times, spectrum, rayleigh.astype(times.dtype), rtol, length)
    # A start of zero needs no steps (its expansion may still be needed, for the adjoint).
    pairs = batch_max(jnp.where(size == 0, 0, expansion.pairs))
    first = spectrum.shifted(image, start)
    keep = _Keep(problem, expansion.coefficients)
    kept = keep(keep(keep.start(start), 0, start), 1, first)

    def body(pair, carry):
        older, newer, kept = carry
        k = 2 * pair + 2
        older = advance(operator, spectrum, older, newer)
        kept = keep(kept, k, older)
        newer = advance(operator, spectrum, newer, older)
        kept = keep(kept, k + 1, newer)
        return older, newer, kept

    before, last, kept = lax.fori_loop(0, pairs, body, (start, first, kept))
    grown = norm(last, weight)
    good = grown <= _MOST_GROWTH * size if bounded else jnp.isfinite(grown)
    result = RESULTS.where(expansion.resolved, RESULTS.successful, RESULTS.max_degree_reached)
    result = RESULTS.where(good, result, RESULTS.bound_violated)
    result = RESULTS.where(jnp.isfinite(size), result, RESULTS.nonfinite)
    result = RESULTS.where(size == 0, RESULTS.successful, result)
    return kept, Sequence(last, before, expansion, pairs), result


def _relative_error(problem: Problem, state, sequences: list[Sequence], outputs: PyTree[Array]) -> Array:
    """The largest error of any component at any time, relative to `max(‖result‖, ‖input‖)`.

    What is expected of the result stands in where it is not known, or where both are zero.
    """
    sizes = [norm(start, problem.weight) for start in state]
    pairs = list(zip(sizes, sequences, strict=True))
    error = functools.reduce(jnp.add, [size * sequence.expansion.error for size, sequence in pairs])
    scale = functools.reduce(jnp.add, [size * sequence.expansion.scales for size, sequence in pairs])
    scale = jnp.maximum(scale, jnp.stack(sizes[: problem.order])[:, None])
    if problem.observation is None:
        reached = [jax.vmap(lambda state: norm(state, problem.weight))(component) for component in outputs]
        scale = jnp.maximum(scale, jnp.stack(reached))
    return jnp.max(jnp.where(error > 0, error / jnp.where(scale > 0, scale, 1.0), 0.0))


def advance(operator, spectrum: Spectrum, older: PyTree[Array], newer: PyTree[Array]) -> PyTree[Array]:
    """`T_(k+1) = 2 Z T_k - sign T_(k-1)`."""
    doubled = spectrum.shifted(operator.mv(newer), newer, 2.0)
    return subtract(doubled, older) if spectrum.sign == 1 else add(doubled, older)


class _Keep(eqx.Module):
    """The sums `Σ_k c_k(t_i) T_k v` of all components and times; of what is observed of `T_k v` where that is asked."""

    problem: Problem
    coefficients: Array

    def start(self, vector: PyTree[Array]) -> Any:
        count = self.coefficients.shape[1]
        like = jax.eval_shape(self._seen, vector)
        zero = jtu.tree_map(lambda leaf: jnp.zeros((count, *leaf.shape), leaf.dtype), like)
        return zero if self.problem.observation is not None else (zero,) * self.problem.order

    def __call__(self, kept: Any, k, vector: PyTree[Array]) -> Any:
        row = lax.dynamic_index_in_dim(self.coefficients, k, 2, keepdims=False)
        seen, observation = self._seen(vector), self.problem.observation
        if observation is not None:
            return _accumulate(kept, row[observation.component], seen)
        return tuple(_accumulate(part, row[j], seen) for j, part in enumerate(kept))

    def _seen(self, vector: PyTree[Array]) -> PyTree[Array]:
        observation = self.problem.observation
        return vector if observation is None else observation.operator.mv(vector)


def _accumulate(totals: PyTree[Array], coefficients: Array, vector: PyTree[Array]) -> PyTree[Array]:
    return jtu.tree_map(lambda total, leaf: total + scale(along(coefficients, leaf), leaf[None]), totals, vector)


def along(coefficients: Array, leaf: Array) -> Array:
    """Real numbers on a leading axis before the axes of a leaf, in its precision."""
    return coefficients.reshape((-1,) + (1,) * leaf.ndim).astype(leaf.real.dtype)
