"""`K + σ² I`: the covariance of noisy data, and the same with its preconditioner on both sides."""

import lineax as lx
from jaxtyping import Array, Float, Inexact, PyTree

from ..._custom_types import Structure
from ...functions._cosine import cosine_transform, inverse_cosine_transform
from ...functions._symmetric import AbstractSymmetricOperator
from ...krylov._operand import apply
from ...krylov._space import axpy


class NoisyCovariance(AbstractSymmetricOperator):
    """`K + σ² I`."""

    covariance: lx.AbstractLinearOperator
    noise: Array

    def __init__(self, covariance: lx.AbstractLinearOperator, noise: Array):
        self.covariance, self.noise = covariance, noise

    def mv(self, vector: PyTree[Inexact[Array, "..."]]) -> PyTree[Inexact[Array, "..."]]:
        """`K x + σ² x`."""
        return axpy(self.noise, vector, apply(self.covariance, vector))

    def in_structure(self) -> Structure:
        """That of `K`."""
        return self.covariance.in_structure()


class InCosines(AbstractSymmetricOperator):
    """`Λ^{-1/2} C A Cᵀ Λ^{-1/2}` with the cosine transform `C` and a diagonal `Λ`."""

    operator: NoisyCovariance
    eigenvalues: Float[Array, "..."]

    def __init__(self, operator: NoisyCovariance, eigenvalues: Float[Array, "..."]):
        self.operator, self.eigenvalues = operator, eigenvalues

    def mv(self, vector: Float[Array, "..."]) -> Float[Array, "..."]:
        """Two cosine transforms, and a product with `A`."""
        return to_cosines(self.eigenvalues, self.operator.mv(from_cosines(self.eigenvalues, vector)))

    def in_structure(self) -> Structure:
        """Coefficients of cosines, as many as the field has nodes."""
        return self.operator.in_structure()


def to_cosines(eigenvalues: Float[Array, "..."], field: Float[Array, "..."]) -> Float[Array, "..."]:
    """`Λ^{-1/2} C x`."""
    return cosine_transform(field) * eigenvalues.astype(field.dtype) ** -0.5


def from_cosines(
    eigenvalues: Float[Array, "..."], coefficients: Float[Array, "..."], power: float = -0.5
) -> Float[Array, "..."]:
    """`Cᵀ Λ^power x`: the transpose of `to_cosines`, with a half its inverse."""
    return inverse_cosine_transform(coefficients * eigenvalues.astype(coefficients.dtype) ** power)
