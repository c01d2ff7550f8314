"""The operator whose functions hold the tangents of functions of an operator."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jaxtyping import Array, Inexact, PyTree

from .._custom_types import Weight
from ..action import Solved, Solver, Task, like_of, resolvent, transposed_resolvent
from ..krylov._space import add, scale
from ..operator import AbstractOperator, weight


class TangentOperator(AbstractOperator):
    r"""$\begin{pmatrix} A & 0 \\ dA & A \end{pmatrix}$ on pairs `(u, du)`.

    If `u` solves an equation with `A`, then `(u, du)` solves the same equation with this operator, whatever function
    of the operator that is. It is self-adjoint in no diagonal weight, so it never carries a tag. Tangents of tangents
    nest.

    **Arguments:**

    - `operator`: `A`; not necessarily square.
    - `tangent`: the tangents of its inexact arrays: a pytree like `eqx.filter(operator, eqx.is_inexact_array)`.
    """

    operator: lx.AbstractLinearOperator
    tangent: PyTree[Inexact[Array, "..."]]

    def __init__(self, operator: lx.AbstractLinearOperator, tangent: PyTree[Inexact[Array, "..."]]):
        self.operator = operator
        self.tangent = tangent

    def mv(self, vector: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
        """`(A u, dA u + A du)`."""
        parameters, rest = eqx.partition(self.operator, eqx.is_inexact_array)
        value, change = vector

        def apply(parameters: PyTree, x: PyTree) -> PyTree:
            return eqx.combine(parameters, rest).mv(x)

        return jax.jvp(apply, (parameters, value), (self.tangent, change))

    def in_structure(self) -> Any:
        """Pairs of inputs of `A`."""
        structure = self.operator.in_structure()
        return structure, structure

    def out_structure(self) -> Any:
        """Pairs of outputs of `A`."""
        structure = self.operator.out_structure()
        return structure, structure

    @property
    def weight(self) -> Weight:
        """That of `A`, twice."""
        single = weight(self.operator)
        return None if single is None else (single, single)

    @property
    def spectral_bound(self) -> None:
        """Unknown: a bound of the spectrum of `A` does not bound the norm of `dA`."""
        return None

    @property
    def tags(self) -> frozenset[object]:
        """None."""
        return frozenset()


@like_of.register(TangentOperator)
def _(operator):
    # Block triangular with A twice on the diagonal: the spectrum is that of A.
    return like_of(operator.operator)


@resolvent.register(TangentOperator)
def _(operator: TangentOperator, task: Task) -> Solver:
    """`x1 = R b1`, `x2 = R (b2 + γ dA x1)` with the resolvent `R` of `A`; tangents of tangents nest."""
    solve = resolvent(operator.operator, task)

    def solve_pair(right: tuple[PyTree, PyTree]) -> Solved:
        value = solve(right[0])
        zero = jtu.tree_map(jnp.zeros_like, value.value)
        moved = operator.mv((value.value, zero))[1]
        change = solve(add(right[1], scale(task.shift, moved)))
        return _both((value.value, change.value), value, change)

    return solve_pair


@transposed_resolvent.register(TangentOperator)
def _(operator: TangentOperator, task: Task) -> Solver:
    """`x2 = Rᵀ b2`, `x1 = Rᵀ (b1 + γ dAᵀ x2)`."""
    solve, transpose = transposed_resolvent(operator.operator, task), operator.transpose()

    def solve_pair(right: tuple[PyTree, PyTree]) -> Solved:
        change = solve(right[1])
        zero = jtu.tree_map(jnp.zeros_like, change.value)
        moved = transpose.mv((zero, change.value))[0]
        value = solve(add(right[0], scale(task.shift, moved)))
        return _both((value.value, change.value), change, value)

    return solve_pair


def _both(value: tuple[PyTree, PyTree], first: Solved, second: Solved) -> Solved:
    # One more application: the product with dA.
    return Solved(value, first.applications + second.applications + 1, first.good & second.good)
