"""Signals: values, breakpoints, pieces, and what bad input is told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.signal import AbstractSignal, as_signal

TIMES = np.array([0.2, 0.5, 0.5, 0.9])
VALUES = np.array([1.0, 3.0, -1.0, 2.0])


def pieces_at(signal: AbstractSignal, start: float, end: float, t):
    pieces = signal.pieces(jnp.asarray(start), jnp.asarray(end - start))
    return jax.vmap(pieces)(jnp.asarray(t) - start)


@pytest.mark.parametrize("start", [0.0, 0.3, 0.6, 1.5])
def test_straight_lines_between_samples_with_a_jump(start):
    signal = kp.Sampled(TIMES, VALUES)
    t = np.linspace(start, 2.0, 57)[1:]
    before, after = np.interp(t, TIMES[:2], VALUES[:2]), np.interp(t, TIMES[2:], VALUES[2:])
    expected = np.where(t < 0.5, before, after)
    np.testing.assert_allclose(jax.vmap(signal)(jnp.asarray(t)), expected, atol=1e-14)
    np.testing.assert_allclose(pieces_at(signal, start, 2.0, t), expected, atol=1e-13)


def test_previous_holds_each_value():
    signal = kp.Sampled([0.0, 0.25, 0.75], [1.0, 2.0, -1.0], kind="previous")
    t = np.array([-1.0, 0.1, 0.25, 0.7, 0.76, 3.0])
    expected = np.array([1.0, 1.0, 2.0, 2.0, -1.0, -1.0])
    np.testing.assert_array_equal(jax.vmap(signal)(jnp.asarray(t)), expected)
    np.testing.assert_allclose(pieces_at(signal, -1.0, 3.5, t), expected, atol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float64, 1e-11), (jnp.float32, 2e-5)])
def test_a_function_is_resolved_and_the_error_is_told(dtype, tolerance):
    signal = as_signal(lambda t: jnp.sin(40 * t) * jnp.exp(-t), "signal")
    pieces = signal.pieces(jnp.asarray(0.5, dtype), jnp.asarray(2.0, dtype))
    t = jnp.asarray(np.linspace(0.0, 2.0, 1001), dtype)
    exact = np.sin(40 * (np.asarray(t, float) + 0.5)) * np.exp(-np.asarray(t, float) - 0.5)
    error = np.max(np.abs(np.asarray(jax.vmap(pieces)(t), float) - exact))
    assert error < tolerance
    wild = as_signal(lambda t: jnp.sin(4e4 * t), "signal")
    assert float(wild.pieces(jnp.asarray(0.5, dtype), jnp.asarray(2.0, dtype)).error) > 0.1


@pytest.mark.slow
def test_the_times_of_straight_lines_have_a_derivative():
    def value(times, t):
        pieces = kp.Sampled(times, jnp.asarray([1.0, 4.0, 2.0])).pieces(jnp.asarray(0.0), jnp.asarray(2.0))
        return pieces(t)

    times, step = jnp.asarray([0.2, 0.9, 1.5]), 1e-6
    for t in (0.1, 0.5, 1.2, 1.9):
        gradient = jax.grad(value)(times, jnp.asarray(t))
        for k in range(3):
            shift = step * jnp.eye(3)[k]
            slope = (value(times + shift, jnp.asarray(t)) - value(times - shift, jnp.asarray(t))) / (2 * step)
            assert abs(gradient[k] - slope) < 1e-7


def decay(t):
    return jnp.exp(-3.0 * (t - 0.5))


PIECEWISE = {
    "numbers": (
        kp.Piecewise([0.2, 0.5], [1.0, -2.0, 3.0]),
        lambda t: np.where(t < 0.2, 1.0, np.where(t < 0.5, -2.0, 3.0)),
    ),
    # The last part is not even finite before it begins.
    "functions": (
        kp.Piecewise([0.2, 0.5], [1.0, jnp.sin, lambda t: decay(t) + jnp.sqrt(t - 0.4)]),
        lambda t: np.where(t < 0.2, 1.0, np.where(t < 0.5, np.sin(t), decay(t) + np.sqrt(np.maximum(t - 0.4, 0.0)))),
    ),
}


@pytest.mark.parametrize("start", [0.3, *(pytest.param(start, marks=pytest.mark.slow) for start in (0.0, 0.7))])
@pytest.mark.parametrize("name", PIECEWISE)
def test_parts_jump_where_they_are_told(name, start):
    signal, exact = PIECEWISE[name]
    t = np.concatenate([np.linspace(start, 2.0, 57), [b for b in (0.2, 0.5) if b > start]])
    np.testing.assert_allclose(jax.vmap(signal)(jnp.asarray(t)), exact(t), atol=1e-14)
    pieces = signal.pieces(jnp.asarray(start), jnp.asarray(2.0 - start))
    assert pieces.error < 1e-11
    np.testing.assert_allclose(jax.vmap(pieces)(jnp.asarray(t) - start), exact(t), atol=1e-11)
    before = np.nextafter([b for b in (0.2, 0.5) if b > start], -1.0)
    np.testing.assert_allclose(jax.vmap(signal)(jnp.asarray(before)), exact(before), atol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_a_part_that_is_too_short_to_see_does_no_harm(dtype):
    signal = kp.Piecewise([0.5, 0.5, np.nextafter(0.5, 1.0)], [jnp.cos, 7.0, -7.0, jnp.sin])
    pieces = signal.pieces(jnp.asarray(0.0, dtype), jnp.asarray(1.0, dtype))
    assert jnp.all(jnp.isfinite(pieces.coefficients))
    t = jnp.asarray([0.2, 0.7], dtype)
    expected = jnp.stack([jnp.cos(t[0]), jnp.sin(t[1])])
    np.testing.assert_allclose(jax.vmap(pieces)(t), expected, rtol=1e-5 if dtype == jnp.float32 else 1e-12)


def test_values_and_closed_over_numbers_have_derivatives():
    def value(arguments, t, by_pieces):
        height, rate = arguments
        signal = kp.Piecewise([0.2, 0.5], [height, lambda t: height * t, lambda t: jnp.sqrt(rate * (t - 0.4))])
        return (signal.pieces(jnp.asarray(0.0), jnp.asarray(1.0)) if by_pieces else signal)(t)

    arguments = (jnp.asarray(2.0), jnp.asarray(3.0))
    for by_pieces in (True, False):
        gradient = jax.vmap(jax.grad(value), in_axes=(None, 0, None))(
            arguments, jnp.asarray([0.1, 0.3, 0.8]), by_pieces
        )
        np.testing.assert_allclose(gradient[0], [1.0, 0.3, 0.0], atol=1e-12)
        np.testing.assert_allclose(gradient[1], [0.0, 0.0, np.sqrt(0.4 / 3.0) / 2.0], atol=1e-12)


def test_breakpoints():
    linear, previous = kp.Sampled(TIMES, VALUES), kp.Sampled([0.0, 1.0], [1.0, 2.0], kind="previous")
    np.testing.assert_array_equal(linear.breakpoints, TIMES)  # kinks, too
    np.testing.assert_array_equal(previous.breakpoints, [1.0])
    assert as_signal(3.0, "w").breakpoints.shape == as_signal(jnp.sin, "w").breakpoints.shape == (0,)
    assert [w.degree for w in (linear, previous, as_signal(jnp.sin, "w"))] == [1, 0, None]
    assert [signal.degree for signal, _ in PIECEWISE.values()] == [0, None]


BAD = {
    "number": (ValueError, "3 pieces, got 2", lambda: kp.Piecewise([0.0, 1.0], [1.0, 2.0])),
    "parts decrease": (ValueError, "not decrease", lambda: kp.Piecewise([1.0, 0.0], [1.0, 2.0, 3.0])),
    "complex part": (ValueError, "real", lambda: kp.Piecewise([1.0], [1.0j, jnp.sin])),
    "complex parts": (ValueError, "real", lambda: kp.Piecewise([1.0], np.array([1.0j, 1.0]))),
    "complex breaks": (ValueError, "real", lambda: kp.Piecewise([1.0j], [0.0, 1.0])),
    "shape": (ValueError, "one real number", lambda: kp.Piecewise([1.0], [np.ones(2), jnp.sin])),
    "parts": (TypeError, "list", lambda: kp.Piecewise([1.0], jnp.sin)),
    "nested": (TypeError, "jumps of its own", lambda: kp.Piecewise([1.0], [kp.Sampled([0.0], [1.0]), 0.0])),
    "text": (TypeError, "str", lambda: kp.Piecewise([1.0], ["hot", jnp.sin])),
    "kind": (ValueError, "linear", lambda: kp.Sampled([0.0], [1.0], kind="cubic")),
    "lengths": (ValueError, "one length", lambda: kp.Sampled([0.0, 1.0], [1.0])),
    "decrease": (ValueError, "not decrease", lambda: kp.Sampled([1.0, 0.0], [1.0, 2.0])),
    "complex": (ValueError, "real", lambda: kp.Sampled([0.0], [1.0j])),
}


@pytest.mark.bad_input
@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    error, words, make = BAD[name]
    with pytest.raises(error, match=words):
        make()
