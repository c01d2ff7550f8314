"""Faber expansions of `exp` and the φ-functions on an ellipse, to a tolerance.

The map `ψ(w) = x₀ + a₁ w + a₂ / w` takes the outside of the unit circle to that of the ellipse with the semi-axes
`a₁ ± a₂`. In `f(A) = Σ c_k F_k(A)` the `c_k` are the Laurent coefficients of `f ∘ ψ` on the circle: one Fourier
transform. For a numerical range inside the ellipse `‖F_k(A)‖ ≤ 2` (Beckermann 2005), so that the tail of the `|c_k|`
bounds the error. Those of `exp(tA)` have their maximum near `k = t b` with the width `sqrt(t a)`, `a` and `b` the
semi-axes: what flows is carried over `t b` cells, and no polynomial of a lower degree reaches that far.
"""

import functools
import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Int, Real

from ..equation import Pieces
from ..operator import Ellipse
from ._batch import batch_max, for_all_times
from ._driven import driven_transpose, driven_values
from ._excitation import Forced, Released
from ._family import scalar_family
from ._keep import whole_blocks
from ._phase import cos_sin, in_two_floats

# Coefficients below this many units of rounding of the largest value are noise of the Fourier transform.
NOISE = 8.0
# Numbers of coefficients: the smallest that is surely enough is taken. Each is a program of its own, so they are few; a
# walk through a signal is a long one, and goes over as many points for every panel.
_LENGTHS = {"released": (512, 2048), "forced": (1024, 4096)}


class FaberSeries(eqx.Module):
    """`f_i(A) ≈ Σ_k c[0, i, k] F̃_k(A)` with `F̃_0 = 2 F_0`, for the functions of one start at all times.

    * `coefficients`: real; zero past the terms in use.   * `terms`: how many are used; even.
    * `error`: an estimate of truncation and rounding, for a start of length one.
    * `scales`: the sizes of the result that were expected, for a start of length one.
    * `resolved`: whether the length was enough.
    """

    coefficients: Real[Array, "1 times length"]
    terms: Int[Array, ""]
    error: Real[Array, " times"]
    scales: Real[Array, " times"]
    resolved: Array

    @property
    def pairs(self) -> Int[Array, ""]:
        """The terms, two at a time."""
        return self.terms // 2


def expand_on_ellipse(
    excitation: Released | Forced, times: Array, ellipse: Ellipse, rtol: float, length: int
) -> FaberSeries:
    """The series of what a start becomes, `F_l(t, ·)` or the response to a signal; `length` coefficients at most."""
    lengths, branch = _transform_lengths(isinstance(excitation, Forced), times, ellipse, rtol, length)
    branches = [functools.partial(_expand, excitation, rtol, candidate, length) for candidate in lengths]
    return lax.switch(branch, branches, times, ellipse)


def pull_signal_on_ellipse(
    signal: Pieces, times: Array, ellipse: Ellipse, cotangent: Real[Array, "1 times length"], rtol: float, length: int
) -> Real[Array, "panels terms"]:
    """The cotangent of a signal from one of the coefficients of its series (the transpose of `expand_on_ellipse`)."""
    lengths, branch = _transform_lengths(True, times, ellipse, rtol, length)
    branches = [functools.partial(_pull_signal, candidate) for candidate in lengths]
    return lax.switch(branch, branches, signal, times, ellipse, cotangent[0])


def _pull_signal(length: int, signal: Pieces, times: Array, ellipse: Ellipse, cotangent: Array) -> Array:
    circle = _Circle(ellipse, length)

    def at_time(operands: tuple[Array, Array]) -> Array:
        like = jax.ShapeDtypeStruct(circle.points.shape, circle.points.dtype)
        return jax.linear_transpose(_series, like)(operands[1])[0]

    values = for_all_times(at_time, (times, cotangent[:, :length]))
    return driven_transpose(1, signal, times, circle.points, values[None], circle.exponential)


def _transform_lengths(
    driven: bool, times: Array, ellipse: Ellipse, rtol: float, length: int
) -> tuple[list[int], Int[Array, ""]]:
    shorter = _LENGTHS["forced" if driven else "released"]
    lengths = sorted({min(candidate, length) for candidate in (*shorter, length)})
    branch = jnp.searchsorted(jnp.asarray(lengths[:-1], times.dtype), _enough(times, ellipse, rtol))
    return lengths, batch_max(branch.astype(jnp.int32))


def _enough(times: Array, ellipse: Ellipse, rtol: float) -> Array:
    """A number of terms that is surely enough: mean, width and tail of the coefficients."""
    longest = jnp.max(jnp.abs(times))
    ends = (ellipse.centre + ellipse.real, ellipse.centre - ellipse.real)
    growth = functools.reduce(jnp.maximum, [jnp.max(times * end) for end in ends])
    digits = 8.0 - math.log(rtol) + jnp.maximum(growth, 0.0) + jnp.log1p(longest * ellipse.real)
    mean, variance = longest * ellipse.imaginary, longest * ellipse.real
    return 1.05 * mean + jnp.sqrt(2.0 * variance * digits) + digits * (1.0 + jnp.cbrt(mean) / 2.0) + 16.0


