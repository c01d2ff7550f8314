"""The walk through a signal, for complex points: against its differential equation, and its transpose."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.action._driven import driven_transpose, driven_values
from krylovpde.action._excitation import Forced, Released
from krylovpde.action._faber_series import expand_on_ellipse
from tests.helpers import relative_error, variants
from tests.told import driven_states, ellipse

POINTS = jnp.asarray([0.0, -3.0, 0.4 + 2.0j, -40.0 + 25.0j, 1e-9 - 1.0j, -2000.0 + 0.0j])
SAMPLES = np.asarray([0.0, 0.13, 0.4, 0.4, 0.9])
VALUES = np.asarray([0.3, 1.0, -1.0, 2.0, 0.5])
TIMES = np.asarray([0.0, 0.1, 0.4, 0.41, 0.9, 1.3])


class Rotation:
    """`z` as a real matrix of order two."""

    def __init__(self, z):
        self.z = complex(z)

    def as_matrix(self):
        return jnp.asarray([[self.z.real, -self.z.imag], [self.z.imag, self.z.real]])


def pieces(signal, end=1.3, dtype=jnp.float64):
    return signal.pieces(jnp.zeros((), dtype), jnp.asarray(end, dtype))


def responses(signal, times, points, edges):
    """From rest, by exponentials of small matrices; over short times, where those have all their digits."""
    rows, edges = [], np.union1d(edges, np.linspace(0.0, 1.3, 14))
    for z in points:
        states = driven_states(Rotation(z), jnp.zeros(2), [(jnp.asarray([1.0, 0.0]), signal)], edges, times)
        rows.append(np.asarray(states[:, 0]) + 1j * np.asarray(states[:, 1]))
    return np.stack(rows, axis=1)


@pytest.mark.parametrize("kind", variants(["linear", "previous"], quick=["linear"]))
def test_a_walk_solves_its_equation_on_both_sides_of_a_jump(kind):
    signal = kp.Sampled(SAMPLES, VALUES, kind=kind)
    values = driven_values(1, pieces(signal), jnp.asarray(TIMES), POINTS)[0]
    expected = responses(signal, TIMES[1:], POINTS, SAMPLES)
    np.testing.assert_allclose(values[0], 0.0, atol=0)
    assert relative_error(values[1:], expected) < 1e-13


@pytest.mark.parametrize("order", [1, 2])
def test_the_transpose_is_one(order):
    rng = np.random.default_rng(2)
    points = POINTS if order == 1 else jnp.asarray([0.0, -3.0, -400.0])
    even = kp.Sampled(np.linspace(0.0, 1.0, 14), rng.standard_normal(14))  # equal panels, but for their rounding
    for signal in (even, kp.Sampled(SAMPLES, VALUES)):
        told, times = pieces(signal), jnp.asarray(TIMES)
        change = jnp.asarray(rng.standard_normal(told.coefficients.shape))
        moved = driven_values(order, eqx.tree_at(lambda p: p.coefficients, told, change), times, points)
        seed = jnp.asarray(rng.standard_normal(moved.shape) + 1j * rng.standard_normal(moved.shape))
        seed = seed if order == 1 else seed.real
        pulled = driven_transpose(order, told, times, points, seed)
        forwards, backwards = jnp.real(jnp.sum(seed * moved)), jnp.sum(pulled * change)
        scale = jnp.linalg.norm(seed) * jnp.linalg.norm(moved)
        assert abs(forwards - backwards) < 1e-13 * scale


def test_what_rounding_does_to_equal_panels_is_followed():
    # The sums of 400 rounded lengths: phases of 1e6 would be wrong by 1e-8 if all panels were taken for equal.
    samples = np.linspace(0.0, 1.0, 401)
    signal, points = kp.Sampled(samples, np.cos(37.0 * samples)), jnp.asarray([1e6j])
    value = driven_values(1, pieces(signal, 1.0), jnp.asarray([1.0]), points)[0, 0, 0]
    # Term by term, in the precision of integers: every panel by itself.
    z, total = 1e6j, 0.0j
    told = pieces(signal, 1.0)
    edges, rows = np.asarray(told.edges), np.asarray(told.coefficients)
    for low, high, (c, slope) in zip(edges[:-1], edges[1:], rows, strict=True):
        h = high - low
        if h > 0:
            e = np.exp(1j * np.remainder(np.longdouble(1e6) * np.longdouble(h), 2 * np.longdouble(np.pi)).astype(float))
            force = c * (e - 1) / z + slope * ((e - 1) / z - h) / z
            total = e * total + force
    assert abs(value - total) < 1e-9 * abs(total)


@pytest.mark.parametrize(
    "axes",
    [
        pytest.param((3.0, 2.0), marks=pytest.mark.slow),
        (1.0, 60.0),
        pytest.param((0.0, 40.0), marks=pytest.mark.slow),
        pytest.param((50.0, 0.0), marks=pytest.mark.slow),
    ],
)
def test_the_series_of_a_response_holds_everywhere_in_the_ellipse(axes):
    real, imaginary = axes
    signal = kp.Sampled(SAMPLES, VALUES)
    series = expand_on_ellipse(
        Forced(pieces(signal)), jnp.asarray(TIMES), ellipse(-real + 0.05, real, imaginary), 1e-9, 512
    )
    assert bool(series.resolved)
    rng = np.random.default_rng(3)
    angles, shrink = rng.uniform(0.0, 2 * np.pi, 5), np.sqrt(rng.uniform(0.0, 1.0, 5))
    points = -real + 0.05 + shrink * (real * np.cos(angles) + 1j * imaginary * np.sin(angles))
    outer, inner = (real + imaginary) / 2, (real - imaginary) / 2
    shifted = (points + real - 0.05) / outer
    terms = [2.0 * np.ones_like(points), shifted]
    for _ in range(int(series.terms) - 2):
        terms.append(shifted * terms[-1] - inner / outer * terms[-2])
    values = np.asarray(series.coefficients[0])[1:, : len(terms)] @ np.stack(terms)
    expected = responses(signal, TIMES[1:], points, SAMPLES)
    told = np.asarray(series.error / series.scales)[1:, None]
    # The tolerance refers to a hundredth of the largest response, the account of errors to a tenth.
    assert np.all(told < 1e-9)
    assert np.all(np.abs(values - expected) <= 1e-9 * np.max(np.abs(expected), axis=1, keepdims=True) + 1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("forced", [True, False], ids=["signal", "start"])
def test_long_phases_in_single_precision(forced):
    # White noise: all frequencies that the ellipse has.
    signal = kp.Sampled(np.linspace(0.0, 1.0, 601), np.random.default_rng(9).standard_normal(601))

    def coefficients(dtype):
        tall = jax.tree.map(lambda x: x.astype(jnp.float32).astype(dtype), ellipse(-0.3, 0.31, 1900.7))
        told = jax.tree.map(lambda x: x.astype(dtype), pieces(signal, 1.0, jnp.float32))
        excitation = Forced(told) if forced else Released(0)
        times = jnp.asarray([0.61, 0.987], jnp.float32).astype(dtype)
        expand = jax.jit(functools.partial(expand_on_ellipse, excitation, rtol=2e-5, length=4096))
        return np.asarray(expand(times, tall).coefficients[0], float)

    single, double = coefficients(jnp.float32), coefficients(jnp.float64)
    # Where both have terms: what one leaves out the other may have.
    double = np.where(single == 0.0, 0.0, double)
    # A plain product of a time and the height would be wrong by 1900 times the rounding of one.
    assert np.linalg.norm(single - double) < (2e-5 if forced else 5e-7) * np.linalg.norm(double)
