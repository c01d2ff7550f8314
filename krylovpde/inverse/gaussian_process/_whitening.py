"""A split of `A = K + σ² I` into a part whose determinant and root are known, and a rest near the identity."""

import functools as ft
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float, PyTree

from ...functions import MaternCovariance, RBFCovariance
from ...functions._cosine import cosine_diagonal, nearest_cosine_diagonal
from ...operator import AbstractOperator
from ._noisy import InCosines, NoisyCovariance, from_cosines, to_cosines


class Whitening(eqx.Module):
    """`B = Wᵀ A W` with `W = Cᵀ Λ^{-1/2}`, so that `log det A = log det Λ + log det B` and `A⁻¹ = W B⁻¹ Wᵀ`.

    * `operator`: `B`.   * `eigenvalues`: `Λ`, those of a matrix near `A` that the cosine transform `C` makes diagonal;
    `None` stands for `W = I`.
    """

    operator: AbstractOperator
    eigenvalues: Float[Array, "..."] | None

    def analyse(self, vector: PyTree[Array]) -> PyTree[Array]:
        """`Wᵀ x`."""
        return vector if self.eigenvalues is None else to_cosines(self.eigenvalues, vector)

    def synthesise(self, vector: PyTree[Array]) -> PyTree[Array]:
        """`W x`."""
        return vector if self.eigenvalues is None else from_cosines(self.eigenvalues, vector)

    def colour(self, vector: PyTree[Array]) -> PyTree[Array]:
        """`W^{-ᵀ} x`: with `B^{1/2} z` for `x` it has the covariance `A` for white noise `z`."""
        return vector if self.eigenvalues is None else from_cosines(self.eigenvalues, vector, 0.5)

    @property
    def log_determinant(self) -> Float[Array, ""]:
        """`log det Λ`."""
        return jnp.zeros(()) if self.eigenvalues is None else jnp.sum(jnp.log(self.eigenvalues))


@ft.singledispatch
def whiten(covariance: lx.AbstractLinearOperator, noise: Array, dtype: Any) -> Whitening:
    """The split that the covariance allows: none."""
    del dtype
    return Whitening(NoisyCovariance(covariance, noise), None)


@whiten.register(MaternCovariance)
def _(covariance, noise, dtype):
    return _in_cosines(
        covariance.toeplitz(dtype), noise.astype(dtype), nearest_cosine_diagonal(covariance.first_row(dtype))
    )


@whiten.register(RBFCovariance)
def _(covariance, noise, dtype):
    diagonal = covariance.variance.astype(dtype)
    for matrix in covariance.axis_matrices(dtype):
        diagonal = diagonal[..., None] * cosine_diagonal(matrix)
    return _in_cosines(covariance, noise.astype(dtype), diagonal)


def _in_cosines(covariance: lx.AbstractLinearOperator, noise: Array, diagonal: Float[Array, "..."]) -> Whitening:
    # Positive but for rounding: they are means of eigenvalues of a positive matrix.
    number = jnp.finfo(diagonal.dtype)
    eigenvalues = jnp.maximum(diagonal, jnp.maximum(number.eps * jnp.max(diagonal), number.tiny)) + noise
    return Whitening(InCosines(NoisyCovariance(covariance, noise), eigenvalues), eigenvalues)
