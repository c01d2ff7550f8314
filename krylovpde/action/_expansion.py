"""Chebyshev expansions of the functions `F_l(t, ·)` on a spectral interval, to a tolerance."""

import functools
import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.fft
import jax.tree_util as jtu
import numpy as np
from jax import lax
from jaxtyping import Array, Inexact, Int, Real

from ..equation import Pieces
from ._batch import batch_max, for_all_times
from ._driven import Known, driven_transpose, driven_values
from ._excitation import Forced, Released, closed_members
from ._family import scalar_family
from ._keep import whole_blocks
from ._spectrum import Spectrum

# Coefficients below this many units of rounding of the largest value are noise of the cosine transform.
_NOISE = 8.0
# Lengths of the cosine transform: the shortest that is surely enough is taken. Each is a program of its own, so they
# are few; a walk through a signal goes over as many nodes, so there one more pays.
_LENGTHS = {"released": (1024,), "forced": (1024, 4096)}
# Powers of 1/i.
_POWERS = np.array([1.0, -1.0j, -1.0, 1.0j])


class Expansion(eqx.Module):
    """`F_(l-j)(t_i, A) ≈ Σ_k c[j, i, k] T_k(Z)`, on the imaginary axis with `iᵏ` absorbed by the recurrence.

    Those of all starts are one table, with the starts on a leading axis of every array.

    * `coefficients`: of shape `(components, times, length)`; zero past the terms in use. Real, but for an interval of
        the imaginary axis that is not symmetric: `exp(tA) = exp(itc) exp(t(A - ic))` turns them.
    * `terms`: how many are used; even.
    * `error`: an estimate of truncation and rounding, for a start of length one.
    * `scales`: the sizes of the result that were expected, for a start of length one.
    * `resolved`: whether `length` was enough.
    """

    coefficients: Inexact[Array, "*starts components times length"]
    terms: Int[Array, "*starts"]
    error: Real[Array, "*starts components times"]
    scales: Real[Array, "*starts components times"]
    resolved: Array

    @property
    def pairs(self) -> Int[Array, "*starts"]:
        """Steps of the recurrence after the first two terms, two at a time."""
        return (self.terms - 2) // 2


def expand(
    order: int,
    excitations: tuple[Released | Forced, ...],
    components: tuple[int, ...],
    times: Array,
    spectrum: Spectrum,
    rayleighs: list[Array],
    rtol: float,
    length: int,
) -> Expansion:
    """The expansions of every start: some components of the state, all times.

    The coefficients come from a cosine transform of the function at Chebyshev's nodes; beyond what is needed they
    decay faster than exponentially. The transform is as long as an estimate of the degree asks for, at most `length`.
    `rayleighs`: `<s, A s> / <s, s>` of each start s, which tells the size of the result.
    """
    driven = any(isinstance(excitation, Forced) for excitation in excitations)
    lengths, branch = _transform_lengths(order, driven, times, spectrum, rtol, length)
    branches = [
        functools.partial(_expand, order, excitations, components, rtol, candidate, length) for candidate in lengths
    ]
    return lax.switch(branch, branches, times, spectrum, rayleighs)


def pull_signal(
    order: int,
    components: tuple[int, ...],
    signal: Pieces,
    times: Array,
    spectrum: Spectrum,
    cotangent: Array,
    rtol: float,
    length: int,
) -> Real[Array, "panels terms"]:
    """The cotangent of a signal from one of the coefficients of its expansion (the transpose of `expand`)."""
    whole = jnp.zeros((order, *cotangent.shape[1:]), cotangent.dtype)
    cotangent = whole.at[np.array(components)].set(cotangent)
    lengths, branch = _transform_lengths(order, True, times, spectrum, rtol, length)
    branches = [functools.partial(_pull_signal, order, candidate) for candidate in lengths]
    return lax.switch(branch, branches, signal, times, spectrum, cotangent)


def _pull_signal(order: int, length: int, signal: Pieces, times: Array, spectrum: Spectrum, cotangent: Array) -> Array:
    nodes = _nodes(length)
    points = spectrum.at_angles(nodes)
    like = jax.ShapeDtypeStruct((order, times.size, length), points.dtype)
    (values,) = jax.linear_transpose(functools.partial(_series, spectrum), like)(cotangent[..., :length])
    return driven_transpose(order, signal, times, points, values, _known(order, spectrum, nodes))


def _known(order: int, spectrum: Spectrum, nodes: np.ndarray) -> Known:
    return lambda length: closed_members(order, length, spectrum, nodes)


