"""A function of the Laplacian as a Chebyshev series: for grids whose eigenvectors are not products."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..grid import AbstractGrid, Neumann, resolve_boundary
from ..operator import FluxOperator, flux_operator

_TOLERANCE, _FIRST_DEGREE, _MAX_DEGREE = 1e-12, 16, 8192


def chebyshev_sum(
    grid: AbstractGrid,
    lengths: tuple[float, ...],
    function: Callable[[np.ndarray], np.ndarray],
    u: Float[Array, "..."],
) -> Float[Array, "..."]:
    """`f(A) u` for `A = -Σ_i ℓ_i² ∂²/∂x_i²`: `Σ_k c_k T_k(2A/b - 1) u` on the interval `[0, b]` of its spectrum.

    The polynomial is the same for every `u`: the result is linear, and self-adjoint in the cell volumes to rounding.
    """
    with jax.ensure_compile_time_eval():
        operator = _anisotropic_laplacian(grid, lengths, u.dtype)
        bound = float(operator.spectral_bound)
    if bound == 0.0:
        return jnp.asarray(function(np.zeros(())), u.dtype) * u
    coefficients = jnp.asarray(_coefficients(function, bound), u.dtype)

    def shifted(v: Array) -> Array:
        return -(2.0 / bound) * operator.mv(v) - v

    def step(carry: tuple[Array, Array, Array], coefficient: Array) -> tuple[tuple[Array, Array, Array], None]:
        before, last, total = carry
        following = 2.0 * shifted(last) - before
        return (last, following, total + coefficient * following), None

    first = shifted(u)
    start = (u, first, coefficients[0] * u + coefficients[1] * first)
    return jax.lax.scan(step, start, coefficients[2:])[0][2]


def _anisotropic_laplacian(grid: AbstractGrid, lengths: tuple[float, ...], dtype: np.dtype) -> FluxOperator:
    conditions = resolve_boundary(None, grid, (Neumann,), "LaplacianFunctions")
    return flux_operator(grid, tuple(np.asarray(length**2, dtype) for length in lengths), conditions)


def _coefficients(function: Callable[[np.ndarray], np.ndarray], bound: float) -> np.ndarray:
    """Chebyshev coefficients on `[0, bound]`, as many as the tolerance takes."""
    degree = _FIRST_DEGREE
    while degree <= _MAX_DEGREE:
        angles = np.pi * (np.arange(degree) + 0.5) / degree
        samples = function(bound * (np.cos(angles) + 1) / 2)
        # A cosine transform, as the real part of a Fourier transform of the samples and their mirror image.
        spectrum = np.fft.fft(np.concatenate([samples, samples[::-1]]))[:degree]
        coefficients = np.real(spectrum * np.exp(-0.5j * np.pi * np.arange(degree) / degree)) / degree
        coefficients[0] /= 2
        large = np.flatnonzero(np.abs(coefficients) > 0.1 * _TOLERANCE * np.max(np.abs(samples)))
        if large.size and large[-1] < degree // 2:
            return coefficients[: max(large[-1] + 1, 2)]
        degree *= 2
    message = (
        "LaplacianFunctions: on a grid with a mask or a very long axis this function would need a Chebyshev series of "
        f"more than {_MAX_DEGREE // 2} terms on [0, {bound:.3g}]. Take a shorter length, or another grid."
    )
    raise ValueError(message)
