"""A field given by a network: the linearised Laplace approximation beside matrices of the weights."""

from contextlib import nullcontext

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.inverse import (
    Gaussian,
    GaussNewton,
    InversionWarning,
    LeastSquares,
    NetworkField,
    diagonal_laplace_posterior,
    fit,
    laplace_posterior,
)

_GRID = kp.Grid((24,), 0.0, 1.0)
_SENSORS = kp.Sensors(_GRID, np.linspace(0.05, 0.6, 12)[:, None])
_SIGMA = 0.1


def _weights(model):
    return eqx.filter(model.network, eqx.is_inexact_array)


_PRIOR = Gaussian(_weights, 0.8)


@pytest.fixture(scope="module")
def fitted():
    """A wave that is seen through sensors in one half, fitted by a small network."""
    key, noise_key = jr.split(jr.key(11))
    network = eqx.nn.MLP(1, "scalar", 5, 1, jnp.tanh, key=key)
    data = _SENSORS.mv(jnp.sin(2 * jnp.pi * jnp.asarray(_GRID.coordinates[0]))) + _SIGMA * jr.normal(noise_key, (12,))
    loss = LeastSquares(lambda model: _SENSORS.mv(model.value), data, _SIGMA)
    result = fit(loss + _PRIOR, NetworkField(network, _GRID), GaussNewton(rtol=1e-10), progress=None)
    return loss, result.model


def _dense(loss, model):
    """`J` and the derivative of the field, as matrices in the weights."""
    parameters, fixed = eqx.partition(model, eqx.is_inexact_array)
    flat, unravel = jax.flatten_util.ravel_pytree(parameters)

    def both(x):
        return loss.residual(eqx.combine(unravel(x), fixed)), eqx.combine(unravel(x), fixed).value

    return map(np.asarray, jax.jit(jax.jacobian(both))(flat))


def test_lanczos_is_the_dense_result(fitted, key):
    """By a low rank, by all of it, with the precisions that the evidence chooses, and for the diagonal."""
    loss, model = fitted
    jacobian, slope = _dense(loss, model)
    size = jacobian.shape[1]
    assert size == 16
    posteriors = [laplace_posterior(loss, _PRIOR, model, rank=12, key=key)]
    with pytest.warns(InversionWarning) if _left_out(jacobian, 8) > 0.1 else nullcontext():
        posteriors.append(laplace_posterior(loss, _PRIOR, model, rank=8, key=key))
    for posterior in (*posteriors, posteriors[0].calibrated()):
        alpha, beta = float(posterior.prior_precision) / 0.8**2, float(posterior.noise_precision)
        values, vectors = np.linalg.eigh(jacobian.T @ jacobian)
        kept = np.argsort(-values)[: posterior.curvature.spectrum.size]
        curvature = (vectors[:, kept] * values[kept]) @ vectors[:, kept].T
        covariance = np.linalg.inv(alpha * np.eye(size) + beta * curvature)
        field = posterior.predict(lambda m: m.value)
        np.testing.assert_allclose(field.standard_deviation**2, np.diag(slope @ covariance @ slope.T), rtol=1e-6)
        weights = model.network.layers
        squares = sum(float(jnp.sum(x**2)) for layer in weights for x in (layer.weight, layer.bias))
        data = float(jnp.sum(loss.residual(model) ** 2))
        expected = 6 * np.log(beta / (2 * np.pi * _SIGMA**2)) - 0.5 * (beta * data + alpha * squares)
        expected -= 0.5 * np.linalg.slogdet(np.eye(size) + beta / alpha * curvature)[1]
        assert float(posterior.log_evidence) == pytest.approx(expected, rel=1e-6)
    diagonal = diagonal_laplace_posterior(loss, _PRIOR, model, key=key)
    covariance = 1 / (1 / 0.8**2 + np.sum(jacobian**2, axis=0))
    variance = np.sum(slope**2 * covariance, axis=1)
    np.testing.assert_allclose(diagonal.predict(lambda m: m.value).standard_deviation ** 2, variance, rtol=1e-8)


def _left_out(jacobian, rank):
    return np.linalg.eigvalsh(0.64 * jacobian.T @ jacobian)[::-1][rank]


def test_it_is_less_sure_where_there_are_no_data(fitted, key):
    loss, model = fitted
    posterior = laplace_posterior(loss, _PRIOR, model, rank=12, key=key).calibrated()
    deviation = np.asarray(posterior.predict(lambda m: m.value).standard_deviation)
    assert deviation[:14].max() < 0.5 * deviation[-1]
    sampled = posterior.sample(key)
    assert sampled.network.layers[0].weight.shape == (5, 1)