def _transform_lengths(
    order: int, driven: bool, times: Array, spectrum: Spectrum, rtol: float, length: int
) -> tuple[list[int], Int[Array, ""]]:
    shorter = _LENGTHS["forced" if driven else "released"]
    lengths = sorted({min(candidate, length) for candidate in (*shorter, length)})
    enough = _enough(order, times, spectrum, rtol)
    branch = jnp.searchsorted(jnp.asarray(lengths[:-1], enough.dtype), enough)
    return lengths, batch_max(branch.astype(jnp.int32))


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
    order: int,
    excitations: tuple[Released | Forced, ...],
    components: tuple[int, ...],
    rtol: float,
    length: int,
    padded: int,
    times: Array,
    spectrum: Spectrum,
    rayleighs: list[Array],
) -> Expansion:
    chosen, nodes = np.array(components), _nodes(length)
    points = spectrum.at_angles(nodes)
    # The responses to signals come from one walk through all times each.
    forced = [
        jnp.swapaxes(driven_values(order, excitation.signal, times, points, _known(order, spectrum, nodes)), 0, 1)
        for excitation in excitations
        if isinstance(excitation, Forced)
    ]

    def at_time(operands: tuple[Array, list[Array]]) -> _Rows:
        t, responses = operands
        values, places = _values(order, excitations, chosen, t, spectrum, nodes, responses)
        coefficients, largest = _series(spectrum, values), jnp.max(jnp.abs(values), axis=-1)
        return _rows(order, chosen, t, spectrum, excitations, rayleighs, rtol, coefficients[places], largest[places])

    rows = for_all_times(at_time, (times, forced))
    # Starts, components, times.
    rows = jtu.tree_map(lambda leaf: jnp.moveaxis(leaf, 0, 2), rows)
    return _conclude(excitations, chosen, rows, length, padded, spectrum)


def _values(
    order: int,
    excitations: tuple[Released | Forced, ...],
    chosen: np.ndarray,
    t: Array,
    spectrum: Spectrum,
    nodes: np.ndarray,
    responses: list[Array],
) -> tuple[Array, np.ndarray]:
    """The functions of all starts at one time, each one once; and the places of each start's components."""
    levels = [excitation.level for excitation in excitations if isinstance(excitation, Released)]
    lowest, highest = min(levels) - int(chosen.max()), max(levels) - int(chosen.min())
    members = scalar_family(
        order, lowest, highest, t, spectrum.at_angles(nodes), closed_members(order, t, spectrum, nodes)
    )
    places, rows = [], highest - lowest + 1
    for excitation in excitations:
        if isinstance(excitation, Released):
            places.append(excitation.level - chosen - lowest)
        else:
            places.append(rows + np.arange(chosen.size))
            rows += chosen.size
    return jnp.concatenate([members, *(response[chosen] for response in responses)]), np.stack(places)


