"""Gaussian processes on grids against dense Cholesky factors (GPyTorch needs an index that is not here)."""

import functools as ft

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
import pytest

import krylovpde as kp
from krylovpde.functions import MaternCovariance, RBFCovariance
from krylovpde.inverse import GaussianProcess
from tests.helpers import dense, relative_error, variants

TRUTH = np.log([0.2, 1.3, 0.05])


def process_of(grid, logarithms):
    length_scale, variance, noise = jnp.exp(logarithms)
    return GaussianProcess(MaternCovariance(grid, length_scale, variance), noise)


def covariance_of(grid, logarithms):
    """`K`, with the closed form written once more."""
    nodes = np.stack([x.ravel() for x in grid.coordinates], axis=1)
    distances = jnp.asarray(np.linalg.norm(nodes[:, None] - nodes[None, :], axis=2))
    length_scale, variance, _ = jnp.exp(logarithms)
    scaled = np.sqrt(3.0) * distances / length_scale
    return variance * (1 + scaled) * jnp.exp(-scaled)


@ft.partial(jax.jit, static_argnums=0)
def exact(grid, logarithms, data):
    """By Cholesky's factor."""
    matrix = covariance_of(grid, logarithms) + jnp.exp(logarithms[2]) * jnp.eye(data.size)
    factor = jnp.linalg.cholesky(matrix)
    white = jax.scipy.linalg.solve_triangular(factor, data.ravel(), lower=True)
    return -0.5 * jnp.vdot(white, white) - jnp.sum(jnp.log(jnp.diag(factor))) - 0.5 * data.size * np.log(2 * np.pi)


def drawn(grid, seed):
    rng = np.random.default_rng(seed)
    matrix = np.asarray(covariance_of(grid, TRUTH)) + np.exp(TRUTH[2]) * np.eye(np.prod(grid.shape))
    return jnp.asarray((np.linalg.cholesky(matrix) @ rng.standard_normal(len(matrix))).reshape(grid.shape))


GRID = kp.Grid((6, 5), (0.0, 0.0), (1.0, 1.0))


def test_likelihood_without_chance(key):
    """With all directions split off, value and gradient are those of Cholesky's factor."""
    data, point = drawn(GRID, 1), jnp.asarray(TRUTH + 0.2)

    def ours(logarithms, data):
        options = {"num_probes": 2, "deflation": 30, "rtol": 1e-8}
        found = process_of(GRID, logarithms).log_marginal_likelihood(data, key, **options)
        return found.value, found

    gradient, found = jax.jit(jax.grad(ours, (0, 1), has_aux=True))(point, data)
    assert found.successful
    assert found.value == pytest.approx(float(exact(GRID, point, data)), rel=1e-9)
    assert float(found.standard_error) < 1e-9
    assert relative_error(gradient, jax.grad(exact, (1, 2))(GRID, point, data)) < 1e-5


@pytest.mark.parametrize("kind", variants([MaternCovariance, RBFCovariance], slow=[RBFCovariance]))
def test_the_gradient_is_that_of_the_estimate_in_both_precisions(kind, key):
    """With few probes: what a line search sees."""
    data, point = jax.random.normal(key, GRID.shape), jnp.asarray([0.3, 1.3, 0.1])

    def value(parameters, data):
        process = GaussianProcess(kind(GRID, parameters[0], parameters[1]), parameters[2])
        rtol = 1e-8 if data.dtype == jnp.float64 else 1e-3
        return process.log_marginal_likelihood(data, key, num_probes=4, rtol=rtol).value

    assert kp.verify.taylor_test(lambda parameters: value(parameters, data), point, key=key, rtol=1e-8).passed
    both = jax.value_and_grad(value, (0, 1))
    double, single = jax.jit(both)(point, data), jax.jit(both)(point.astype(jnp.float32), data.astype(jnp.float32))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(single))
    for found, exact in zip(jax.tree.leaves(single), jax.tree.leaves(double), strict=True):
        assert relative_error(found, exact) < 1e-3


def test_posterior_mean():
    data = drawn(GRID, 1)
    process = process_of(GRID, jnp.asarray(TRUTH))
    matrix = np.asarray(covariance_of(GRID, TRUTH))
    reference = matrix @ np.linalg.solve(matrix + np.exp(TRUTH[2]) * np.eye(30), np.ravel(data))
    assert relative_error(process.posterior_mean(data, rtol=1e-8).value.ravel(), reference) < 1e-7


