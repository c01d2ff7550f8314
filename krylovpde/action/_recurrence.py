"""Chebyshev's recurrence: from a start vector to the outputs at all times, in three vectors."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax
from jaxtyping import Array, PyTree

from .._solution import RESULTS, first_failure
from ..krylov._space import add, inner, norm, scale, subtract
from ..operator import cast, is_self_adjoint, is_skew_adjoint
from ._batch import batch_max
from ._driven import Driven, driven_of, profile_of
from ._excitation import Forced, Released
from ._expansion import BLOCK, Expansion, expand
from ._problem import Problem
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
    starts = [profile_of(part) for part in state]
    excitations = tuple(
        Forced(part.signal) if isinstance(part, Driven) else Released(level) for level, part in enumerate(state)
    )
    rayleighs = [_rayleigh(problem, start).astype(times.dtype) for start in starts]
    expansions = expand(problem.order, excitations, components_of(problem), times, spectrum, rayleighs, rtol, length)
    outputs, sequences, results = None, [], []
    for start, expansion in zip(starts, expansions, strict=True):
        # Each adds to the sums of the one before: side by side, all would hold their vectors at the same time.
        outputs, sequence, result = _run(problem, spectrum, start, expansion, outputs)
        sequences.append(sequence)
        results.append(result)
    result = first_failure(results)
    applications = functools.reduce(jnp.add, [2 * sequence.pairs + 1 for sequence in sequences])
    error = _relative_error(problem, state, sequences, outputs)
    for part in driven_of(state):
        error = jnp.maximum(error, part.signal.error)
    return Polynomials(outputs, tuple(sequences), spectrum, applications, error, result)


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


def _run(problem: Problem, spectrum: Spectrum, start: PyTree[Array], expansion: Expansion, totals: Any):
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
    return keep.finish(kept, 2 * pairs + 1), Sequence(last, before, expansion, pairs), result


def _relative_error(problem: Problem, state, sequences: list[Sequence], outputs: PyTree[Array]) -> Array:
    """The largest error of any component at any time, relative to `max(‖result‖, ‖input‖)`.

    What is expected of the result stands in where it is not known, or where both are zero.
    """
    sizes = [norm(profile_of(start), problem.weight) for start in state]
    pairs = list(zip(sizes, sequences, strict=True))
    error = functools.reduce(jnp.add, [size * sequence.expansion.error for size, sequence in pairs])
    scale = functools.reduce(jnp.add, [size * sequence.expansion.scales for size, sequence in pairs])
    scale = jnp.maximum(scale, jnp.stack([sizes[component] for component in components_of(problem)])[:, None])
    if problem.observation is None:
        reached = [jax.vmap(lambda state: norm(state, problem.weight))(component) for component in outputs]
        scale = jnp.maximum(scale, jnp.stack(reached))
    return jnp.max(jnp.where(error > 0, error / jnp.where(scale > 0, scale, 1.0), 0.0))


def advance(operator, spectrum: Spectrum, older: PyTree[Array], newer: PyTree[Array]) -> PyTree[Array]:
    """`T_(k+1) = 2 Z T_k - sign T_(k-1)`."""
    doubled = spectrum.shifted(operator.mv(newer), newer, 2.0)
    return subtract(doubled, older) if spectrum.sign == 1 else add(doubled, older)


class Keep(eqx.Module):
    """The sums `Σ_k c_k(t_i) T_k v` of all components and times; of what is observed of `T_k v` where that is asked.

    With many times the terms are collected, and added in blocks: one product of matrices in the place of many passes
    over all sums.
    """

    problem: Problem
    coefficients: Array

    @property
    def blocked(self) -> bool:
        """Whether terms are collected."""
        return in_blocks(self.coefficients)

    def start(self, vector: PyTree[Array], totals: Any) -> Any:
        """The sums so far (None: nothing), one for each component or for what is observed, and no terms collected."""
        components, count, _ = self.coefficients.shape
        like = jax.eval_shape(self._seen, vector)
        if totals is None:
            totals = (_rows_of(count, like),) * components
        elif self.problem.observation is not None:
            totals = (totals,)
        return totals, _rows_of(BLOCK, like) if self.blocked else None

    def __call__(self, kept: Any, k, vector: PyTree[Array]) -> Any:
        """With the term k, which comes after the term k - 1."""
        totals, collected = kept
        seen = self._seen(vector)
        if not self.blocked:
            row = lax.dynamic_index_in_dim(self.coefficients, k, 2, keepdims=False)
            return tuple(_accumulate(part, row[j], seen) for j, part in enumerate(totals)), None
        place = k % BLOCK
        collected = jtu.tree_map(
            lambda rows, leaf: lax.dynamic_update_index_in_dim(rows, leaf, place, 0), collected, seen
        )
        totals = lax.cond(
            place == BLOCK - 1,
            lambda *rest: self._flush(*rest),
            lambda totals, *_: totals,
            totals,
            collected,
            k + 1 - BLOCK,
        )
        return totals, collected

    def finish(self, kept: Any, last) -> Any:
        """The sums after the term `last`."""
        totals, collected = kept
        if self.blocked:
            # What is left of an older block beyond the last term meets coefficients of zero.
            begin = last - last % BLOCK
            whole = last % BLOCK == BLOCK - 1
            totals = lax.cond(
                whole, lambda totals, *_: totals, lambda *rest: self._flush(*rest), totals, collected, begin
            )
        return totals if self.problem.observation is None else totals[0]

    def _flush(self, totals: Any, collected: Any, begin) -> Any:
        block = lax.dynamic_slice_in_dim(self.coefficients, begin, BLOCK, axis=2)
        return tuple(
            jtu.tree_map(lambda total, rows, c=block[j]: total + product(c, rows), part, collected)
            for j, part in enumerate(totals)
        )

    def _seen(self, vector: PyTree[Array]) -> PyTree[Array]:
        observation = self.problem.observation
        return vector if observation is None else observation.operator.mv(vector)


def in_blocks(coefficients: Array) -> bool:
    """Whether there are so many output times that terms are worth collecting."""
    return coefficients.shape[1] >= BLOCK


def _rows_of(count: int, like: PyTree) -> PyTree[Array]:
    return jtu.tree_map(lambda leaf: jnp.zeros((count, *leaf.shape), leaf.dtype), like)


def product(coefficients: Array, rows: Array) -> Array:
    """`Σ_k c_ik r_k` in the precision of the rows; real numbers c stay real."""
    c = cast(coefficients, rows.real.dtype)
    if jnp.iscomplexobj(rows) and not jnp.iscomplexobj(c):
        return lax.complex(product(c, rows.real), product(c, rows.imag))
    return jnp.tensordot(c, rows, axes=1)


def _accumulate(totals: PyTree[Array], coefficients: Array, vector: PyTree[Array]) -> PyTree[Array]:
    return jtu.tree_map(lambda total, leaf: total + scale(along(coefficients, leaf), leaf[None]), totals, vector)


def along(coefficients: Array, leaf: Array) -> Array:
    """Numbers on a leading axis before the axes of a leaf, in its precision."""
    return cast(coefficients.reshape((-1,) + (1,) * leaf.ndim), leaf.real.dtype)
