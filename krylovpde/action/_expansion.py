"""Chebyshev expansions of the functions `F_l(t, ·)` on a spectral interval, to a tolerance."""

import functools
import math

import equinox as eqx
import jax.numpy as jnp
import jax.scipy.fft
import numpy as np
from jax import lax
from jaxtyping import Array, Int, Real

from ._batch import batch_max
from ._family import closed_forms, scalar_family
from ._phase import cos_sin
from ._spectrum import Spectrum

# Coefficients below this many units of rounding of the largest value are noise of the cosine transform.
_NOISE = 8.0
# Lengths of the cosine transform: the shortest that is surely enough is taken.
_LENGTHS = (512, 2048)
# Of the frequencies that the recurrence resolves, this share is taken for the slowest that data may have.
_SMOOTHEST = 1e-3


class Expansion(eqx.Module):
    """`F_(l-j)(t_i, A) ≈ Σ_k c[j, i, k] T_k(Z)`, on the imaginary axis with `iᵏ` absorbed by the recurrence.

    * `coefficients`: real, of shape `(order, times, length)`.
    * `terms`: how many are used; even.
    * `error`: an estimate of truncation and rounding, for a start of length one.
    * `scales`: the sizes of the result that were expected, for a start of length one.
    * `resolved`: whether `length` was enough.
    """

    coefficients: Real[Array, "order times length"]
    terms: Int[Array, ""]
    error: Real[Array, "order times"]
    scales: Real[Array, "order times"]
    resolved: Array

    @property
    def pairs(self) -> Int[Array, ""]:
        """Steps of the recurrence after the first two terms, two at a time."""
        return (self.terms - 2) // 2


def expand(
    order: int, level: int, times: Array, spectrum: Spectrum, rayleigh: Array, rtol: float, length: int
) -> Expansion:
    """The expansions for a start in component `level` of the state, all components and times.

    The coefficients come from a cosine transform of the function at Chebyshev's nodes; beyond what is needed they
    decay faster than exponentially. The transform is as long as an estimate of the degree asks for, at most `length`.
    `rayleigh`: `<s, A s> / <s, s>` of the start s, which tells the size of the result.
    """
    lengths = sorted({min(candidate, length) for candidate in (*_LENGTHS, length)})
    enough = _enough(order, times, spectrum, rtol)
    branch = jnp.searchsorted(jnp.asarray(lengths[:-1], enough.dtype), enough)
    branches = [functools.partial(_expand, order, level, rtol, candidate, length) for candidate in lengths]
    return lax.switch(batch_max(branch.astype(jnp.int32)), branches, times, spectrum, rayleigh)


def _enough(order: int, times: Array, spectrum: Spectrum, rtol: float) -> Array:
    """A length that the coefficients surely fit in, with room for the cosine transform's aliases."""
    digits = 8.0 - math.log(rtol)
    longest = jnp.max(jnp.abs(times))
    reach = _reach(order, longest, spectrum)
    if order == 1 and spectrum.sign == 1:
        diffusion = longest * spectrum.width
        return 1.5 * jnp.minimum(jnp.sqrt(2.0 * diffusion * (digits + jnp.log1p(diffusion))), diffusion) + 4.0 * digits
    return 1.25 * (reach + 2.0 * digits * (1.0 + jnp.cbrt(reach) / 2.0)) + 32.0


def _reach(order: int, times: Array, spectrum: Spectrum) -> Array:
    """The degree below which an oscillation over these times is not resolved."""
    if order == 2:
        return 0.5 * jnp.abs(times) * jnp.sqrt(2.0 * spectrum.width)
    return jnp.abs(times) * spectrum.width


