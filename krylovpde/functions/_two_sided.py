r"""The derivative of `f(A) v`, from two Krylov spaces: nothing looks into an iteration.

    d f(A) = 1/(2πi) ∮ f(z) (z - A)⁻¹ dA (z - A)⁻¹ dz

Let `A V ≈ V T` be the space of `v`, and `Aᵀ W ≈ W G` that of the cotangent `g`, with Ritz pairs `(θ_j, p_j)` and
`(γ_i, r_i)`: each knows its resolvent. Then

    <g, df(A) v> ≈ Σ_ij X_ij w_iᵀ dA v_j,      X = ‖v‖ ‖g‖ R [ r_i[1] f[γ_i, θ_j] p_j[1] ] Pᵀ,

with one vector–Jacobian product with respect to the parameters for each `v_j`, and a single one for the inverse, whose
divided differences are products. (The general form: Kandolf, Koskela, Relton, Schweitzer 2021.) The square root has no
derivative at zero: pairs of eigenvalues that are both rounding are left out.
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
from ..krylov._space import add, row, scale
from ._ritz import SpaceReport, SpaceSettings, admissible_values, evaluate, guarded_space, judged
from ._scalar import AbstractScalarFunction, Inverse


@ft.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def apply_function(
    settings: SpaceSettings, rest: PyTree, parameters: PyTree, arrays: PyTree, vector: PyTree
) -> tuple[PyTree, SpaceReport]:
    """`f(A) v` and the report; the operator in three parts (`krylovpde.krylov._operand.split`)."""
    value, report, _ = _forward_pass(settings, rest, parameters, arrays, vector)
    return value, report


def _forward_pass(settings, rest, parameters, arrays, vector):
    operator = eqx.combine(parameters, arrays, rest)
    weight = matching_weight(operator, vector)
    space = guarded_space(settings, rest, eqx.combine(parameters, arrays), weight, vector)
    value = lift(space, evaluate(settings.functions[0], space).coefficients)
    return value, judged(settings, space), space


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
    own = judged(settings, dual).result
    result = RESULTS.where(result == RESULTS.successful, own, result)
    pulled = parameter_cotangents(settings.functions[0], operator, weight, dual, space)
    vector_bar = self_dual_lift(weight, dual, evaluate(settings.functions[0], dual).coefficients)
    return (*checked(settings.throw, result, (pulled, None, vector_bar)),)


apply_function.defvjp(_forward, _backward)


def checked(throw: bool, result: RESULTS, cotangents: PyTree[Array]) -> PyTree[Array]:
    """Cotangents that raise for a failed result, or are NaN."""
    if throw:
        return raise_unless_successful(result, cotangents)
    failed = result != RESULTS.successful
    return jtu.tree_map(lambda leaf: jnp.where(failed, jnp.nan, leaf), cotangents)


def parameter_cotangents(
    function: AbstractScalarFunction,
    operator: lx.AbstractLinearOperator,
    weight: Weight,
    dual: Reduction,
    primal: Reduction,
) -> PyTree:
    """`Σ_j (Σ_i X_ij w_i)ᵀ dA v_j`: one product for each vector of the space of `v`.

    No cut to low rank: entries of `X` that belong to two small eigenvalues are huge, and meet entries of `dA` that are
    as small; a cut relative to `X` lost a factor of 1e6 on rough data.
    """
    parameters, rest = eqx.partition(operator, eqx.is_inexact_array)

    def pull(x: PyTree[Array], y: PyTree[Array]) -> PyTree:
        return jax.vjp(lambda values: apply(eqx.combine(values, rest), x), parameters)[1](y)[0]

    if isinstance(function, Inverse):
        # dA⁻¹ = -A⁻¹ dA A⁻¹.
        solved = lift(primal, evaluate(function, primal).coefficients)
        return pull(scale(-1.0, solved), self_dual_lift(weight, dual, evaluate(function, dual).coefficients))
    kernel = pairing(function, dual, primal)

    def add_term(j, total):
        # Past the dimension of a lane the rows are zero, and so is their term.
        y = self_dual_lift(weight, dual, lax.dynamic_index_in_dim(kernel, j, 1, keepdims=False))
        return add(total, pull(row(primal.basis, j), y))

    return lax.fori_loop(0, batch_max(primal.dimension), add_term, jtu.tree_map(jnp.zeros_like, parameters))


def pairing(function: AbstractScalarFunction, dual: Reduction, primal: Reduction) -> Float[Array, "capacity capacity"]:
    """The matrix `X`."""
    left, right = admissible_values(function, dual), admissible_values(function, primal)
    quotient = function.divided_difference(left[:, None], right[None, :])
    kernel = dual.small.vectors[0][:, None] * quotient * primal.small.vectors[0][None, :]
    return dual.norm * primal.norm * (dual.small.vectors @ kernel @ primal.small.vectors.T)
