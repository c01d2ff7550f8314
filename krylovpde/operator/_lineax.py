"""lineax's dispatch functions, registered once for every operator of this package.

A concrete operator overrides one of these by registering its own class: single dispatch takes the nearest.
"""

import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx

from ._base import AbstractOperator, TransposedOperator, is_real_structure
from ._properties import is_self_adjoint, weight


@lx.is_symmetric.register(AbstractOperator)
def _(operator):
    # lineax's symmetry is `A = Aᵀ`, of the Euclidean product. Where it holds, its `transpose` may return the operator
    # itself; an operator that is self-adjoint in a weight, or Hermitian, must not say yes.
    real = is_real_structure(operator.in_structure(), operator.out_structure())
    return real and is_self_adjoint(operator) and weight(operator) is None


for _check in (
    lx.is_diagonal,
    lx.is_tridiagonal,
    lx.has_unit_diagonal,
    lx.is_lower_triangular,
    lx.is_upper_triangular,
    lx.is_positive_semidefinite,
    lx.is_negative_semidefinite,
):

    @_check.register(AbstractOperator)
    def _(operator):
        del operator
        return False

    # Triangles swap; the rest is the same for the transpose.
    _swapped = {
        lx.is_lower_triangular: lx.is_upper_triangular,
        lx.is_upper_triangular: lx.is_lower_triangular,
    }.get(_check, _check)

    @_check.register(TransposedOperator)
    def _(operator, check=_swapped):
        return check(operator.operator)


@lx.linearise.register(AbstractOperator)
def _(operator):
    return operator


@lx.materialise.register(AbstractOperator)
def _(operator):
    return lx.materialise(lx.FunctionLinearOperator(operator.mv, operator.in_structure()))


@lx.diagonal.register(AbstractOperator)
def _(operator):
    return jnp.diagonal(operator.as_matrix())


@lx.tridiagonal.register(AbstractOperator)
def _(operator):
    matrix = operator.as_matrix()
    return jnp.diagonal(matrix), jnp.diagonal(matrix, offset=-1), jnp.diagonal(matrix, offset=1)


@lx.conj.register(AbstractOperator)
def _(operator):
    if is_real_structure(operator.in_structure(), operator.out_structure()):
        return operator

    def conjugated(vector):
        return jtu.tree_map(jnp.conj, operator.mv(jtu.tree_map(jnp.conj, vector)))

    return lx.FunctionLinearOperator(conjugated, operator.in_structure())
