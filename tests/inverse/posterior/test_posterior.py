"""The posterior of small problems without an equation: every formula beside matrices, quadrature or a sampler."""

from contextlib import nullcontext

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.inverse import (
    BiLaplacian,
    Box,
    Gaussian,
    GaussNewton,
    InversionWarning,
    LeastSquares,
    Positive,
    Tikhonov,
    diagonal_laplace_posterior,
    fit,
    laplace_posterior,
    linearised_uncertainty,
)
from krylovpde.verify import taylor_test


class Decay(eqx.Module):
    """`amplitude exp(-rate t) + offset`; the amplitude and the rate are positive."""

    amplitude: Positive
    rate: Positive
    offset: jax.Array

    def __call__(self):
        t = jnp.linspace(0.0, 3.0, 15)
        return self.amplitude.value * jnp.exp(-self.rate.value * t) + self.offset


_SIGMA = 0.05


def _decay(amplitude=1.0, rate=1.2, offset=0.3):
    return Decay(Positive.from_value(amplitude), Positive.from_value(rate), jnp.asarray(offset))


def _wide(deviation=1e3):
    return Gaussian(lambda m: (m.amplitude.raw, m.rate.raw, m.offset), deviation)


@pytest.fixture(scope="module")
def decay():
    """A fit of made-up data: loss and estimate."""
    data = _decay()() + _SIGMA * jr.normal(jr.key(5), (15,))
    loss = LeastSquares(lambda model: model(), data, 0.03)
    return loss, fit(loss, _decay(0.8, 1.0, 0.2), GaussNewton(rtol=1e-14), progress=None).model


@pytest.mark.parametrize("known", [True, False])
def test_a_very_wide_prior_gives_the_regression(known, decay):
    """Standard errors and correlations of `linearised_uncertainty`; with calibrated noise its variance factor, too."""
    loss, model = decay
    regression = linearised_uncertainty(loss, model, known_sigma=known)
    posterior = laplace_posterior(loss, _wide(), model, rank=3, key=jr.key(0))
    if not known:
        posterior = posterior.calibrated(prior=False)
        assert float(posterior.noise_precision) == pytest.approx(1 / regression.variance_factor, rel=1e-4)
    np.testing.assert_allclose(posterior.covariance, regression.covariance, rtol=1e-4)
    values = posterior.predict(lambda m: (m.amplitude.value, m.rate.value))
    np.testing.assert_allclose(values.standard_deviation[0], regression.standard_errors.amplitude, rtol=1e-4)
    np.testing.assert_allclose(values.standard_deviation[1], regression.standard_errors.rate, rtol=1e-4)


def test_a_hundred_million_times_wider_prior_costs_no_digits(decay):
    loss, model = decay
    posterior = laplace_posterior(loss, _wide(1e6), model, rank=3, key=jr.key(0))
    regression = linearised_uncertainty(loss, model, known_sigma=True)
    np.testing.assert_allclose(posterior.covariance, regression.covariance, rtol=1e-6)


def _line_problem(key, size=12, num_data=7):
    """A linear problem with two priors of two leaves, one of which is a field."""
    grid = kp.Grid((size,), 0.0, 1.0)
    matrix, noise = jr.normal(key, (num_data, size + 2)), jr.normal(jr.fold_in(key, 1), (num_data,))

    def predict(model):
        return matrix @ jnp.concatenate([model["field"], model["numbers"]])

    loss = LeastSquares(predict, noise, jnp.linspace(0.5, 1.0, num_data).at[2].set(jnp.inf))
    priors = [BiLaplacian(grid, lambda m: m["field"], 1.0, 0.4, 0.2), Gaussian(lambda m: m["numbers"], 2.0, 1.0)]
    return loss, priors, {"field": jnp.zeros(size), "numbers": jnp.zeros(2), "name": "a string"}