def _conclude(
    excitations: tuple[Released | Forced, ...],
    chosen: np.ndarray,
    rows: "_Rows",
    length: int,
    padded: int,
    spectrum: Spectrum,
) -> Expansion:
    """The expansions of all starts from what was found for each time."""
    needed = jnp.max(rows.needed, axis=(1, 2))
    terms = batch_max(2 * ((jnp.clip(needed, 2, length) + 1) // 2))
    beyond = jnp.arange(length, dtype=jnp.int32) >= terms[:, None, None, None]
    left = jnp.sum(jnp.where(beyond, rows.weighted, 0.0), axis=-1)
    eps = jnp.finfo(left.dtype).eps
    rounding = eps * (jnp.sqrt(terms.astype(left.dtype))[:, None, None] + rows.turn) * rows.scales + 2.0 * rows.noise
    coefficients = jnp.where(beyond, 0.0, rows.coefficients)
    below = [
        chosen > excitation.level if isinstance(excitation, Released) else chosen < 0 for excitation in excitations
    ]
    coefficients = _exact_at_rest(coefficients, np.stack(below), spectrum)
    coefficients = jnp.pad(coefficients, ((0, 0),) * 3 + ((0, whole_blocks(padded) - length),))
    # For the account of errors a velocity that rests is not held to the digits of its own smallness.
    faintest = jnp.asarray([excitation.faintest for excitation in excitations], left.dtype)
    expected = jnp.maximum(rows.scales, faintest[:, None, None] * rows.largest)
    return Expansion(coefficients, terms, left + rounding, expected, needed < length - 2)


class _Rows(NamedTuple):
    """For one time, all starts and components: coefficients, their weighted sizes, how many are needed, noise, sizes.

    `turn`: the phase that the centre of an imaginary interval makes, whose rounding turns the whole result.
    """

    coefficients: Array
    weighted: Array
    needed: Array
    noise: Array
    scales: Array
    largest: Array
    turn: Array


def _rows(
    order: int,
    chosen: np.ndarray,
    t: Array,
    spectrum: Spectrum,
    excitations: tuple[Released | Forced, ...],
    rayleighs: list[Array],
    rtol: float,
    coefficients: Array,
    largest: Array,
) -> _Rows:
    length = coefficients.shape[-1]
    eps = jnp.finfo(coefficients.dtype).eps
    each = zip(excitations, rayleighs, largest, strict=True)
    scales = jnp.stack([one.sizes(order, t, spectrum, rayleigh, size, chosen) for one, rayleigh, size in each])
    scales = jnp.maximum(scales, jnp.finfo(scales.dtype).tiny)
    # Long phases are rounded, in single precision not (see `_phase`).
    phase = _reach(order, t, spectrum) if eps < 1e-10 else jnp.zeros_like(t)
    if spectrum.sign == -1:
        # The largest of some 16384 coefficients of rounding is four deviations: with less, noise that the weights
        # below raise asked for 13997 terms of an expansion that had ended after 670.
        phase = 2.5 * phase
    walked = jnp.asarray([[math.sqrt(excitation.steps)] for excitation in excitations], largest.dtype)
    noise = eps * (_NOISE + walked + phase / math.sqrt(length)) * largest
    size = jnp.abs(coefficients)
    size = jnp.where(size > noise[..., None], size, 0.0)
    # The derivative of T_k is up to k² large: the tail is weighted so that derivatives are accurate, too.
    k = jnp.arange(length, dtype=size.dtype)
    weighted = size * jnp.maximum(1.0, k**2 / _derivative_scale(order, t, spectrum))
    tails = jnp.flip(jnp.cumsum(jnp.flip(weighted, axis=-1), axis=-1), axis=-1)
    needed = jnp.sum(tails > rtol * scales[..., None], axis=-1, dtype=jnp.int32)
    turned = spectrum.sign == -1 and not spectrum.symmetric
    turn = jnp.abs(t * spectrum.centre) if turned else jnp.zeros_like(t)
    return _Rows(coefficients, weighted, needed, noise, scales, largest, jnp.broadcast_to(turn, scales.shape))


def _exact_at_rest(coefficients: Array, below: np.ndarray, spectrum: Spectrum) -> Array:
    """Makes members below 0 vanish at 0, where the spectrum ends there: what rests starts to move by no error.

    These members are A times others. A constant field between insulating walls has no velocity, to rounding.
    """
    if spectrum.sign == -1 or not below.any():
        return coefficients
    residual = jnp.sum(coefficients, axis=-1)  # T_k(1) = 1
    applies = jnp.asarray(below)[..., None] & (spectrum.upper == 0)
    return coefficients.at[..., 0].add(-jnp.where(applies, residual, 0.0))


def _nodes(length: int) -> np.ndarray:
    """The angles of Chebyshev's nodes."""
    return (np.arange(length) + 0.5) * np.pi / length


def _series(spectrum: Spectrum, values: Array) -> Inexact[Array, "... length"]:
    """Coefficients from the values at the nodes; real, also where the spectrum is imaginary and symmetric."""
    if spectrum.sign == 1:
        return _cosine_series(values)
    real, imaginary = _cosine_series(values.real), _cosine_series(values.imag)
    if not spectrum.symmetric:
        return lax.complex(real, imaginary) * jnp.asarray(_POWERS[np.arange(values.shape[-1]) % 4], values.dtype)
    # c_k i^(-k) is real: the recurrence with the other sign carries the powers of i.
    power = jnp.arange(values.shape[-1], dtype=jnp.int32) % 4
    return jnp.select([power == 0, power == 1, power == 2], [real, imaginary, -real], -imaginary)


def _cosine_series(values: Array) -> Array:
    length = values.shape[-1]
    coefficients = jax.scipy.fft.dct(values, type=2, axis=-1) / length
    return coefficients.at[..., 0].multiply(0.5)


def _derivative_scale(order: int, times: Array, spectrum: Spectrum) -> Array:
    """`‖d F‖ / ‖dZ‖` for data of any smoothness: t dA, or t / (2ω) dA for waves."""
    fastest = jnp.where(spectrum.radius > 0, jnp.sqrt(spectrum.radius), 1.0)
    scale = jnp.abs(times) * spectrum.width
    return jnp.maximum(scale if order == 1 else 0.5 * scale / fastest, 1.0)
