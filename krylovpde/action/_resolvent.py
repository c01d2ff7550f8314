"""How `(I - γA) x = b` is solved, by the class of the operator.

* tridiagonal (one-dimensional grids that do not close, uniform, graded or radial): lineax's direct solve;
* a stencil on a grid: conjugate gradients, preconditioned by fast diagonalisation (`_fast_diagonal`);
* another self-adjoint operator that knows its diagonal and an interval of its spectrum: conjugate gradients,
  preconditioned by the diagonal (Jacobi), whose iterations grow as the root of `γρ`;
* the operator of a tangent: two solves with the operator itself (registered in `adjoint`).
"""

import functools as ft
from collections.abc import Callable
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jax import lax
from jaxtyping import Array, PyTree, Real

from .._custom_types import Weight
from ..krylov._space import axpy, conjugate, weighted
from ..operator import (
    AnnotatedOperator,
    AssembledOperator,
    FluxOperator,
    SparseOperator,
    TransposedOperator,
    is_self_adjoint,
    spectral_interval,
    weight as weight_of,
)
from ._conjugate_gradient import Solved, conjugate_gradient
from ._fast_diagonal import fast_diagonal
from ._spectrum import like_of

Solver: TypeAlias = Callable[[PyTree[Array]], Solved]


class Task(eqx.Module):
    """What is asked of the solves.

    * `shift`: `γ > 0`, below one over the growth rate.   * `tolerance`: relative error.   * `max_iterations`: of each.
    """

    shift: Real[Array, ""]
    tolerance: float = eqx.field(static=True)
    max_iterations: int = eqx.field(static=True)


@ft.singledispatch
def resolvent(operator: lx.AbstractLinearOperator, task: Task) -> Solver:
    """`b -> (I - γA)⁻¹ b` for an operator that `has_resolvent`; what can be prepared is prepared once."""
    if lx.is_tridiagonal(operator):
        return _tridiagonal(operator, task)
    diagonal = 1.0 - task.shift.astype(_real(operator)) * jnp.real(lx.diagonal(operator))
    return _iterative(operator, weight_of(operator), task, ft.partial(_divide, diagonal))


@resolvent.register(FluxOperator)
def _(operator, task):
    if lx.is_tridiagonal(operator):
        return _tridiagonal(operator, task)
    weight = weight_of(operator)
    return _iterative(operator, weight, task, fast_diagonal(operator, weight, task.shift))


@resolvent.register(AnnotatedOperator)
def _(operator, task):
    inner = operator.operator
    if operator.told_weight is None and is_self_adjoint(inner):
        return resolvent(inner, task)
    return resolvent.dispatch(lx.AbstractLinearOperator)(operator, task)


@resolvent.register(TransposedOperator)
def _(operator, task):
    return transposed_resolvent(operator.operator, task)


@ft.singledispatch
def transposed_resolvent(operator: lx.AbstractLinearOperator, task: Task) -> Solver:
    """`b -> (I - γAᵀ)⁻¹ b`, from solves with `A`: for a self-adjoint one `Aᵀ = M conj(A) M⁻¹`."""
    solve, weight = resolvent(operator, task), weight_of(operator)
    reciprocal = None if weight is None else jtu.tree_map(lambda leaf: 1.0 / leaf, weight)

    def transposed(right: PyTree[Array]) -> Solved:
        solved = solve(conjugate(weighted(right, reciprocal)))
        return Solved(weighted(conjugate(solved.value), weight), solved.applications, solved.good)

    return transposed


def has_resolvent(operator: lx.AbstractLinearOperator) -> bool:
    """Whether `resolvent` serves an operator; decided from static facts."""
    if not is_self_adjoint(operator):
        return False
    return lx.is_tridiagonal(operator) or (knows_diagonal(operator) and _knows_interval(operator))


def growth_bound(operator: lx.AbstractLinearOperator) -> Real[Array, ""]:
    """The upper end of the spectrum of an operator that has a resolvent, or of its tangent; at least zero."""
    model = like_of(operator.operator if isinstance(operator, TransposedOperator) else operator)
    interval = spectral_interval(model)
    if interval is None:
        interval = spectral_interval(lx.TridiagonalLinearOperator(*lx.tridiagonal(model)))
    assert interval is not None
    return lax.stop_gradient(jnp.maximum(interval[1], 0.0))


def _tridiagonal(operator: lx.AbstractLinearOperator, task: Task) -> Solver:
    main, lower, upper = lx.tridiagonal(operator)

    def solve(right: Array) -> Solved:
        parts = [-task.shift.astype(right.dtype) * part.astype(right.dtype) for part in (main, lower, upper)]
        matrix = lx.TridiagonalLinearOperator(1.0 + parts[0], parts[1], parts[2])
        value = lx.linear_solve(matrix, right.reshape(-1), lx.Tridiagonal(), throw=False).value
        return Solved(value.reshape(right.shape), jnp.ones((), jnp.int32), jnp.all(jnp.isfinite(value)))

    return solve


def _iterative(operator: lx.AbstractLinearOperator, weight: Weight, task: Task, precondition) -> Solver:
    def apply(x: PyTree[Array]) -> PyTree[Array]:
        return axpy(-task.shift, operator.mv(x), x)

    def solve(right: PyTree[Array]) -> Solved:
        return conjugate_gradient(apply, precondition, weight, right, task.tolerance, task.max_iterations)

    return solve


def _divide(diagonal: Array, field: Array) -> Array:
    return field / diagonal.reshape(field.shape).astype(field.dtype)


def _real(operator: lx.AbstractLinearOperator):
    return jnp.finfo(operator.in_structure().dtype).dtype


def _knows_interval(operator: lx.AbstractLinearOperator) -> bool:
    dynamic, static = eqx.partition(operator, eqx.is_array)
    return jax.eval_shape(lambda dynamic: spectral_interval(eqx.combine(dynamic, static)), dynamic) is not None


@ft.singledispatch
def knows_diagonal(operator: lx.AbstractLinearOperator) -> bool:
    """Whether `lineax.diagonal` costs no more than looking at the entries."""
    return lx.is_diagonal(operator)


@knows_diagonal.register(FluxOperator)
@knows_diagonal.register(SparseOperator)
@knows_diagonal.register(lx.TridiagonalLinearOperator)
def _(operator):
    del operator
    return True


@knows_diagonal.register(AnnotatedOperator)
@knows_diagonal.register(lx.TaggedLinearOperator)
@knows_diagonal.register(lx.NegLinearOperator)
@knows_diagonal.register(lx.MulLinearOperator)
@knows_diagonal.register(lx.DivLinearOperator)
def _(operator):
    return knows_diagonal(operator.operator)


@knows_diagonal.register(AssembledOperator)
def _(operator):
    return knows_diagonal(operator.stiffness)


@knows_diagonal.register(lx.AddLinearOperator)
def _(operator):
    return knows_diagonal(operator.operator1) and knows_diagonal(operator.operator2)