def _dense(loss, priors, model):
    """The precision matrix, the mean and the log evidence, by matrices in the free numbers."""
    flat, unravel = jax.flatten_util.ravel_pytree(eqx.filter(model, eqx.is_array))

    def residuals(x):
        return loss.residual(unravel(x)), jnp.concatenate([prior.residual(unravel(x)) for prior in priors])

    data, white = residuals(flat)
    jacobian, root = map(np.asarray, jax.jacobian(residuals)(flat))
    precision = jacobian.T @ jacobian + root.T @ root
    mean = flat - np.linalg.solve(precision, jacobian.T @ data + root.T @ white)
    counted = np.isfinite(np.asarray(loss.sigma))
    jacobian, sigma = jacobian[counted], np.asarray(loss.sigma)[counted]
    marginal = np.eye(counted.sum()) + jacobian @ np.linalg.inv(root.T @ root) @ jacobian.T
    prior_mean = flat - np.linalg.solve(root, white)
    away = np.asarray(residuals(prior_mean)[0])[counted]
    fit_term = away @ np.linalg.solve(marginal, away) + np.linalg.slogdet(2 * np.pi * marginal)[1]
    return precision, unravel(jnp.asarray(mean)), -0.5 * fit_term - np.log(sigma).sum()


def test_several_priors_masked_data_and_strings(key):
    loss, priors, model = _line_problem(key)
    precision, mean, evidence = _dense(loss, priors, model)
    estimate = eqx.combine(mean, model)
    posterior = laplace_posterior(loss, priors, estimate, rank=20, key=key)
    covariance = np.linalg.inv(precision)
    np.testing.assert_allclose(posterior.covariance, covariance, atol=1e-10)
    assert posterior.decrement < 1e-8
    assert float(posterior.log_evidence) == pytest.approx(evidence, abs=1e-8)
    assert posterior.model["name"] == "a string"
    variance = posterior.variance
    np.testing.assert_allclose(variance["field"], np.diag(covariance)[:12], rtol=1e-8)
    np.testing.assert_allclose(variance["numbers"], np.diag(covariance)[12:], rtol=1e-8)
    assert variance["name"] is None
    # One leaf free: the other is data as it is.
    only_numbers = {"field": False, "numbers": True, "name": False}
    with pytest.warns(InversionWarning, match="standard deviations of the posterior from the minimum"):
        part = laplace_posterior(loss, priors[1], {**model}, rank=2, key=key, trainable=only_numbers)
    assert part.size == 2
    assert part.variance["field"] is None


def test_evidence_for_other_precisions_is_that_of_other_priors_and_data(key):
    loss, priors, model = _line_problem(key)
    estimate = eqx.combine(_dense(loss, priors, model)[1], model)
    posterior = laplace_posterior(loss, priors, estimate, rank=20, key=key)
    other = [eqx.tree_at(lambda p: p.weight, prior, 3.0) for prior in priors]
    finer = LeastSquares(loss.predict, loss.data, loss.sigma / np.sqrt(2.0))
    expected = laplace_posterior(finer, other, estimate, rank=20, key=key).log_evidence
    assert float(posterior.log_evidence_for(3.0, 2.0)) == pytest.approx(float(expected), rel=1e-10)
    report = taylor_test(lambda p: posterior.log_evidence_for(p[0], p[1]), jnp.asarray([3.0, 2.0]), key=key)
    assert report.passed, report.verdict
    best = posterior.calibrated()
    around = [(1.02, 1.0), (0.98, 1.0), (1.0, 1.02), (1.0, 0.98)]
    pair = float(best.prior_precision), float(best.noise_precision)
    assert all(float(best.log_evidence) > float(best.log_evidence_for(pair[0] * a, pair[1] * b)) for a, b in around)
    for chosen in ("prior", "noise"):
        one = posterior.calibrated(prior=chosen == "prior", noise=chosen == "noise")
        assert float(one.prior_precision if chosen == "noise" else one.noise_precision) == 1.0
        assert float(posterior.log_evidence) < float(one.log_evidence) < float(best.log_evidence)