def _expand(
    order: int, level: int, rtol: float, length: int, padded: int, times: Array, spectrum: Spectrum, rayleigh: Array
) -> Expansion:
    coefficients, largest = _transform(order, level, times, spectrum, length)
    scales = _scales(order, level, times, spectrum, rayleigh)
    size = jnp.abs(coefficients)
    eps = jnp.finfo(size.dtype).eps
    # Long phases are rounded, in single precision not (see `_phase`).
    phase = _reach(order, times, spectrum) if eps < 1e-10 else jnp.zeros_like(times)
    noise = eps * (_NOISE + phase / math.sqrt(length)) * largest
    size = jnp.where(size > noise[..., None], size, 0.0)
    # The derivative of T_k is up to k² large: the tail is weighted so that derivatives are accurate, too.
    k = jnp.arange(length, dtype=size.dtype)
    weights = jnp.maximum(1.0, k**2 / _derivative_scale(order, times, spectrum)[:, None])
    tails = jnp.flip(jnp.cumsum(jnp.flip(size * weights, axis=-1), axis=-1), axis=-1)
    needed = jnp.max(jnp.sum(tails > rtol * scales[..., None], axis=-1, dtype=jnp.int32))
    terms = batch_max(2 * ((jnp.clip(needed, 2, length) + 1) // 2))
    left = jnp.where(terms < length, jnp.take(tails, jnp.minimum(terms, length - 1), axis=-1), 0.0)
    rounding = eps * jnp.sqrt(terms.astype(size.dtype)) * scales + 2.0 * noise
    if level < order - 1:
        coefficients = _exact_at_rest(coefficients, level, terms, spectrum)
    coefficients = jnp.pad(coefficients, ((0, 0), (0, 0), (0, padded - length)))
    # For the account of errors a velocity that rests is not held to the digits of its own smallness.
    expected = jnp.maximum(scales, _SMOOTHEST * largest)
    return Expansion(coefficients, terms, left + rounding, expected, needed < length - 2)


def _exact_at_rest(coefficients: Array, level: int, terms: Array, spectrum: Spectrum) -> Array:
    """Makes members below 0 vanish at 0, where the spectrum ends there: what rests starts to move by no error.

    These members are A times others. A constant field between insulating walls has no velocity, to rounding.
    """
    used = jnp.arange(coefficients.shape[-1], dtype=jnp.int32) < terms
    residual = jnp.sum(jnp.where(used, coefficients[level + 1 :], 0.0), axis=-1)  # T_k(1) = 1
    residual = jnp.where(spectrum.upper == 0, residual, 0.0) if spectrum.sign == 1 else jnp.zeros_like(residual)
    return coefficients.at[level + 1 :, :, 0].add(-residual)


def _transform(order: int, level: int, times: Array, spectrum: Spectrum, length: int) -> tuple[Array, Array]:
    """The coefficients, and the largest value on the nodes."""
    nodes = (np.arange(length) + 0.5) * np.pi / length
    dtype = times.dtype
    lowest, highest = level - order + 1, level
    t = times[:, None]
    if spectrum.sign == 1:
        points = spectrum.points(jnp.asarray(np.sin(nodes / 2) ** 2, dtype))[None, :]
        closed = _oscillation(times, spectrum, nodes) if order == 2 else None
        values = scalar_family(order, lowest, highest, t, points, closed)
        coefficients = _cosine_series(values)
    else:
        points = 1j * (spectrum.width * jnp.asarray(np.cos(nodes), dtype)).astype(np.result_type(dtype, np.complex64))
        closed = [lax.complex(*cos_sin(times * spectrum.width, np.cos(nodes)))]
        values = scalar_family(order, lowest, highest, t, points[None, :], closed)
        real, imaginary = _cosine_series(values.real), _cosine_series(values.imag)
        # c_k i^(-k) is real: the recurrence with the other sign carries the powers of i.
        power = jnp.arange(length, dtype=jnp.int32) % 4
        coefficients = jnp.select([power == 0, power == 1, power == 2], [real, imaginary, -real], -imaginary)
    # Component j has level - j.
    return jnp.flip(coefficients, axis=0), jnp.flip(jnp.max(jnp.abs(values), axis=-1), axis=0)


def _oscillation(times: Array, spectrum: Spectrum, nodes: np.ndarray) -> list[Array]:
    """`cos(ωt)` and `sinc(ωt)` at the nodes: where the spectrum ends at zero, from phases without rounding."""
    sines = np.sin(nodes / 2)
    radians = times * jnp.sqrt(jnp.maximum(-spectrum.lower, 0.0))
    cosine, sine = cos_sin(radians, sines)
    phase = radians[:, None] * jnp.asarray(sines, times.dtype)
    tiny = jnp.abs(phase) < 1e-3
    sinc = jnp.where(tiny, 1.0 - phase**2 / 6.0, sine / jnp.where(tiny, 1.0, phase))
    points = spectrum.points(jnp.asarray(sines**2, times.dtype))
    general = closed_forms(2, points[None, :] * times[:, None] ** 2)
    simple = (spectrum.upper == 0) & (spectrum.lower <= 0)
    return [jnp.where(simple, own, other) for own, other in zip((cosine, sinc), general, strict=True)]


def _cosine_series(values: Array) -> Array:
    length = values.shape[-1]
    coefficients = jax.scipy.fft.dct(values, type=2, axis=-1) / length
    return coefficients.at[..., 0].multiply(0.5)


def _scales(order: int, level: int, times: Array, spectrum: Spectrum, rayleigh: Array) -> Array:
    """The size of the result that a tolerance refers to, for a start of length one: `(order, times)`.

    Component `level` of the result is compared with the start itself (with its growth, by Jensen's inequality at least
    that of the Rayleigh quotient); the others with the smallest that data on the grid would give.
    """
    t = jnp.abs(times)
    rayleigh = jnp.where(jnp.isfinite(rayleigh), rayleigh, 0.0)
    grown = jnp.maximum(rayleigh * (times if order == 1 else t), 0.0)
    if order == 2:
        grown = t * jnp.sqrt(jnp.maximum(rayleigh, 0.0))
    limit = 0.9 * math.log(float(jnp.finfo(times.dtype).max))
    own = jnp.exp(jnp.minimum(grown, limit)) * (1.0 if order == 1 else 0.5) + (0.0 if order == 1 else 0.5)
    fastest = spectrum.radius ** (1.0 / order)
    shortest = jnp.minimum(t, 1.0 / jnp.where(fastest > 0, fastest, 1.0))
    slowest = jnp.maximum(jnp.abs(rayleigh) ** (1.0 / order), _SMOOTHEST * fastest)
    rows = []
    for component in range(order):
        member = level - component
        if member == 0:
            rows.append(own)
        elif member > 0:
            rows.append(shortest**member / math.factorial(member))
        else:
            rows.append(slowest * jnp.minimum(1.0, t * slowest))
    tiny = jnp.finfo(times.dtype).tiny
    return jnp.maximum(jnp.stack(rows), tiny)


def _derivative_scale(order: int, times: Array, spectrum: Spectrum) -> Array:
    """`‖d F‖ / ‖dZ‖` for data of any smoothness: t dA, or t / (2ω) dA for waves."""
    fastest = jnp.where(spectrum.radius > 0, jnp.sqrt(spectrum.radius), 1.0)
    scale = jnp.abs(times) * spectrum.width
    return jnp.maximum(scale if order == 1 else 0.5 * scale / fastest, 1.0)
