"""The operator whose functions hold the tangents of functions of an operator."""

from typing import Any

import equinox as eqx
import jax
import lineax as lx
from jaxtyping import Array, Inexact, PyTree

from .._custom_types import Weight
from ..action import like_of
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