def test_double_eigenvalues_are_found(key):
    """Two equal ones of each: one Krylov space knows only one vector for both."""
    scales = jnp.repeat(jnp.asarray([30.0, 10.0, 3.0, 1.0]), 2)
    turn = jnp.linalg.qr(jr.normal(key, (40, 40)))[0][:8]
    loss = LeastSquares(lambda x: jnp.concatenate([scales * (turn @ x), jnp.zeros(20)]), jnp.zeros(28), 1.0)
    prior = Gaussian(lambda x: x)
    with pytest.warns(InversionWarning, match="an eigenvalue of 9 is left out"):
        found = laplace_posterior(loss, prior, jnp.zeros(40), rank=4, key=key)
    np.testing.assert_allclose(found.curvature.spectrum, [900.0, 900.0, 100.0, 100.0], rtol=1e-9)
    full = laplace_posterior(loss, prior, jnp.zeros(40), rank=10, key=key)
    assert full.curvature.spectrum.size == 8
    assert full.truncation < 1e-8
    np.testing.assert_allclose(full.covariance, np.linalg.inv(np.eye(40) + (turn.T * scales**2) @ turn), atol=1e-8)


def test_vectors_and_models(key, decay):
    loss, model = decay
    prior = Gaussian(lambda m: (m.amplitude.raw, m.rate.raw, m.offset), 0.5)
    posterior = laplace_posterior(loss, prior, model, rank=3, key=key)
    vector = jr.normal(key, (3,))
    np.testing.assert_allclose(posterior.vector_at(posterior.model_at(vector)), vector, rtol=1e-9)
    np.testing.assert_allclose(posterior.model_at(jnp.zeros(3)).rate.value, model.rate.value, rtol=1e-12)
    there = posterior.model_at(vector)
    assert float(posterior.log_density(there)) == pytest.approx(float(-loss(there) - prior(there)), rel=1e-12)
    density = jax.jit(posterior.vector_log_density)
    assert float(density(vector)) == pytest.approx(float(posterior.log_density(there)), rel=1e-12)
    assert taylor_test(density, vector, key=key).passed


def test_samples_have_the_covariance(key, decay):
    loss, model = decay
    posterior = laplace_posterior(loss, _wide(), model, rank=3, key=key)
    drawn = posterior.sample(key, 4000)
    numbers = np.stack([drawn.amplitude.raw, drawn.rate.raw, drawn.offset])
    errors = np.sqrt(np.diag(posterior.covariance))
    np.testing.assert_allclose(np.cov(numbers) / np.outer(errors, errors), _correlation(posterior), atol=0.08)
    one = posterior.sample(jr.split(key, 4000)[7])
    np.testing.assert_allclose(one.offset, drawn.offset[7], rtol=1e-12)
    by_line = posterior.predict(lambda m: m())
    by_samples = posterior.predict(lambda m: m(), key=key, count=2000)
    np.testing.assert_allclose(by_samples.standard_deviation, by_line.standard_deviation, rtol=0.15)
    np.testing.assert_allclose(by_samples.upper - by_samples.mean, by_line.upper - by_line.mean, rtol=0.25)
    assert by_samples.samples.shape == (2000, 15)
    new = posterior.predict(lambda m: m(), key=key, count=2000, sigma=1.0)
    np.testing.assert_allclose(new.upper - new.lower, 2 * 1.96 * np.hypot(1.0, by_line.standard_deviation), rtol=0.2)


def _correlation(posterior):
    errors = np.sqrt(np.diag(posterior.covariance))
    return posterior.covariance / np.outer(errors, errors)


def _hamiltonian(density, start, key, count, step=0.25, leaps=6):
    """Hamiltonian Monte Carlo in ten lines: what a sampler needs is a function of one vector."""
    slope = jax.grad(density)

    def propose(x, key):
        momentum_key, accept_key = jr.split(key)
        first = jr.normal(momentum_key, x.shape)
        leap = lambda _, s: (s[0] + step * s[1], s[1] + step * slope(s[0] + step * s[1]))  # noqa: E731
        y, p = jax.lax.fori_loop(0, leaps, leap, (x, first + 0.5 * step * slope(x)))
        p = p - 0.5 * step * slope(y)
        gain = density(y) - 0.5 * p @ p - density(x) + 0.5 * first @ first
        x = jnp.where(jnp.log(jr.uniform(accept_key)) < gain, y, x)
        return x, x

    return jax.lax.scan(propose, start, jr.split(key, count))[1]


