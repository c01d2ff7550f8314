"""The state at which a linear equation comes to rest."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jaxtyping import Array, PyTree

from ..action import knows_diagonal
from ..equation import AbstractEquation
from ..krylov._space import norm, weighted
from ..operator import FluxOperator, is_self_adjoint, spectral_bound, weight
from ._entrance import as_field, check_square, tolerances
from ._relative_solver import RelativeSolver, rms
from ._solve_semilinear import is_semilinear

_MAX_ITERATIONS = 10_000


def steady_state(
    equation: AbstractEquation, *, solver: lx.AbstractLinearSolver | None = None, rtol: float | None = None
) -> PyTree[Array]:
    r"""`u` with `A u + b = 0`: what a linear equation with constant sources and boundary values tends to.

    As an initial state, for example: the head before a pump is switched on, the temperature of last summer. Derivatives
    reach all parameters through lineax's implicit rule, in both modes.

    **Arguments:**

    - `equation`: a linear equation of first order in time.
    - `solver`: any lineax solver; `None` is elimination in one dimension, conjugate gradients for a self-adjoint
        operator, and BiCGStab for any other, with the diagonal as the preconditioner.
    - `rtol`: of the iterative solvers: the relative residual. `None` is 1e-6 in double and 1e-4 in single precision.

    **Returns:**

    A field.

    **Raises:**

    `ValueError` for an equation that is not linear, of second order, or driven by sources that vary in time;
    `equinox.EquinoxRuntimeError` where there is no single steady state (a closed box, in which nothing decays), and
    lineax's for a solver that does not converge.
    """
    operator, forcing = _parts(equation)
    structure = operator.in_structure()
    right = jtu.tree_map(lambda like: jnp.zeros(like.shape, like.dtype), structure)
    if forcing is not None:
        right = jtu.tree_map(lambda leaf, like: leaf.astype(like.dtype), as_field(forcing, structure, "b"), structure)
    right = _unless_closed(operator, right)
    operator = _with_unit_rows(operator)
    dtype = np.finfo(jtu.tree_leaves(structure)[0].dtype).dtype
    rtol, _ = tolerances(rtol, 0.0, dtype)
    if solver is None and lx.is_tridiagonal(operator):
        matrix = lx.TridiagonalLinearOperator(*lx.tridiagonal(operator))
        flat = lx.linear_solve(matrix, -right.reshape(-1), lx.Tridiagonal()).value
        return flat.reshape(right.shape)
    # In the weight, a self-adjoint operator is a symmetric matrix.
    inner_product = weight(operator)
    symmetric = is_self_adjoint(operator)

    def apply(u: PyTree[Array]) -> PyTree[Array]:
        return jtu.tree_map(jnp.negative, weighted(operator.mv(u), inner_product))

    system = lx.FunctionLinearOperator(apply, structure, lx.positive_semidefinite_tag if symmetric else ())
    if solver is None:
        kind = lx.CG if symmetric else lx.BiCGStab
        solver = RelativeSolver(kind(rtol=rtol, atol=rtol, norm=rms, max_steps=_MAX_ITERATIONS))
    iterative = isinstance(solver, RelativeSolver | lx.CG | lx.BiCGStab)
    options = _preconditioner(operator, inner_product) if iterative else {}
    return lx.linear_solve(system, weighted(right, inner_product), solver, options=options).value


def _parts(equation: Any) -> tuple[lx.AbstractLinearOperator, PyTree[Array] | None]:
    if not isinstance(equation, AbstractEquation):
        message = f"`steady_state(equation)` takes a krylovpde.AbstractEquation, got {type(equation)}."
        raise TypeError(message)
    name = type(equation).__name__
    if is_semilinear(equation) or equation.order != 1:
        message = f"`steady_state(equation)` takes a linear equation of first order in time; {name} is not one."
        raise ValueError(message)
    if equation.driving():
        message = f"`steady_state(equation)`: {name} has sources that vary in time, and comes to no rest."
        raise ValueError(message)
    operator = equation.operator()
    check_square(operator, "steady_state")
    return operator, equation.forcing()


def _unless_closed(operator: lx.AbstractLinearOperator, right: PyTree[Array]) -> PyTree[Array]:
    """Raises where constants are steady states themselves."""
    ones = jtu.tree_map(lambda like: jnp.ones(like.shape, like.dtype), operator.in_structure())
    bound = spectral_bound(operator)
    if bound is None:
        return right
    eps = float(np.finfo(jtu.tree_leaves(right)[0].dtype).eps)
    closed = norm(operator.mv(ones)) <= 100 * eps * jnp.asarray(bound) * norm(ones)
    message = (
        "krylovpde.steady_state: every constant is a steady state of this equation (a closed box in which nothing "
        "decays). Fix the field somewhere: a Dirichlet or Robin boundary, or a reaction rate."
    )
    return eqx.error_if(right, closed, message)


def _with_unit_rows(operator: lx.AbstractLinearOperator) -> lx.AbstractLinearOperator:
    """`-u = 0` in cells that are not active, where the rows of the operator are zero."""
    if not isinstance(operator, FluxOperator) or not operator.grid.is_masked:
        return operator
    rows = -(~operator.grid.active).astype(operator.in_structure().dtype)
    return FluxOperator(operator.grid, operator.faces, (*operator.diagonal, rows), operator.scale, operator.periodic)


def _preconditioner(operator: lx.AbstractLinearOperator, inner_product: Any) -> dict[str, Any]:
    """One over the diagonal, for operators that know it."""
    structure = operator.in_structure()
    if not (isinstance(structure, jax.ShapeDtypeStruct) and knows_diagonal(operator)):
        return {}
    diagonal = weighted(lx.diagonal(operator).reshape(structure.shape), inner_product)
    # It decides how fast the solution is found, not what it is.
    inverse = lx.DiagonalLinearOperator(jax.lax.stop_gradient(jnp.where(diagonal < 0, -1.0 / diagonal, 1.0)))
    return {"preconditioner": lx.TaggedLinearOperator(inverse, lx.positive_semidefinite_tag)}
