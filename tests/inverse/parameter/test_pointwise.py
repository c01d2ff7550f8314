"""Parametrisations: inverses of themselves, inside their limits, differentiable, and strict about bad values."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.inverse import AbstractParameter, Bounded, Positive, Smoothed, value_of
from tests.helpers import variants


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("make", [Positive.from_value, lambda value: Bounded.from_value(value, 0.5, 3.0)])
def test_value_of_from_value_is_the_value(make, dtype, key):
    value = jr.uniform(key, (7, 5), dtype, 0.6, 2.9)
    parameter = make(value)
    assert parameter.value.dtype == dtype
    assert parameter.raw.dtype == dtype
    np.testing.assert_allclose(parameter.value, value, rtol=20 * jnp.finfo(dtype).eps)


def test_positive_spans_decades():
    value = jnp.asarray([1e-12, 1.0, 1e12])
    np.testing.assert_allclose(Positive.from_value(value).value, value, rtol=1e-13)


def test_bounded_keeps_its_limits_for_any_raw_number():
    value = Bounded(jnp.asarray([-1e6, -5.0, 0.0, 5.0, 1e6]), 1.0, 2.0).value
    assert bool(jnp.all((value >= 1.0) & (value <= 2.0)))
    assert value[2] == 1.5
    assert bool(jnp.all(jnp.diff(value) > 0))


def test_bounded_keeps_digits_near_a_limit():
    value = jnp.asarray([1e-10, 1.0 - 1e-10])
    parameter = Bounded.from_value(value, 0.0, 1.0)
    np.testing.assert_allclose(parameter.value[0], 1e-10, rtol=1e-10)
    np.testing.assert_allclose(1 - parameter.value[1], 1e-10, rtol=1e-5)


def test_only_the_raw_array_is_a_leaf():
    for parameter in (Positive.from_value(2.0), Bounded.from_value(2, 1, 3)):
        assert len(jax.tree_util.tree_leaves(parameter)) == 1
        gradient = jax.grad(lambda p: p.value)(parameter)
        assert isinstance(gradient, type(parameter))
        assert gradient.raw != 0


def test_from_value_works_under_jit_and_vmap():
    values = jnp.linspace(1.1, 1.9, 4)
    again = eqx.filter_jit(jax.vmap(lambda v: Bounded.from_value(v, 1.0, 2.0).value))(values)
    np.testing.assert_allclose(again, values, rtol=1e-13)


def test_value_of_takes_arrays_and_parameters():
    assert value_of(Positive.from_value(3.0)) == pytest.approx(3.0)
    assert value_of(3.0) == 3.0
    assert issubclass(Positive, AbstractParameter)


_PLANE = kp.Grid(shape=(48, 32), lower=(0.0, 0.0), upper=(1.5, 1.0))
_GRADED = kp.Grid.from_edges([np.linspace(0.0, 1.0, 31) ** 1.3])


def test_smoothing_a_gaussian_widens_it():
    """The variances add: `exp(½ ℓ² lap)` is the convolution with a Gaussian of standard deviation ℓ."""
    x, y = (jnp.asarray(c) for c in _PLANE.coordinates)
    squared = (x - 0.75) ** 2 + (y - 0.5) ** 2
    narrow, wide = jnp.exp(-squared / (2 * 0.1**2)), jnp.exp(-squared / (2 * (0.1**2 + 0.06**2)))
    smoothed = Smoothed(narrow, _PLANE, 0.06).value
    np.testing.assert_allclose(smoothed, wide * 0.1**2 / (0.1**2 + 0.06**2), atol=0.01)


@pytest.mark.parametrize("grid", variants([_PLANE, _GRADED], quick=[_GRADED]))
def test_smoothing_conserves_the_mean_and_keeps_bounds(grid, key):
    rough = Bounded.from_value(jr.uniform(key, grid.shape, minval=1.01, maxval=1.99), 1.0, 2.0)
    smooth = Smoothed(rough, grid, 0.05).value
    np.testing.assert_allclose(grid.integrate(smooth), grid.integrate(rough.value), rtol=1e-5)
    assert bool(jnp.all((smooth > 1.0) & (smooth < 2.0)))
    assert jnp.std(smooth) < 0.5 * jnp.std(rough.value)
    constant = Smoothed(Positive.from_value(jnp.full(grid.shape, 3.0)), grid, 0.05).value
    np.testing.assert_allclose(constant, 3.0, rtol=1e-5)
    np.testing.assert_array_equal(Smoothed(rough, grid, 0.0).value, rough.value)


@pytest.mark.slow
def test_the_gradient_through_the_smoother_is_the_smoothed_gradient(key):
    """On equal cells the smoother is symmetric, so its transpose smooths too."""
    rough, cotangent = jr.normal(key, (2, *_PLANE.shape))
    gradient = jax.grad(lambda u: jnp.sum(Smoothed(u, _PLANE, 0.05).value * cotangent))(rough)
    np.testing.assert_allclose(gradient, Smoothed(cotangent, _PLANE, 0.05).value, atol=1e-5)


@pytest.mark.bad_input
def test_values_outside_are_refused_with_their_range():
    with pytest.raises(ValueError, match=r"Positive.*greater than 0.*1 of 3 entries.*from -1 to 2"):
        Positive.from_value(jnp.asarray([1.0, -1.0, 2.0]))
    with pytest.raises(ValueError, match=r"Bounded.*strictly between lower = 0.0 and upper = 2.0.*1 of 3"):
        Bounded.from_value(np.array([1.0, 0.5, 2.0]), 0.0, 2.0)
    with pytest.raises(ValueError, match="1 of 1 entries are not"):
        Positive.from_value(jnp.asarray([jnp.nan]))
    with pytest.raises(ValueError, match=r"lower = 2.0 must be less than upper = 1.0"):
        Bounded(jnp.zeros(3), 2.0, 1.0)