def test_a_sampler_takes_the_density_as_it_is(key):
    """Two numbers of a curved posterior: the sampler's mean and variance are those of quadrature, not of Laplace's."""
    t = jnp.linspace(0.2, 3.0, 6)
    prior = Gaussian(lambda m: (m[0].raw, m[1]), 1.0)
    model = (Positive.from_value(1.0), jnp.asarray(0.0))
    loss = LeastSquares(lambda m: jnp.exp(-m[0].value * t) + m[1], jnp.exp(-0.8 * t), 0.25)
    best = fit(loss + prior, model, GaussNewton(rtol=1e-12), progress=None).model
    posterior = laplace_posterior(loss, prior, best, rank=2, key=key)
    density = posterior.vector_log_density
    drawn = np.asarray(jax.jit(lambda key: _hamiltonian(density, jnp.zeros(2), key, 6000))(key))
    axis = jnp.linspace(-8.0, 8.0, 161)
    points = jnp.stack(jnp.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    logarithms = jax.jit(jax.vmap(density))(points)
    weights = np.asarray(jnp.exp(logarithms - logarithms.max()))
    mean = weights @ np.asarray(points) / weights.sum()
    variance = weights @ (np.asarray(points) - mean) ** 2 / weights.sum()
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=0.12)
    np.testing.assert_allclose(drawn.var(axis=0), variance, rtol=0.15)


def test_the_diagonal_alone(key):
    loss, priors, model = _line_problem(key)
    estimate = eqx.combine(_dense(loss, priors, model)[1], model)
    found = diagonal_laplace_posterior(loss, priors[1], estimate, key=key, trainable=_numbers_only())
    jacobian = jax.jacobian(lambda n: loss.residual({**estimate, "numbers": n}))(estimate["numbers"])
    expected = 1 / (1 / 4.0 + np.sum(np.asarray(jacobian) ** 2, axis=0))
    np.testing.assert_allclose(found.variance["numbers"], expected, rtol=1e-10)
    determinant = np.sum(np.log1p(4.0 * np.sum(np.asarray(jacobian) ** 2, axis=0)))
    full = laplace_posterior(loss, priors[1], estimate, rank=2, key=key, trainable=_numbers_only())
    gap = 0.5 * (np.linalg.slogdet(np.eye(2) + 4.0 * np.asarray(jacobian.T @ jacobian))[1] - determinant)
    assert float(found.log_evidence) == pytest.approx(float(full.log_evidence) + gap, rel=1e-10)


def _numbers_only():
    return {"field": False, "numbers": True, "name": False}


@pytest.mark.slow
def test_many_unknowns_have_variances_of_the_prior_less_the_data(key):
    """More than are found one by one: from the prior's own variance, and from samples where it has none."""
    grid = kp.Grid((36, 30), (0.0, 0.0), (1.0, 1.0))
    sensors = kp.Sensors(grid, np.random.default_rng(0).uniform(0.1, 0.9, (6, 2)))
    loss = LeastSquares(sensors.mv, jnp.zeros(6), 0.3)
    insulated = BiLaplacian(grid, lambda u: u, 0.5, 0.4)
    posterior = laplace_posterior(loss, insulated, jnp.zeros(grid.shape), rank=6, key=key)
    assert posterior.variance_error == 0.0
    # The closed form, at every seventh cell: k(x, x) - k(x, s) (k(s, s) + sigma²)⁻¹ k(s, x).
    at_sensors = jax.jit(jax.vmap(lambda w: insulated.colour(insulated.colour_transpose(sensors.T.mv(w)))))(jnp.eye(6))
    marginal = np.asarray(jax.vmap(sensors.mv)(at_sensors)) + 0.09 * np.eye(6)
    flat = np.asarray(at_sensors).reshape(6, -1)
    expected = np.asarray(insulated.variance(jnp.zeros(grid.shape))).ravel()
    expected = expected - np.einsum("ix,ij,jx->x", flat, np.linalg.inv(marginal), flat)
    np.testing.assert_allclose(posterior.variance.ravel(), expected, rtol=1e-8)
    absorbing = BiLaplacian(grid, lambda u: u, 0.5, 0.4, boundary=insulated.absorbing_walls())
    estimated = laplace_posterior(loss, absorbing, jnp.zeros(grid.shape), rank=6, key=key)
    assert estimated.variance_error == pytest.approx(0.0625)
    middle = np.s_[12:24, 10:20]
    ratio = np.asarray(estimated.variance)[middle] / expected.reshape(grid.shape)[middle]
    assert np.mean(ratio) == pytest.approx(1.0, abs=0.15)


