"""Least squares of logarithms."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from krylovpde.inverse import LogData


def _identity(model):
    return model


def test_value_is_that_of_the_logarithms(key):
    data = 10.0 ** jr.uniform(key, (8,), minval=-6, maxval=3)
    model = data * jnp.linspace(0.5, 2.0, 8)
    loss = LogData(_identity, data, 0.05)
    expected = (np.log(np.asarray(model)) - np.log(np.asarray(data))) / 0.05
    np.testing.assert_allclose(loss.residual(model), expected, rtol=1e-11)
    np.testing.assert_allclose(loss(model), 0.5 * np.sum(expected**2), rtol=1e-11)
    np.testing.assert_allclose(jax.grad(loss)(model), expected / 0.05 / np.asarray(model), rtol=1e-11)


def test_misfit_of_the_truth_is_one(key):
    truth = jnp.full((4000,), 1e-5)
    loss = LogData(_identity, truth * jnp.exp(0.1 * jr.normal(key, (4000,))), 0.1)
    assert loss.reduced_misfit(truth, loss(truth)) == pytest.approx(1.0, abs=0.1)


def test_left_out_data_and_predictions_may_be_anything():
    data, sigma = np.array([1.0, 0.0, np.nan, -1.0]), np.array([0.1, np.inf, np.inf, np.inf])
    loss = LogData(_identity, data, sigma)
    model = jnp.asarray([2.0, -3.0, 0.0, jnp.nan])
    np.testing.assert_allclose(loss(model), 0.5 * (np.log(2.0) / 0.1) ** 2, rtol=1e-12)
    gradient = jax.grad(loss)(model)
    np.testing.assert_array_equal(gradient[1:], 0.0)
    assert bool(jnp.isnan(LogData(_identity, np.ones(2), 0.1)(jnp.asarray([1.0, -1.0]))))


@pytest.mark.bad_input
def test_bad_input():
    with pytest.raises(ValueError, match="LogData: 2 of 3 data are not positive, the least is -1"):
        LogData(_identity, np.array([1.0, 0.0, -1.0]), 0.1)
    with pytest.raises(TypeError, match="LogData is for real data"):
        LogData(_identity, np.ones(3, complex), 0.1)
