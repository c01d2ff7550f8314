"""The normalised correlation of traces."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from krylovpde.inverse import NormalisedCorrelation


def _identity(model):
    return model


def test_value_is_that_of_the_formula(key):
    data, model = np.asarray(jr.normal(key, (2, 7, 3)))
    for axis in (0, 1, -1):
        lengths = np.linalg.norm(data, axis=axis, keepdims=True)
        difference = model / np.linalg.norm(model, axis=axis, keepdims=True) - data / lengths
        # Standard deviations that are the norms of the traces: every trace counts alike.
        loss = NormalisedCorrelation(_identity, data, lengths, axis)
        np.testing.assert_allclose(loss(jnp.asarray(model)), 0.5 * np.sum(difference**2), rtol=1e-12)
        plain = NormalisedCorrelation(_identity, data, 0.1, axis)
        np.testing.assert_allclose(plain(jnp.asarray(model)), 50 * np.sum((lengths * difference) ** 2), rtol=1e-12)


def test_amplitudes_do_not_count(key):
    data, model = jr.normal(key, (2, 7, 3))
    loss = NormalisedCorrelation(_identity, data, 0.1)
    gains = jnp.asarray([1e-3, 1.0, 50.0])
    np.testing.assert_allclose(loss(gains * model), loss(model), rtol=1e-12)
    assert loss(gains * data) == pytest.approx(0.0, abs=1e-20)
    assert loss(-data) > loss(model)
    gradient = jax.jit(jax.grad(loss))(model)
    assert abs(jnp.vdot(gradient, model)) < 1e-10 * jnp.linalg.norm(gradient) * jnp.linalg.norm(model)


def test_gradient_is_that_of_finite_differences(key):
    data, model, direction = jr.normal(key, (3, 7, 3))
    loss = NormalisedCorrelation(_identity, data, 0.5)
    step = 1e-5
    numeric = (loss(model + step * direction) - loss(model - step * direction)) / (2 * step)
    np.testing.assert_allclose(jnp.vdot(jax.jit(jax.grad(loss))(model), direction), numeric, rtol=1e-7)


def test_misfit_of_the_truth_is_one_with_any_gain(key):
    truth = jnp.sin(jnp.linspace(0.0, 30.0, 200))[:, None] * jnp.ones(20)
    data = truth + 0.05 * jr.normal(key, truth.shape)
    loss = NormalisedCorrelation(_identity, data, 0.05)
    assert loss.num_data == 4000
    assert loss.expected_value == 1990
    assert loss.reduced_misfit(7 * truth, loss(7 * truth)) == pytest.approx(1.0, abs=0.05)


def test_left_out_data_and_dead_traces_do_not_count(key):
    data, model = (np.array(x) for x in jr.normal(key, (2, 5, 3)))
    sigma = np.full((5, 3), 0.2)
    data[1, 0], sigma[1, 0] = np.nan, np.inf
    data[:, 2] = 0.0
    loss = NormalisedCorrelation(_identity, data, sigma)
    assert loss.num_data == 9
    kept = NormalisedCorrelation(_identity, np.delete(data[:, :1], 1, axis=0), 0.2)
    other = NormalisedCorrelation(_identity, data[:, 1:2], 0.2)
    expected = kept(jnp.asarray(np.delete(model[:, :1], 1, axis=0))) + other(jnp.asarray(model[:, 1:2]))
    np.testing.assert_allclose(loss(jnp.asarray(model)), expected, rtol=1e-12)
    gradient = jax.jit(jax.grad(loss))(jnp.asarray(model))
    assert gradient[1, 0] == 0.0
    np.testing.assert_array_equal(gradient[:, 2], 0.0)


def test_derivatives_are_finite_where_the_prediction_is_zero(key):
    data = jr.normal(key, (5, 2))
    loss = NormalisedCorrelation(_identity, data, 1.0)
    np.testing.assert_allclose(loss(jnp.zeros((5, 2))), 0.5 * jnp.sum(data**2), rtol=1e-12)
    zero, direction = jnp.zeros((5, 2)), jnp.ones((5, 2))
    gradient, curvature = jax.jit(lambda m: jax.jvp(jax.grad(loss), (m,), (direction,)))(zero)
    assert bool(jnp.all(jnp.isfinite(gradient) & jnp.isfinite(curvature)))


def test_complex_and_single_precision():
    data = jnp.asarray(np.exp(1j * np.linspace(0.0, 3.0, 6)))
    loss = NormalisedCorrelation(_identity, data, 0.1)
    assert loss(5 * data) == pytest.approx(0.0, abs=1e-20)
    assert not jnp.iscomplexobj(loss(data))
    single = NormalisedCorrelation(_identity, np.ones(4), 0.1)(jnp.arange(4, dtype=jnp.float32))
    assert single.dtype == jnp.float32


@pytest.mark.bad_input
def test_bad_input():
    with pytest.raises(ValueError, match=r"data of shape \(3,\) have no axis 1"):
        NormalisedCorrelation(_identity, np.ones(3), 1.0, axis=1)
