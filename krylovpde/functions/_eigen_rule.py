r"""A few extreme eigenpairs by Lanczos, and their derivatives: nothing looks into an iteration.

For `A v = λ v` with `‖v‖ = 1` in the weight, `λ` simple:

    dλ = <v, dA v>                                                    (Hellmann, Feynman)
    dv = -(A - λ)⁺ dA v,  from  [A - λ, v; v*, 0] [dv; dλ'] = [-dA v; 0]      (the bordered system)

The cotangent of `v` needs one solve, `p = (A - λ)⁺ g`. In the span of the pairs that are known it is a sum; on their
complement `A - λ` is definite, because the pairs are the lowest (or highest) ones.
"""

import functools as ft
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax
from jaxtyping import Array, Bool, Float, PyTree

from .._custom_types import Weight
from .._solution import RESULTS, first_failure
from ..action._grow import checkpoints, grow
from ..action._reduction import Reduction, lift
from ..action._self_dual import self_dual
from ..krylov._arnoldi import ArnoldiState, arnoldi_start, arnoldi_step
from ..krylov._operand import apply, matching_weight
from ..krylov._space import add, combine, conjugate, norm, project, scale, weighted
from ._complement import ComplementOperator, complement
from ._ritz import Ritz, SpaceSettings, diagonalise, evaluate, guarded_space, judged, rounding_unit
from ._scalar import Inverse
from ._two_sided import checked

_CHECK_RATIO = 1.3
# So close to an eigenvalue, relative to its distance from the others, a Ritz value says which one it is.
_DISTINCT = 0.1
_ROUNDING = 100.0


class EigenSettings(eqx.Module):
    """What is static: `sign` is 1 for the lowest pairs, -1 for the highest."""

    count: int = eqx.field(static=True)
    sign: int = eqx.field(static=True)
    capacity: int = eqx.field(static=True)
    rtol: float = eqx.field(static=True)
    throw: bool = eqx.field(static=True)


class EigenReport(eqx.Module):
    """How it went: applications, dimension, the error of the worst vector, result."""

    applications: Array
    dimension: Array
    error: Array
    result: RESULTS


@ft.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def extreme_pairs(
    settings: EigenSettings, rest: PyTree, parameters: PyTree, arrays: PyTree, starts: PyTree[Array]
) -> tuple[Float[Array, " count"], PyTree[Array], EigenReport]:
    """Values, vectors (stacked), report. `starts`: two random vectors, stacked, one to find and one to check with."""
    operator = eqx.combine(parameters, arrays, rest)
    start, other = (jtu.tree_map(lambda leaf, k=k: leaf[k], starts) for k in range(2))
    weight = matching_weight(operator, start)
    space = _space(settings, settings.capacity, operator, weight, start, ft.partial(_found, settings))
    values, vectors = space.small.values[: settings.count], space.small.vectors[:, : settings.count].T
    # The start has a positive part of each: the sign of a vector does not flip when the operator changes a little.
    vectors = vectors * jnp.where(vectors[:, :1] < 0, -1.0, 1.0)
    basis = lift(space, vectors)
    following = _following(settings, operator, weight, basis, values, other)
    report = _judged(settings, space, following)
    return settings.sign * values, basis, report


def _forward(settings, rest, parameters, arrays, starts):
    outcome: Any = extreme_pairs(settings, rest, parameters, arrays, starts)
    values, vectors, report = outcome
    return (values, vectors, report), (parameters, arrays, values, vectors, report.result)


def _backward(settings, rest, saved, cotangents):
    parameters, arrays, values, vectors, result = saved
    operator = eqx.combine(parameters, arrays, rest)
    weight = matching_weight(operator, jtu.tree_map(lambda leaf: leaf[0], vectors))

    def body(total, given):
        index, value_bar, vector_bar = given
        solved, own = _bordered_solve(settings, operator, weight, values, vectors, index, vector_bar)
        v = jtu.tree_map(lambda leaf: leaf[index], vectors)
        left = weighted(conjugate(add(scale(value_bar, v), scale(-1.0, solved))), weight)
        pull = jax.vjp(lambda p: apply(eqx.combine(p, arrays, rest), v), parameters)[1]
        return add(total, pull(left)[0]), own

    indices = jnp.arange(settings.count, dtype=jnp.int32)
    zeros = jtu.tree_map(jnp.zeros_like, parameters)
    pulled, results = lax.scan(body, zeros, (indices, cotangents[0], cotangents[1]))
    own = jtu.tree_map(lambda leaf: leaf[jnp.argmax(results != RESULTS.successful)], results)
    return (*checked(settings.throw, first_failure([result, own]), (pulled, None, None)),)


extreme_pairs.defvjp(_forward, _backward)


