"""An operator on what is orthogonal to a few vectors."""

import equinox as eqx
import lineax as lx
from jaxtyping import Array, Float, Inexact, PyTree

from .._custom_types import Structure, Weight
from ..krylov._operand import apply
from ..krylov._space import axpy, combine, project, scale, subtract
from ..operator import AbstractOperator, self_adjoint_tag


class ComplementOperator(AbstractOperator):
    """`sign (I - Q Q*) (A - shift) (I - Q Q*)` with an orthonormal basis `Q` of the operator's inner product."""

    operator: lx.AbstractLinearOperator
    basis: PyTree[Array]
    shift: Float[Array, ""]
    weight: Weight
    sign: int = eqx.field(static=True)

    def __init__(
        self,
        operator: lx.AbstractLinearOperator,
        basis: PyTree[Array],
        shift: Float[Array, ""],
        sign: int,
        weight: Weight,
    ):
        self.operator, self.basis, self.shift, self.sign, self.weight = operator, basis, shift, sign, weight

    def mv(self, vector: PyTree[Inexact[Array, "..."]]) -> PyTree[Inexact[Array, "..."]]:
        """One application, two projections."""
        inside = complement(self.basis, vector, self.weight)
        image = axpy(-self.shift, inside, apply(self.operator, inside))
        return scale(self.sign, complement(self.basis, image, self.weight))

    def in_structure(self) -> Structure:
        """That of `A`."""
        return self.operator.in_structure()

    def out_structure(self) -> Structure:
        """That of `A`."""
        return self.in_structure()

    @property
    def spectral_bound(self) -> None:
        """Not needed."""
        return

    @property
    def tags(self) -> frozenset[object]:
        """Self-adjoint."""
        return frozenset([self_adjoint_tag])


def complement(basis: PyTree[Array], vector: PyTree[Array], weight: Weight) -> PyTree[Array]:
    """The vector without its part in the span of an orthonormal basis; twice, for rounding."""
    for _ in range(2):
        vector = subtract(vector, combine(basis, project(basis, vector, weight)))
    return vector
