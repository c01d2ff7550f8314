"""A split of `A = K + σ² I` into a part whose determinant and root are known, and a rest near the identity."""

import functools as ft
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float, PyTree

from ...functions import MaternCovariance, nearest_circulant
from ...operator import AbstractOperator
from ._noisy import NoisyCovariance, WhitenedToeplitz, circulant_power


class Whitening(eqx.Module):
    """`A = P^{1/2} B P^{1/2}`, so that `log det A = log det P + log det B` and `A⁻¹ = P^{-1/2} B⁻¹ P^{-1/2}`.

    * `operator`: `B`.   * `eigenvalues`: of `P`, a circulant matrix; `None` stands for the identity.
    """

    operator: AbstractOperator
    eigenvalues: Float[Array, "..."] | None

    def root(self, vector: PyTree[Array]) -> PyTree[Array]:
        """`P^{-1/2} x`."""
        return vector if self.eigenvalues is None else circulant_power(self.eigenvalues, -0.5, vector)

    @property
    def log_determinant(self) -> Float[Array, ""]:
        """`log det P`."""
        return jnp.zeros(()) if self.eigenvalues is None else jnp.sum(jnp.log(self.eigenvalues))


@ft.singledispatch
def whiten(covariance: lx.AbstractLinearOperator, noise: Array, dtype: Any) -> Whitening:
    """The split that the covariance allows: none."""
    del dtype
    return Whitening(NoisyCovariance(covariance, noise), None)


@whiten.register(MaternCovariance)
def _(covariance, noise, dtype):
    row, noise = covariance.first_row(dtype), noise.astype(dtype)
    # Positive but for rounding: they are means of eigenvalues of a positive matrix.
    eigenvalues = jnp.maximum(nearest_circulant(row), 0.0) + noise
    return Whitening(WhitenedToeplitz(covariance.toeplitz(dtype), noise, eigenvalues), eigenvalues)