def _bordered_solve(settings, operator, weight: Weight, values, vectors, index, cotangent) -> tuple[PyTree, RESULTS]:
    """`(A - λ)⁺ M⁻¹ conj(g)` for the eigenvalue at `index`, and whether the solve met the tolerance."""
    _, _, right = self_dual(operator, weight, cotangent)
    shift = values[index]
    gaps = values - shift
    inside = project(vectors, right, weight)
    factors = jnp.where(gaps == 0, 0.0, 1.0 / jnp.where(gaps == 0, 1.0, gaps))
    known = combine(vectors, inside * factors.astype(inside.dtype))
    outside = ComplementOperator(operator, vectors, shift, settings.sign, weight)
    solver = SpaceSettings((Inverse(),), _room(settings, vectors), settings.rtol, settings.throw)
    start = complement(vectors, right, weight)
    # What rounding leaves of a vector inside has no direction of its own.
    rounded = norm(start, weight) <= _ROUNDING * jnp.finfo(values.dtype).eps * norm(right, weight)
    start = jtu.tree_map(lambda leaf: jnp.where(rounded, 0.0, leaf), start)
    arrays, parts = eqx.partition(outside, eqx.is_array)
    space = guarded_space(solver, parts, arrays, weight, start)
    rest = lift(space, evaluate(Inverse(), space).coefficients)
    return add(known, scale(settings.sign, rest)), judged(solver, space).result


def _room(settings: EigenSettings, vectors: PyTree[Array]) -> int:
    """The capacity of a space of the complement, at least 1."""
    size = sum(leaf[0].size for leaf in jtu.tree_leaves(vectors))
    return max(min(settings.capacity, size - settings.count), 1)


def _space(settings: EigenSettings, capacity: int, operator, weight: Weight, start: PyTree, accept) -> Reduction:
    def signed(vector: PyTree[Array]) -> PyTree[Array]:
        return scale(settings.sign, apply(operator, vector))

    checks = checkpoints(capacity, min(2 * settings.count + 8, capacity), _CHECK_RATIO)
    state = arnoldi_start(start, weight, capacity)
    return grow(state, ft.partial(arnoldi_step, signed, weight), _lowest, accept, checks)


def _lowest(state: ArnoldiState, count: int) -> Ritz:
    # Beyond what was reached stands a number above the whole spectrum.
    return diagonalise(state, count, 2.0 * state.scale + 1.0)


def _residuals(space: Reduction) -> Float[Array, " capacity"]:
    """`‖A v - θ v‖` of every Ritz pair."""
    return space.coupling * jnp.abs(space.small.vectors[jnp.maximum(space.dimension - 1, 0)])


def _gaps(values: Float[Array, " capacity"], count: int) -> Float[Array, " count"]:
    """The distance of each of the lowest values from its neighbours."""
    steps = jnp.concatenate([jnp.full((1,), jnp.inf), jnp.diff(values), jnp.full((1,), jnp.inf)])
    return jnp.minimum(steps[:count], steps[1 : count + 1])


def _found(settings: EigenSettings, space: Reduction) -> Bool[Array, ""]:
    gaps = _gaps(space.small.values, settings.count)
    return jnp.all(_residuals(space)[: settings.count] <= settings.rtol * gaps)


def _following(settings, operator, weight, basis, values, other) -> Float[Array, ""]:
    """The lowest eigenvalue that is not among those found: a space of their complement.

    A Krylov space has one vector for each eigenvalue, however many there are: it does not see that there is another.
    """
    size = sum(leaf[0].size for leaf in jtu.tree_leaves(basis))
    if size == settings.count:
        return jnp.full((), jnp.inf, values.dtype)
    last = values[-1]
    outside = ComplementOperator(operator, basis, jnp.zeros_like(last), 1, weight)

    def certain(space: Reduction) -> Bool[Array, ""]:
        gap = jnp.maximum(space.small.values[0] - last, _limit(settings, space.small.values))
        return _residuals(space)[0] <= _DISTINCT * gap

    start = complement(basis, other, weight)
    return _space(settings, _room(settings, basis), outside, weight, start, certain).small.values[0]


def _limit(settings: EigenSettings, values: Float[Array, " n"]) -> Float[Array, ""]:
    """Vectors of eigenvalues that are closer than this are not known to the tolerance: `ε ‖A‖ / gap`."""
    return 10.0 * rounding_unit(values) / settings.rtol


def _judged(settings: EigenSettings, space: Reduction, following: Float[Array, ""]) -> EigenReport:
    values, count = space.small.values, settings.count
    used = jnp.arange(values.size, dtype=space.dimension.dtype) < space.dimension
    known = jnp.where(used, values, 0.0)
    gaps = _gaps(jnp.concatenate([values[:count], following[None]]), count)
    error = jnp.max(_residuals(space)[:count] / jnp.maximum(gaps, jnp.finfo(values.dtype).tiny))
    twin = (jnp.min(gaps) <= _limit(settings, known)) | (following < values[count - 1]) | (space.dimension < count)
    result = RESULTS.where(error > settings.rtol, RESULTS.tolerance_not_reached, RESULTS.successful)
    result = RESULTS.where(twin, RESULTS.degenerate_eigenvalues, result)
    result = RESULTS.where(jnp.isfinite(error) & jnp.all(jnp.isfinite(known)), result, RESULTS.nonfinite)
    return EigenReport(space.applications, space.dimension, error, result)
