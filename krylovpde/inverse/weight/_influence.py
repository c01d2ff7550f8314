"""How many parameters the data decide: the trace of the influence matrix of the linearised problem."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Scalar

from ..loss import AbstractLoss
from ._problem import RegularisedProblem


def num_real_data(problem: RegularisedProblem, model: PyTree) -> float:
    """How many real numbers the data are: complex ones count twice."""

    def real_numbers(term: Any) -> float:
        leaves = jtu.tree_leaves(eqx.filter_eval_shape(term.residual, model))
        is_complex = any(jnp.issubdtype(leaf.dtype, jnp.complexfloating) for leaf in leaves)
        return float(term.num_data) * (2 if is_complex else 1)

    return sum(map(real_numbers, problem.data_terms))


def exact_trace(problem: RegularisedProblem, model: PyTree, weight: float) -> float:
    """`tr J (Jᵀ J + Rᵀ R)⁻¹ Jᵀ` by a singular value decomposition of `[J; R]`."""
    free, fixed = eqx.partition(model, problem.trainable)
    return float(_exact_trace(_Linearised(problem, fixed, weight), free))


def probed_trace(
    problem: RegularisedProblem, model: PyTree, weight: float, keys: Array, solver: lx.AbstractLinearSolver
) -> float:
    """The same by random vectors of ±1, one for each key; NaN where conjugate gradients do not converge."""
    free, fixed = eqx.partition(model, problem.trainable)
    return float(_probed_trace(_Linearised(problem, fixed, weight), free, keys, solver))


class _Linearised(eqx.Module):
    """The residuals of the data and of the penalties as functions of one vector of free numbers."""

    data: tuple[AbstractLoss, ...]
    known: tuple[AbstractLoss, ...]
    penalty: AbstractLoss
    fixed: PyTree
    weight: Array

    def __init__(self, problem: RegularisedProblem, fixed: PyTree, weight: float):
        self.data, self.known, self.penalty = problem.data_terms, problem.fixed_terms, problem.penalty
        self.fixed, self.weight = fixed, jnp.asarray(np.asarray(weight))

    def at(self, free: PyTree) -> tuple[Array, Callable[[Array], Array], Callable[[Array], Array]]:
        """The vector of the free numbers, the data's residual and the penalties' residual as functions of it."""
        vector, unravel = jax.flatten_util.ravel_pytree(free)

        def data(x: Array) -> Array:
            model = eqx.combine(unravel(x), self.fixed)
            return _real_vector([term.residual(model) for term in self.data], vector.dtype)

        def penalties(x: Array) -> Array:
            model = eqx.combine(unravel(x), self.fixed)
            weighted = jnp.sqrt(self.weight.astype(vector.dtype))
            own = weighted * _real_vector(self.penalty.residual(model), vector.dtype)
            return jnp.concatenate([own, _real_vector([term.residual(model) for term in self.known], vector.dtype)])

        return vector, data, penalties


@eqx.filter_jit
def _exact_trace(linearised: _Linearised, free: PyTree) -> Scalar:
    vector, data, penalties = linearised.at(free)
    top = _jacobian(data, vector)
    left, values, _ = jnp.linalg.svd(jnp.concatenate([top, _jacobian(penalties, vector)]), full_matrices=False)
    # A direction that neither data nor penalties see is no parameter that the data decide.
    seen = values > jnp.finfo(values.dtype).eps * max(left.shape) * values[0]
    return jnp.sum(jnp.where(seen, jnp.sum(left[: top.shape[0]] ** 2, axis=0), 0))


def _jacobian(function: Callable[[Array], Array], at: Float[Array, " n"]) -> Float[Array, "m n"]:
    """Dense, one derivative after the other (as many at once would take their memory), in the cheaper mode."""
    rows, columns = jax.eval_shape(function, at).shape[0], at.shape[0]
    if rows < columns:
        pullback = jax.vjp(function, at)[1]
        return jax.lax.map(lambda e: pullback(e)[0], jnp.eye(rows, dtype=at.dtype))
    tangent = jax.linearize(function, at)[1]
    return jax.lax.map(tangent, jnp.eye(columns, dtype=at.dtype)).T


@eqx.filter_jit
def _probed_trace(linearised: _Linearised, free: PyTree, keys: Array, solver: lx.AbstractLinearSolver) -> Scalar:
    vector, data, penalties = linearised.at(free)
    residual, tangent = jax.linearize(data, vector)
    pullback = jax.vjp(data, vector)[1]
    slopes, roughness = jax.linearize(penalties, vector)
    smoothing = jax.linear_transpose(roughness, vector)

    def normal(x: Array) -> Array:
        return pullback(tangent(x))[0] + smoothing(roughness(x).astype(slopes.dtype))[0]

    operator = lx.FunctionLinearOperator(normal, jax.eval_shape(lambda: vector), lx.positive_semidefinite_tag)

    def quadratic(key: PRNGKeyArray) -> Scalar:
        seen = pullback(jax.random.rademacher(key, residual.shape, residual.dtype))[0]
        solution = lx.linear_solve(operator, seen, solver, throw=False)
        return jnp.where(solution.result == lx.RESULTS.successful, jnp.vdot(seen, solution.value), jnp.nan)

    # One after the other: side by side, all would take the steps of the slowest.
    return jnp.mean(jax.lax.map(quadratic, keys))


def _real_vector(residual: PyTree[Array], dtype: Any) -> Float[Array, " n"]:
    """All numbers of a residual in one vector, real and imaginary parts side by side."""
    leaves = [jnp.ravel(leaf) for leaf in jtu.tree_leaves(residual)]
    parts = [part for leaf in leaves for part in ((leaf.real, leaf.imag) if jnp.iscomplexobj(leaf) else (leaf,))]
    return jnp.concatenate([part.astype(dtype) for part in parts]) if parts else jnp.zeros(0, dtype)