class _Circle(eqx.Module):
    """The images of equidistant points on the upper half of the circle; the lower one is its mirror image.

    Coefficients of negative index, which would fold back, decay like those of positive index times `(a₂/a₁)ᵏ`: twice
    as many points as coefficients keep them apart.
    """

    ellipse: Ellipse
    length: int = eqx.field(static=True)

    @property
    def points(self) -> Complex[Array, " points"]:
        return lax.complex(self.real, self.ellipse.imaginary * jnp.asarray(np.sin(self.angles), self.real.dtype))

    @property
    def real(self) -> Array:
        """From the right end, so that what is far to the left is small to its own rounding."""
        half = jnp.asarray(np.sin(self.angles / 2) ** 2, self.ellipse.real.dtype)
        return (self.ellipse.centre + self.ellipse.real) - 2.0 * self.ellipse.real * half

    @property
    def angles(self) -> np.ndarray:
        return np.linspace(0.0, np.pi, self.length + 1)

    def exponential(self, t: Array) -> list[Array]:
        """`exp(tz)`, its phase without rounding in single precision."""
        radians, rest = in_two_floats(t, self.ellipse.imaginary)
        cosine, sine = cos_sin(radians[None], np.sin(self.angles), rest[None])
        decay = jnp.exp(t * self.real)
        return [lax.complex(decay * cosine[0], decay * sine[0])]


class _Row(NamedTuple):
    """For one time: coefficients, their weighted sizes, how many are needed, noise, and sizes of the result."""

    coefficients: Array
    weighted: Array
    needed: Array
    noise: Array
    scale: Array
    expected: Array


def _expand(
    excitation: Released | Forced, rtol: float, length: int, padded: int, times: Array, ellipse: Ellipse
) -> FaberSeries:
    circle = _Circle(ellipse, length)
    points = circle.points
    operands = [times]
    if isinstance(excitation, Forced):
        # The responses to a signal come from one walk through all times.
        operands += [driven_values(1, excitation.signal, times, points, circle.exponential)[0]]

    def at_time(operands: list[Array]) -> _Row:
        t, *response = operands
        if isinstance(excitation, Forced):
            values = response[0]
        else:
            values = scalar_family(1, excitation.level, excitation.level, t, points, circle.exponential(t))[0]
        return _row(excitation, t, ellipse, rtol, _series(values), jnp.max(jnp.abs(values)))

    rows = for_all_times(at_time, operands)
    needed = jnp.max(rows.needed)
    terms = batch_max(2 * ((jnp.clip(needed, 2, length) + 1) // 2))
    beyond = jnp.arange(length, dtype=jnp.int32) >= terms
    left = jnp.sum(jnp.where(beyond, rows.weighted, 0.0), axis=-1)
    eps = jnp.finfo(left.dtype).eps
    rounding = eps * jnp.sqrt(terms.astype(left.dtype)) * rows.scale + 2.0 * rows.noise
    coefficients = jnp.where(beyond, 0.0, rows.coefficients)
    coefficients = jnp.pad(coefficients, ((0, 0), (0, whole_blocks(padded) - length)))
    return FaberSeries(coefficients[None], terms, left + rounding, rows.expected, needed < length - 2)


def _row(
    excitation: Released | Forced,
    t: Array,
    ellipse: Ellipse,
    rtol: float,
    coefficients: Array,
    largest: Array,
) -> _Row:
    length = coefficients.size
    eps = jnp.finfo(coefficients.dtype).eps
    scale = jnp.maximum(_size(excitation, t, ellipse, largest), jnp.finfo(t.dtype).tiny)
    # Long phases are rounded, in single precision not (see `_phase`).
    phase = jnp.abs(t) * ellipse.imaginary if eps < 1e-10 else jnp.zeros_like(t)
    noise = eps * (NOISE + math.sqrt(excitation.steps) + phase / math.sqrt(length)) * largest
    size = jnp.abs(coefficients)
    weighted = jnp.where(size > noise, size, 0.0) * _derivative_weights(t, ellipse, length)
    tails = jnp.flip(jnp.cumsum(jnp.flip(weighted)))
    needed = jnp.sum(tails > rtol * scale, dtype=jnp.int32)
    return _Row(coefficients, weighted, needed, noise, scale, jnp.maximum(scale, excitation.faintest * largest))


def _series(values: Array) -> Real[Array, " length"]:
    """Coefficients from the values on the upper half of the circle; half the first one, which belongs to `2 F_0`."""
    length = values.size - 1
    coefficients = jnp.fft.irfft(jnp.conj(values), 2 * length)[:length]
    return coefficients.at[0].multiply(0.5)


def _size(excitation: Released | Forced, t: Array, ellipse: Ellipse, largest: Array) -> Array:
    """The size of the result that a tolerance refers to.

    That of the start; of constant sources the least that a grid has; of signals a share of the largest response.
    """
    if isinstance(excitation, Forced):
        return excitation.size(largest)
    fastest = jnp.abs(ellipse.centre) + ellipse.real + ellipse.imaginary
    shortest = jnp.minimum(jnp.abs(t), 1.0 / jnp.where(fastest > 0, fastest, 1.0))
    return shortest**excitation.level / math.factorial(excitation.level)


def _derivative_weights(t: Array, ellipse: Ellipse, length: int) -> Array:
    """How much larger `dF_k` is than `t dA`, the natural size of a derivative.

    A change `ε` of the operator moves its numerical range out by `ε`, `|w|` there to `1 + ε/|ψ'|`, and `F_k` grows like
    `|w|ᵏ`: with `|ψ'|` at least the shorter semi-axis, or `|w| - 1` about `sqrt(ε/a)` at the ends of a flat ellipse.
    """
    k = jnp.arange(length, dtype=t.dtype)
    t = jnp.abs(t)
    longer = jnp.maximum(ellipse.real, ellipse.imaginary)
    shorter = jnp.minimum(ellipse.real, ellipse.imaginary)
    return jnp.maximum(1.0, jnp.minimum(k**2 / jnp.maximum(t * longer, 1.0), k / jnp.maximum(t * shorter, 1.0)))