def test_single_precision(key):
    matrix = jr.normal(key, (9, 20), jnp.float32)
    loss = LeastSquares(lambda x: matrix @ x, jnp.ones(9, jnp.float32), 1.0)
    prior = Gaussian(lambda x: x, 0.5)
    estimate = (
        0.25
        * matrix.T
        @ jnp.linalg.solve(jnp.eye(9, dtype=jnp.float32) + 0.25 * matrix @ matrix.T, jnp.ones(9, jnp.float32))
    )
    exact = np.linalg.inv(4 * np.eye(20) + np.asarray(matrix.T @ matrix, np.float64))
    for rank in (20, 8):
        with pytest.warns(InversionWarning) if rank < 9 else nullcontext():
            found = laplace_posterior(loss, prior, estimate, rank=rank, key=key)
        assert found.variance.dtype == jnp.float32
        assert float(found.log_evidence) < 0
        if rank == 20:
            np.testing.assert_allclose(found.covariance, exact, atol=1e-6)


@pytest.mark.bad_input
def test_bad_input(key, decay):
    loss, model = decay
    prior, two = _wide(), {"rank": 2, "key": key}
    with pytest.raises(ValueError, match="rank must be at least 1, got 0"):
        laplace_posterior(loss, prior, model, rank=0, key=key)
    with pytest.raises(ValueError, match="the loss contains a prior"):
        laplace_posterior(loss + prior, prior, model, rank=3, key=key)
    with pytest.raises(TypeError, match="loss is a function"):
        laplace_posterior(lambda m: jnp.sum(m.offset), prior, model, rank=3, key=key)
    with pytest.raises(TypeError, match="Tikhonov is not a Gaussian prior"):
        laplace_posterior(loss, Tikhonov(kp.Grid((2,), 0.0, 1.0), lambda m: m, 1.0), model, rank=3, key=key)
    with pytest.raises(ValueError, match="offset is free and has 0 priors"):
        laplace_posterior(loss, Gaussian(lambda m: (m.amplitude.raw, m.rate.raw)), model, rank=3, key=key)
    with pytest.raises(ValueError, match=r"rate\.raw is free and has 2 priors"):
        laplace_posterior(loss, [prior, Gaussian(lambda m: m.rate.raw)], model, rank=3, key=key)
    with pytest.raises(ValueError, match="speaks of something that is not a free leaf"):
        laplace_posterior(loss, Gaussian(lambda m: m.rate.value), model, rank=3, key=key)
    boxed = LeastSquares(lambda m: m.value * jnp.ones(3), jnp.ones(3), 1.0)
    with pytest.raises(ValueError, match="numbers of raw sit on a limit of their Box"):
        laplace_posterior(boxed, Gaussian(lambda m: m.raw), Box(1.0, 0.0, 1.0), rank=3, key=key)
    with pytest.raises(ValueError, match="the residual at the model is not finite"):
        laplace_posterior(LeastSquares(jnp.log, jnp.ones(2), 1.0), Gaussian(lambda x: x), -jnp.ones(2), **two)
    posterior = laplace_posterior(loss, prior, model, rank=3, key=key)
    with pytest.raises(ValueError, match="level is a probability"):
        posterior.predict(lambda m: m(), level=95)
    with pytest.raises(ValueError, match="at least 2 samples, got count=1"):
        posterior.predict(lambda m: m(), key=key, count=1)
    with pytest.raises(ValueError, match="cannot be negative"):
        posterior.predict(lambda m: m(), sigma=-0.1)
    with pytest.raises(TypeError, match="must return real arrays of floats"):
        posterior.predict(lambda m: jax.lax.complex(m(), m()))
    exact = laplace_posterior(LeastSquares(lambda x: x, jnp.zeros(2), 1.0), Gaussian(lambda x: x), jnp.zeros(2), **two)
    for chosen in ({"noise": False}, {"prior": False}):
        with pytest.raises(ValueError, match="grows for ever larger precisions; there is no best one"):
            exact.calibrated(**chosen)