@pytest.mark.slow
def test_samples_have_the_moments(key):
    """Of prior and posterior, over 2000 keys: mean and covariance within four standard errors, entry by entry."""
    data, process = drawn(GRID, 1), process_of(GRID, jnp.asarray(TRUTH))
    prior = np.asarray(covariance_of(GRID, TRUTH))
    gain = np.linalg.solve(prior + np.exp(TRUTH[2]) * np.eye(30), prior).T
    keys = jax.random.split(key, 2000)
    for given, mean, covariance in ((None, np.zeros(30), prior), (data, gain @ data.ravel(), prior - gain @ prior)):
        draw = jax.jit(jax.vmap(lambda k, given=given: process.sample(k, given, rtol=1e-5).value.ravel()))
        fields = np.asarray(draw(keys))
        spread = np.sqrt(np.diag(covariance))
        assert np.max(np.abs(fields.mean(axis=0) - mean) / spread) < 4 / np.sqrt(2000)
        error = np.sqrt((np.outer(spread, spread) ** 2 + covariance**2) / 2000)
        assert np.max(np.abs(np.cov(fields.T) - covariance) / error) < 4.5


@pytest.mark.slow
def test_other_covariances_and_pytrees(key):
    """Without a preconditioner: nodes anywhere, and an operator of the user's own on a pytree."""
    axes = (np.asarray([0.0, 0.2, 0.3, 0.9]), np.linspace(0.0, 1.0, 3))
    data = jax.random.normal(key, (4, 3))
    covariance = RBFCovariance(axes, 0.4, 1.3)
    matrix = np.asarray(dense(covariance)) + 0.1 * np.eye(12)
    found = GaussianProcess(covariance, 0.1).log_marginal_likelihood(data, key, num_probes=2, deflation=12)
    misfit = np.ravel(data) @ np.linalg.solve(matrix, np.ravel(data))
    expected = -0.5 * (misfit + np.linalg.slogdet(matrix)[1] + 12 * np.log(2 * np.pi))
    assert found.value == pytest.approx(expected, rel=1e-5)
    tree = {"a": jnp.asarray([1.0, 2.0]), "b": jnp.asarray([[3.0]])}
    process = GaussianProcess(lx.DiagonalLinearOperator(tree), 0.5)
    mean = process.posterior_mean(tree, rtol=1e-8).value
    assert relative_error(mean, jax.tree.map(lambda k: k * k / (k + 0.5), tree)) < 1e-7


SQUARE = kp.Grid((32, 32), (0.0, 0.0), (1.0, 1.0))


@pytest.mark.slow
def test_likelihood_of_a_thousand_data(key):
    """Within three printed standard errors of the dense one."""
    data = drawn(SQUARE, 1)

    def ours(logarithms):
        return process_of(SQUARE, logarithms).log_marginal_likelihood(data, key, num_probes=64, max_dimension=32)

    found = eqx.filter_jit(ours)(jnp.asarray(TRUTH))
    error = float(found.value - exact(SQUARE, jnp.asarray(TRUTH), data))
    assert abs(error) < 3 * float(found.standard_error) < 6


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_selection_as_by_cholesky(seed, key):
    """The maximum within 2 % of that of the dense likelihood."""
    data = drawn(SQUARE, seed)
    options = {"num_probes": 192, "max_dimension": 64, "rtol": 1e-3}

    def ours(logarithms):
        return process_of(SQUARE, logarithms).log_marginal_likelihood(data, key, **options).value

    solver = optx.BFGS(rtol=1e-5, atol=1e-5)
    best = [
        jnp.exp(optx.minimise(function, solver, jnp.asarray(TRUTH), max_steps=100).value)
        for function in (lambda x, _: -ours(x) / 1024, lambda x, _: -exact(SQUARE, x, data) / 1024)
    ]
    assert np.max(np.abs(np.asarray(best[0] / best[1]) - 1)) < 0.02


def test_failures_are_told(key):
    covariance = lx.DiagonalLinearOperator(jnp.asarray([1.0, -2.0, 1.0]))
    found = GaussianProcess(covariance, 0.5).log_marginal_likelihood(jnp.ones(3), key, throw=False)
    assert found.result == kp.RESULTS.not_definite


@pytest.mark.bad_input
def test_wrong_input():
    covariance = MaternCovariance(GRID, 0.2)
    with pytest.raises(ValueError, match="self-adjoint"):
        GaussianProcess(lx.MatrixLinearOperator(jnp.eye(3)), 0.1)
    with pytest.raises(ValueError, match="positive number"):
        GaussianProcess(covariance, 0.0)
    with pytest.raises(ValueError, match="like the operator's input"):
        GaussianProcess(covariance, 0.1).posterior_mean(jnp.ones(3))
    with pytest.raises(ValueError, match=r"posterior_mean\(data\)` must be real"):
        GaussianProcess(covariance, 0.1).posterior_mean(jnp.ones((6, 5), complex))
