"""The initial state of the heat equation, a linear problem with a Gaussian prior: everything has a closed form."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.inverse import BiLaplacian, Experiment, InversionWarning, LeastSquares, laplace_posterior

_CELLS, _SIGMA, _MEAN = 32, 0.02, 0.5


class Rod(eqx.Module):
    initial: jax.Array
    grid: kp.Grid = eqx.field(static=True)

    def equation(self):
        return kp.Diffusion(self.grid, 0.02)


_GRID = kp.Grid((_CELLS,), 0.0, 1.0)
_SENSORS = kp.Sensors(_GRID, np.linspace(0.05, 0.95, 9)[:, None])
_RUN = Experiment(lambda rod: rod.initial, [0.05, 0.15, 0.4], _SENSORS, options={"rtol": 1e-10})
_PRIOR = BiLaplacian(_GRID, lambda rod: rod.initial, 1.0, 0.3, _MEAN)


class Closed(eqx.Module):
    """The textbook's formulas, from the matrices of the predictions and of the prior's root."""

    mean: np.ndarray
    covariance: np.ndarray
    log_evidence: float
    predictions: np.ndarray


def _closed_form(matrix, root, data):
    prior = np.linalg.inv(root.T @ root)
    noise = _SIGMA**2 * np.eye(len(data))
    marginal = matrix @ prior @ matrix.T + noise
    gain = np.linalg.solve(marginal, matrix @ prior).T
    away = data - matrix @ np.full(_CELLS, _MEAN)
    covariance = prior - gain @ matrix @ prior
    fit = away @ np.linalg.solve(marginal, away) + np.linalg.slogdet(2 * np.pi * marginal)[1]
    return Closed(_MEAN + gain @ away, covariance, -0.5 * fit, matrix @ covariance @ matrix.T)


@pytest.fixture(scope="module")
def problem():
    """The loss for made-up data, the closed form, and the matrix of the predictions."""
    truth_key, noise_key = jr.split(jr.key(3))

    @jax.jit
    def matrices():
        columns = jax.lax.map(lambda e: _RUN(Rod(e, _GRID)).ravel(), jnp.eye(_CELLS))
        origin = _PRIOR.whiten(jnp.zeros(_CELLS))
        return columns.T, jax.lax.map(lambda e: _PRIOR.whiten(e) - origin, jnp.eye(_CELLS)).T

    matrix, root = map(np.asarray, matrices())
    clean = matrix @ np.asarray(_PRIOR.sample(truth_key))
    data = clean + _SIGMA * np.asarray(jr.normal(noise_key, clean.shape))
    loss = LeastSquares(_RUN, jnp.asarray(data.reshape(3, 9)), _SIGMA)
    return loss, _closed_form(matrix, root, data), matrix


@pytest.fixture(scope="module")
def posterior(problem):
    loss, exact, _ = problem
    return laplace_posterior(loss, _PRIOR, Rod(jnp.asarray(exact.mean), _GRID), rank=_CELLS, key=jr.key(0))


def test_mean_covariance_and_evidence_are_those_of_the_closed_form(problem, posterior):
    """The mean by one Newton step from the prior's, and at the closed form's there is nothing left to step."""
    loss, exact, _ = problem
    normal, start = posterior.normal, jnp.zeros(_CELLS)
    gradient = jax.jit(jax.grad(lambda z: loss(normal.whitened.model(z))))(start)
    stepped = normal.whitened.model(-normal.root(normal.root(gradient))).initial
    np.testing.assert_allclose(stepped, exact.mean, atol=1e-6 * np.abs(exact.mean).max())
    assert posterior.decrement < 1e-6
    assert posterior.truncation == 0.0
    np.testing.assert_allclose(posterior.covariance, exact.covariance, atol=1e-6 * np.abs(exact.covariance).max())
    np.testing.assert_allclose(posterior.variance.initial, np.diag(exact.covariance), rtol=1e-6)
    assert posterior.variance_error == 0.0
    assert float(posterior.log_evidence) == pytest.approx(exact.log_evidence, abs=1e-6)


def test_lanczos_gives_the_same_where_the_rank_suffices(problem, posterior):
    loss, exact, _ = problem
    found = laplace_posterior(loss, _PRIOR, posterior.model, rank=24, key=jr.key(1))
    assert found.curvature.spectrum.size <= 24
    assert found.truncation < 1e-6
    np.testing.assert_allclose(found.covariance, exact.covariance, atol=1e-6 * np.abs(exact.covariance).max())
    assert float(found.log_evidence) == pytest.approx(exact.log_evidence, abs=1e-6)


def test_a_rank_that_is_too_small_is_told(problem, posterior):
    loss, exact, _ = problem
    with pytest.warns(InversionWarning, match="an eigenvalue of .* is left out"):
        found = laplace_posterior(loss, _PRIOR, posterior.model, rank=4, key=jr.key(1))
    spectrum = np.asarray(posterior.curvature.spectrum)
    np.testing.assert_allclose(found.curvature.spectrum, spectrum[:4], rtol=1e-8)
    assert found.truncation == pytest.approx(spectrum[4], rel=1e-6)
    # What is left out makes variances too large, never too small.
    assert np.all(np.asarray(found.variance.initial) > np.diag(exact.covariance))


def test_predictions_are_those_of_the_closed_form(problem, posterior):
    _, exact, matrix = problem
    found = posterior.predict(_RUN)
    deviation = np.sqrt(np.diag(exact.predictions)).reshape(3, 9)
    np.testing.assert_allclose(found.mean, (matrix @ exact.mean).reshape(3, 9), rtol=1e-6)
    np.testing.assert_allclose(found.standard_deviation, deviation, rtol=1e-6)
    np.testing.assert_allclose(found.upper - found.lower, 2 * 1.959963984540054 * deviation, rtol=1e-6)
    measured = posterior.predict(_RUN, sigma=_SIGMA)
    np.testing.assert_allclose(measured.standard_deviation, np.hypot(deviation, _SIGMA), rtol=1e-6)


def test_intervals_cover_as_often_as_they_say(problem):
    """1000 truths of the prior with data of their own: 95 % intervals of every cell, and between cells.

    The posterior of a linear problem has one covariance for all data, and its mean is one Newton step away.
    """
    matrix = jnp.asarray(problem[2])
    reference = Rod(jnp.full(_CELLS, _MEAN), _GRID)
    made_up = LeastSquares(_RUN, jnp.full((3, 9), _MEAN), _SIGMA)
    posterior = laplace_posterior(made_up, _PRIOR, reference, rank=_CELLS, key=jr.key(0))
    normal = posterior.normal
    cells, between = posterior.predict(lambda rod: (rod.initial, _SENSORS.mv(rod.initial))).standard_deviation

    def covered(key):
        truth_key, noise_key = jr.split(key)
        truth = Rod(_PRIOR.sample(truth_key), _GRID)
        data = (matrix @ truth.initial).reshape(3, 9) + _SIGMA * jr.normal(noise_key, (3, 9))
        loss = LeastSquares(_RUN, data, _SIGMA)
        gradient = jax.grad(lambda z: loss(normal.whitened.model(z)))(normal.centre) + normal.centre
        estimate = normal.whitened.model(normal.centre - normal.root(normal.root(gradient)))
        away = estimate.initial - truth.initial
        inside = jnp.abs(away) < 1.959963984540054 * cells
        return jnp.mean(inside), jnp.mean(jnp.abs(_SENSORS.mv(away)) < 1.959963984540054 * between)

    of_cells, of_points = jax.jit(lambda keys: jax.lax.map(covered, keys))(jr.split(jr.key(2027), 1000))
    print(f"covered: {jnp.mean(of_cells):.4f} of cells, {jnp.mean(of_points):.4f} of points")
    assert 0.935 < float(jnp.mean(of_cells)) < 0.965
    assert 0.935 < float(jnp.mean(of_points)) < 0.965
