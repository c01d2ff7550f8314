r"""The derivative of `A^{1/2} v`, from two Krylov spaces: nothing looks into an iteration.

With $S = A^{1/2}$, $S\,\mathrm dS + \mathrm dS\,S = \mathrm dA$. Let `A V ≈ V T` be the space of `v`, and
`Aᵀ W ≈ W G` that of the cotangent `g`, with Ritz pairs `(θ_j, p_j)` and `(γ_i, r_i)`. Then

    <g, dS v> ≈ Σ_ij X_ij w_iᵀ dA v_j,      X = ‖v‖ ‖g‖ R [ r_i[1] p_j[1] / (sqrt γ_i + sqrt θ_j) ] Pᵀ,

with one vector–Jacobian product with respect to the parameters for each `v_j`. (The general form: Kandolf, Koskela,
Relton, Schweitzer 2021.) The square root has no derivative at zero: pairs of
eigenvalues that are both rounding are left out.
"""

import functools as ft

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jax import lax
from jaxtyping import Array, Float, PyTree

from .._custom_types import Weight
from .._solution import RESULTS, raise_unless_successful
from ..action._batch import batch_max
from ..action._reduction import Reduction, lift
from ..action._self_dual import self_dual, self_dual_lift
from ..krylov._operand import apply, matching_weight
from ..krylov._space import add, row
from ._ritz import SpaceSettings, SquareRoot, guarded_space, ritz_roots, rounding_unit, square_root

# Beyond this many units of rounding a negative Ritz value is not rounding. On covariances in single precision -40
# units were seen.
_NEGATIVE_UNITS = 1000.0
# What rounding adds may exceed the tolerance by this factor, as in `solve`.
_ALLOWED = 10.0


class RootReport(eqx.Module):
    """How it went: dimension, error estimate relative to the result, result."""

    dimension: Array
    error: Array
    result: RESULTS


def judged(settings: SpaceSettings, space: Reduction, root: SquareRoot) -> RootReport:
    """What a space says about itself."""
    length = jnp.where(root.length > 0, root.length, 1.0)
    error = (root.truncation + root.rounding) / length
    values = space.small.values
    missed = (root.truncation > settings.rtol * length) | (error > _ALLOWED * settings.rtol)
    negative = values[0] < -_NEGATIVE_UNITS * rounding_unit(values)
    result = RESULTS.where(missed, RESULTS.tolerance_not_reached, RESULTS.successful)
    result = RESULTS.where(negative, RESULTS.not_semidefinite, result)
    finite = jnp.isfinite(space.norm) & jnp.all(jnp.isfinite(root.coefficients)) & jnp.isfinite(error)
    return RootReport(space.dimension, error, RESULTS.where(finite, result, RESULTS.nonfinite))


@ft.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def apply_root(
    settings: SpaceSettings, rest: PyTree, parameters: PyTree, arrays: PyTree, vector: PyTree
) -> tuple[PyTree, RootReport]:
    """`A^{1/2} v` and the report; the operator in three parts (`krylovpde.krylov._operand.split`)."""
    value, report, _ = _forward_pass(settings, rest, parameters, arrays, vector)
    return value, report


def _forward_pass(settings, rest, parameters, arrays, vector):
    operator = eqx.combine(parameters, arrays, rest)
    weight = matching_weight(operator, vector)
    space = guarded_space(settings, rest, eqx.combine(parameters, arrays), weight, vector)
    root = square_root(space)
    value = lift(space, root.coefficients)
    return value, judged(settings, space, root), space


def _forward(settings, rest, parameters, arrays, vector):
    value, report, space = _forward_pass(settings, rest, parameters, arrays, vector)
    return (value, report), (parameters, arrays, space, report.result)


def _backward(settings, rest, saved, cotangents):
    parameters, arrays, space, result = saved
    operator = eqx.combine(parameters, arrays, rest)
    cotangent = cotangents[0]
    weight = matching_weight(operator, cotangent)
    _, _, start = self_dual(operator, weight, cotangent)
    dual = guarded_space(settings, rest, eqx.combine(parameters, arrays), weight, start)
    root = square_root(dual)
    own = judged(settings, dual, root).result
    result = RESULTS.where(result == RESULTS.successful, own, result)
    pulled = _parameter_cotangents(operator, weight, dual, space)
    vector_bar = self_dual_lift(weight, dual, root.coefficients)
    if settings.throw:
        pulled, vector_bar = raise_unless_successful(result, (pulled, vector_bar))
    else:
        failed = result != RESULTS.successful
        pulled, vector_bar = jtu.tree_map(lambda leaf: jnp.where(failed, jnp.nan, leaf), (pulled, vector_bar))
    return pulled, None, vector_bar


apply_root.defvjp(_forward, _backward)


def pairing(dual: Reduction, primal: Reduction) -> Float[Array, "capacity capacity"]:
    """The matrix `X`."""
    left, right = ritz_roots(dual.small.values), ritz_roots(primal.small.values)
    total = left[:, None] + right[None, :]
    quotient = jnp.where(total > 0, 1.0 / jnp.where(total > 0, total, 1.0), 0.0)
    kernel = dual.small.vectors[0][:, None] * quotient * primal.small.vectors[0][None, :]
    return dual.norm * primal.norm * (dual.small.vectors @ kernel @ primal.small.vectors.T)


def _parameter_cotangents(
    operator: lx.AbstractLinearOperator, weight: Weight, dual: Reduction, primal: Reduction
) -> PyTree:
    """`Σ_j (Σ_i X_ij w_i)ᵀ dA v_j`: one product for each vector of the space of `v`.

    No cut to low rank: entries of `X` that belong to two small eigenvalues are huge, and meet entries of `dA` that are
    as small; a cut relative to `X` lost a factor of 1e6 on rough data.
    """
    parameters, rest = eqx.partition(operator, eqx.is_inexact_array)
    kernel = pairing(dual, primal)

    def add_term(j, total):
        # Past the dimension of a lane the rows are zero, and so is their term.
        x = row(primal.basis, j)
        y = self_dual_lift(weight, dual, lax.dynamic_index_in_dim(kernel, j, 1, keepdims=False))
        pull = jax.vjp(lambda values: apply(eqx.combine(values, rest), x), parameters)[1]
        return add(total, pull(y)[0])

    return lax.fori_loop(0, batch_max(primal.dimension), add_term, jtu.tree_map(jnp.zeros_like, parameters))
