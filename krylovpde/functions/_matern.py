"""Whittle's and Matérn's random fields: solutions of a fractional equation with white noise."""

import math

import numpy as np
from jaxtyping import Float


def matern_decay(smoothness: float) -> float:
    """`κ ρ = sqrt(8 ν)`: at the distance `ρ` the correlation is 0.14, whatever the smoothness."""
    return math.sqrt(8 * smoothness)


def matern_scale(smoothness: float, dimension: int) -> float:
    r"""The factor of the spectrum `(κ² + |k|²)^{-(ν + d/2)}` that makes the variance 1, with lengths in units of ρ.

    $\Gamma(\nu + d/2)\, (4\pi)^{d/2} \kappa^{2\nu} / \Gamma(\nu)$ (Lindgren, Rue, Lindström 2011).
    """
    decay = matern_decay(smoothness)
    gammas = math.gamma(smoothness + dimension / 2) / math.gamma(smoothness)
    return gammas * (4 * math.pi) ** (dimension / 2) * decay ** (2 * smoothness)


def matern_spectrum(
    eigenvalues: Float[np.ndarray, "..."], smoothness: float, dimension: int
) -> Float[np.ndarray, "..."]:
    """The variances of the modes of a field of variance 1, from the eigenvalues of `-Σ_i ρ_i² ∂²/∂x_i²`.

    For modes normalised in the coordinates `x_i / ρ_i`: multiply by the product of the `ρ_i` for those in `x`.
    """
    decay = matern_decay(smoothness)
    return matern_scale(smoothness, dimension) * (decay**2 + eigenvalues) ** -(smoothness + dimension / 2)
