"""`K + σ² I`: the covariance of noisy data, and the same with its preconditioner on both sides."""

import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float, Inexact, PyTree

from ..._custom_types import Structure
from ...functions import ToeplitzOperator
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


class WhitenedToeplitz(AbstractSymmetricOperator):
    """`P^{-1/2} (K + σ² I) P^{-1/2}` with a Toeplitz matrix `K` and a circulant matrix `P`."""

    toeplitz: ToeplitzOperator
    noise: Array
    eigenvalues: Float[Array, "..."]

    def __init__(self, toeplitz: ToeplitzOperator, noise: Array, eigenvalues: Float[Array, "..."]):
        self.toeplitz, self.noise, self.eigenvalues = toeplitz, noise, eigenvalues

    def mv(self, vector: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
        """Three products with Fourier transforms."""
        half = circulant_power(self.eigenvalues, -0.5, vector)
        return circulant_power(self.eigenvalues, -0.5, axpy(self.noise, half, self.toeplitz.mv(half)))

    def in_structure(self) -> Structure:
        """That of `K`."""
        return self.toeplitz.in_structure()


def circulant_power(eigenvalues: Float[Array, "..."], power: float, vector: Float[Array, "..."]) -> Float[Array, "..."]:
    """`P^power x` for a symmetric circulant matrix, of which the eigenvalues are told."""
    image = jnp.fft.rfftn(vector)
    half = eigenvalues[..., : eigenvalues.shape[-1] // 2 + 1].astype(vector.dtype) ** power
    return jnp.fft.irfftn(image * half.astype(image.dtype), vector.shape)
