"""Faber expansions of `exp` and the φ-functions on an ellipse, to a tolerance.

The map `ψ(w) = x₀ + a₁ w + a₂ / w` takes the outside of the unit circle to that of the ellipse with the semi-axes
`a₁ ± a₂`. In `f(A) = Σ c_k F_k(A)` the `c_k` are the Laurent coefficients of `f ∘ ψ` on the circle: one Fourier
transform. For a numerical range inside the ellipse `‖F_k(A)‖ ≤ 2` (Beckermann 2005), so that the tail of the `|c_k|`
bounds the error. Those of `exp(tA)` have their maximum near `k = t b` with the width `sqrt(t a)`, `a` and `b` the
semi-axes: what flows is carried over `t b` cells, and no polynomial of a lower degree reaches that far.
"""

import functools
import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int, Real

from ..operator import Ellipse
from ._batch import batch_max
from ._family import scalar_family
from ._phase import cos_sin

# Coefficients below this many units of rounding of the largest value are noise of the Fourier transform.
NOISE = 8.0
# Numbers of coefficients: the smallest that is surely enough is taken.
_LENGTHS = (512, 2048)
# Of the rates that the operator has, this share is taken for the slowest that data may have.
_SMOOTHEST = 1e-3


class FaberSeries(eqx.Module):
    """`F_l(t_i, A) ≈ Σ_k c[i, k] F_k(A)`.

    * `coefficients`: real.   * `terms`: how many are used; even.
    * `error`: an estimate of truncation and rounding, for a start of length one.
    * `scales`: the sizes of the result that were expected, for a start of length one.
    * `resolved`: whether the length was enough.
    """

    coefficients: Real[Array, "times length"]
    terms: Int[Array, ""]
    error: Real[Array, " times"]
    scales: Real[Array, " times"]
    resolved: Array

    @property
    def pairs(self) -> Int[Array, ""]:
        """The terms, two at a time."""
        return self.terms // 2


def expand_on_ellipse(level: int, times: Array, ellipse: Ellipse, rtol: float, length: int) -> FaberSeries:
    """The series of `F_l(t, ·)`, `l = level`, for all times; `length` coefficients at most."""
    lengths = sorted({min(candidate, length) for candidate in (*_LENGTHS, length)})
    branch = jnp.searchsorted(jnp.asarray(lengths[:-1], times.dtype), _enough(times, ellipse, rtol))
    branches = [functools.partial(_expand, level, rtol, candidate, length) for candidate in lengths]
    return lax.switch(batch_max(branch.astype(jnp.int32)), branches, times, ellipse)


def _enough(times: Array, ellipse: Ellipse, rtol: float) -> Array:
    """A number of terms that is surely enough: mean, width and tail of the coefficients."""
    longest = jnp.max(jnp.abs(times))
    ends = (ellipse.centre + ellipse.real, ellipse.centre - ellipse.real)
    growth = functools.reduce(jnp.maximum, [jnp.max(times * end) for end in ends])
    digits = 8.0 - math.log(rtol) + jnp.maximum(growth, 0.0) + jnp.log1p(longest * ellipse.real)
    mean, variance = longest * ellipse.imaginary, longest * ellipse.real
    return 1.05 * mean + jnp.sqrt(2.0 * variance * digits) + digits * (1.0 + jnp.cbrt(mean) / 2.0) + 16.0


def _expand(level: int, rtol: float, length: int, padded: int, times: Array, ellipse: Ellipse) -> FaberSeries:
    coefficients, largest = _transform(level, times, ellipse, length)
    scales = _scales(level, times, ellipse)
    size = jnp.abs(coefficients)
    eps = jnp.finfo(size.dtype).eps
    # Long phases are rounded, in single precision not (see `_phase`).
    phase = jnp.abs(times) * ellipse.imaginary if eps < 1e-10 else jnp.zeros_like(times)
    noise = eps * (NOISE + phase / math.sqrt(length)) * largest
    size = jnp.where(size > noise[:, None], size, 0.0)
    weighted = size * _derivative_weights(times, ellipse, length)
    tails = jnp.flip(jnp.cumsum(jnp.flip(weighted, axis=-1), axis=-1), axis=-1)
    needed = jnp.max(jnp.sum(tails > rtol * scales[:, None], axis=-1, dtype=jnp.int32))
    terms = batch_max(2 * ((jnp.clip(needed, 2, length) + 1) // 2))
    left = jnp.where(terms < length, jnp.take(tails, jnp.minimum(terms, length - 1), axis=-1), 0.0)
    rounding = eps * jnp.sqrt(terms.astype(size.dtype)) * scales + 2.0 * noise
    coefficients = jnp.pad(coefficients, ((0, 0), (0, padded - length)))
    expected = jnp.maximum(scales, _SMOOTHEST * largest)
    return FaberSeries(coefficients, terms, left + rounding, expected, needed < length - 2)


def _transform(level: int, times: Array, ellipse: Ellipse, length: int) -> tuple[Array, Array]:
    """The coefficients, and the largest value on the ellipse.

    On the upper half of the circle, the lower one is its mirror image. Coefficients of negative index, which would fold
    back, decay like those of positive index times `(a₂/a₁)ᵏ`: twice as many nodes as coefficients keep them apart.
    """
    angles = np.linspace(0.0, np.pi, length + 1)
    t = times[:, None]
    half = jnp.asarray(np.sin(angles / 2) ** 2, times.dtype)
    # From the right end, so that what is far to the left is small to its own rounding.
    real = (ellipse.centre + ellipse.real) - 2.0 * ellipse.real * half[None, :]
    cosine, sine = cos_sin(times * ellipse.imaginary, np.sin(angles))
    decay = jnp.exp(t * real)
    height = ellipse.imaginary * jnp.asarray(np.sin(angles), times.dtype)
    points = lax.complex(real, height[None, :])
    values = scalar_family(1, level, level, t, points, [lax.complex(decay * cosine, decay * sine)])[0]
    coefficients = jnp.fft.irfft(jnp.conj(values), 2 * length, axis=-1)[:, :length]
    return coefficients, jnp.max(jnp.abs(values), axis=-1)


def _scales(level: int, times: Array, ellipse: Ellipse) -> Array:
    """The size of the result that a tolerance refers to: that of the start; of sources the least that a grid has."""
    fastest = jnp.abs(ellipse.centre) + ellipse.real + ellipse.imaginary
    shortest = jnp.minimum(jnp.abs(times), 1.0 / jnp.where(fastest > 0, fastest, 1.0))
    return jnp.maximum(shortest**level / math.factorial(level), jnp.finfo(times.dtype).tiny)


def _derivative_weights(times: Array, ellipse: Ellipse, length: int) -> Array:
    """How much larger `dF_k` is than `t dA`, the natural size of a derivative.

    A change `ε` of the operator moves its numerical range out by `ε`, `|w|` there to `1 + ε/|ψ'|`, and `F_k` grows like
    `|w|ᵏ`: with `|ψ'|` at least the shorter semi-axis, or `|w| - 1` about `sqrt(ε/a)` at the ends of a flat ellipse.
    """
    k = jnp.arange(length, dtype=times.dtype)
    t = jnp.abs(times)[:, None]
    longer = jnp.maximum(ellipse.real, ellipse.imaginary)
    shorter = jnp.minimum(ellipse.real, ellipse.imaginary)
    return jnp.maximum(1.0, jnp.minimum(k**2 / jnp.maximum(t * longer, 1.0), k / jnp.maximum(t * shorter, 1.0)))
