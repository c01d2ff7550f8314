"""Ritz pairs from Lanczos with full reorthogonalisation, grown until a function of the operator is known."""

import functools as ft

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Bool, Float, PyTree

from .._custom_types import Weight
from .._solution import RESULTS
from ..action._grow import checkpoints, grow
from ..action._reduction import Reduction
from ..krylov._arnoldi import ArnoldiState, arnoldi_start, arnoldi_step
from ..krylov._operand import apply
from ._scalar import AbstractScalarFunction

_FIRST_CHECK, _CHECK_RATIO = 8, 1.3
# What rounding adds may exceed the tolerance by this factor, as in `solve`.
_ALLOWED = 10.0


class Ritz(eqx.Module):
    """`T = P diag(θ) Pᵀ`, real.

    Beyond the rows that were reached stands a number from the middle of the spectrum, which no function minds; the
    first row of `vectors` is zero there.
    """

    values: Float[Array, " capacity"]
    vectors: Float[Array, "capacity capacity"]


class Evaluation(eqx.Module):
    """What a space says about `f(A) v ≈ ‖v‖ Q f(T) e_1`.

    * `coefficients`: `‖v‖ f(T) e_1`.   * `length`: its norm, that of the result.
    * `scale`: what errors are relative to, never zero.
    * `truncation`: a bound of the error that the dimension leaves.   * `rounding`: an estimate of what rounding adds.
    * `refused`: whether the operator is none of the function's.
    """

    coefficients: Float[Array, " capacity"]
    length: Float[Array, ""]
    scale: Float[Array, ""]
    truncation: Float[Array, ""]
    rounding: Float[Array, ""]
    refused: Bool[Array, ""]


class SpaceSettings(eqx.Module):
    """What is static in a computation of `f(A) v`.

    `functions`: the one that is wanted, and others that the same space must serve.
    """

    functions: tuple[AbstractScalarFunction, ...] = eqx.field(static=True)
    capacity: int = eqx.field(static=True)
    rtol: float = eqx.field(static=True)
    throw: bool = eqx.field(static=True)


class SpaceReport(eqx.Module):
    """How it went: dimension, error estimate relative to the result, result."""

    dimension: Array
    error: Array
    result: RESULTS


def ritz_space(
    settings: SpaceSettings, operator: lx.AbstractLinearOperator, weight: Weight, start: PyTree[Array]
) -> Reduction:
    """A Krylov space of a self-adjoint operator in which `f(A) start` has converged, or a full one.

    Reorthogonalised against everything, twice: these functions are not entire, and copies of converged eigenvalues
    near zero, where they are steep, would be seen.
    """
    step = ft.partial(arnoldi_step, ft.partial(apply, operator), weight)
    checks = checkpoints(settings.capacity, min(_FIRST_CHECK, settings.capacity), _CHECK_RATIO)
    accept = ft.partial(_good_enough, settings)
    return grow(arnoldi_start(start, weight, settings.capacity), step, _diagonalise, accept, checks)


def evaluate(function: AbstractScalarFunction, space: Reduction) -> Evaluation:
    r"""The coefficients of `f(A) v` and their errors.

    The truncation is at most $\beta h\, |e_m^\top f[T, a]\, e_1|$ (see `AbstractScalarFunction`), with the extreme Ritz
    value for the extreme eigenvalue where `a` is one: measured 2 to 40 times the error.

    An eigenvalue is known to about `ε θ_max`, which `f` turns into that times its slope: near zero the square root
    makes it `sqrt(ε θ_max)`.
    """
    values, vectors = ritz_values(space), space.small.vectors
    unit, first = rounding_unit(values), vectors[0]
    known = function.admissible(values, unit)
    # The floor is positive also for A = 0, whose space has broken down: the coupling is zero.
    floor = jnp.maximum(unit, jnp.finfo(values.dtype).tiny)
    last = vectors[jnp.maximum(space.dimension - 1, 0)]
    residual = function.divided_difference(jnp.where(known == 0, floor, known), function.anchor(known))
    coefficients = space.norm * (vectors @ (function.value(known) * first))
    length = jnp.linalg.norm(coefficients)
    scale = function.scale(length, space.norm)
    return Evaluation(
        coefficients=coefficients,
        length=length,
        scale=jnp.where(scale > 0, scale, 1.0),
        truncation=space.norm * space.coupling * jnp.abs(jnp.sum(last * first * residual)),
        rounding=space.norm * jnp.linalg.norm(first * unit * function.divided_difference(known, known + floor)),
        refused=(space.dimension > 0) & function.refuses(jnp.min(values), unit),
    )


def ritz_values(space: Reduction) -> Float[Array, " capacity"]:
    """The Ritz values; numbers that every function takes where there are none, in the space of zero."""
    return jnp.where(space.dimension > 0, space.small.values, 1.0)


def admissible_values(function: AbstractScalarFunction, space: Reduction) -> Float[Array, " capacity"]:
    """The Ritz values as the function takes them."""
    values = ritz_values(space)
    return function.admissible(values, rounding_unit(values))


def rounding_unit(values: Float[Array, " capacity"]) -> Float[Array, ""]:
    """How well the eigenvalues are known."""
    return jnp.finfo(values.dtype).eps * jnp.max(jnp.abs(values))


def judged(settings: SpaceSettings, space: Reduction) -> SpaceReport:
    """What a space says about itself."""
    evaluations = [evaluate(function, space) for function in settings.functions]
    truncation = ft.reduce(jnp.maximum, [one.truncation / one.scale for one in evaluations])
    error = ft.reduce(jnp.maximum, [(one.truncation + one.rounding) / one.scale for one in evaluations])
    missed = (truncation > settings.rtol) | (error > _ALLOWED * settings.rtol)
    result = RESULTS.where(missed, RESULTS.tolerance_not_reached, RESULTS.successful)
    for function, one in zip(settings.functions, evaluations, strict=True):
        result = RESULTS.where(one.refused, function.refusal, result)
    numbers = jnp.stack([space.norm, error, *(one.length for one in evaluations)])
    return SpaceReport(space.dimension, error, RESULTS.where(jnp.all(jnp.isfinite(numbers)), result, RESULTS.nonfinite))


@ft.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def guarded_space(settings: SpaceSettings, parts: PyTree, arrays: PyTree, weight: Weight, start: PyTree) -> Reduction:
    """`ritz_space` that refuses to be differentiated; `arrays` and `parts` combine to the operator."""
    return ritz_space(settings, eqx.combine(arrays, parts), weight, start)


@guarded_space.defjvp
def _refuse(settings, parts, primals, tangents):
    message = (
        "`krylovpde.functions` has reverse-mode derivatives of first order only: second derivatives would "
        "differentiate through the Krylov iteration, which is wrong for smooth data. Take finite differences of "
        "gradients."
    )
    raise NotImplementedError(message)


def _diagonalise(state: ArnoldiState, count: int) -> Ritz:
    # The first entry is a mean of eigenvalues.
    return diagonalise(state, count, jnp.real(state.coefficients[0, 0]))


def diagonalise(state: ArnoldiState, count: int, filler: Float[Array, ""]) -> Ritz:
    """Ritz pairs of the first `count` rows; the filler stands beyond those that were reached."""
    inside = jnp.arange(count, dtype=state.dimension.dtype) < state.dimension
    diagonal = jnp.where(inside, jnp.real(jnp.diagonal(state.coefficients))[:count], filler)
    coupling = state.lengths[1:count]
    block = jnp.diag(diagonal) + jnp.diag(coupling, 1) + jnp.diag(coupling, -1)
    values, vectors = jnp.linalg.eigh(block)
    pad = state.lengths.size - count
    return Ritz(jnp.concatenate([values, jnp.full((pad,), filler)]), jnp.pad(vectors, ((0, pad), (0, pad))))


def _good_enough(settings: SpaceSettings, space: Reduction) -> Bool[Array, ""]:
    """Converged, or never going to be."""
    evaluations = [evaluate(function, space) for function in settings.functions]
    converged = [one.truncation <= settings.rtol * one.scale for one in evaluations]
    refused = [one.refused for one in evaluations]
    return ft.reduce(jnp.logical_and, converged) | ft.reduce(jnp.logical_or, refused)
