"""The bi-Laplacian prior: its variance and correlation against dense inverses, in one to three dimensions."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.inverse import BiLaplacian, KarhunenLoeve
from tests.helpers import variants


def _identity(model):
    return model


def _covariance(prior):
    """From the residual alone: the penalty's Hessian is the inverse."""
    shape = prior.grid.shape
    root = jax.jit(jax.jacobian(lambda u: prior.residual(u.reshape(shape)).ravel()))(jnp.zeros(int(np.prod(shape))))
    return np.linalg.inv(np.asarray(root.T @ root))


_CASES = {
    "line": (kp.Grid((200,), (0.0,), (2.0,)), 0.4, 0.01),
    "graded line": (kp.Grid.from_edges([2 * np.linspace(0, 1, 161) ** 1.2]), 0.4, 0.01),
    "plane": (kp.Grid((30, 36), (0.0, 0.0), (2.0, 3.0)), (0.6, 0.9), 0.06),
    "graded plane": (kp.Grid.from_edges([2 * np.linspace(0, 1, 33) ** 1.1, np.linspace(0, 2, 31)]), 0.6, 0.06),
}


@pytest.mark.parametrize("name", variants(_CASES, slow=["graded plane"]))
def test_variance_and_correlation_in_the_interior(name):
    grid, length, tolerance = _CASES[name]
    covariance = _covariance(BiLaplacian(grid, _identity, 0.3, length))
    middle = tuple(n // 2 for n in grid.shape)
    at = np.ravel_multi_index(middle, grid.shape)
    assert covariance[at, at] == pytest.approx(0.09, rel=tolerance)
    for axis, rho in enumerate(np.broadcast_to(length, (grid.ndim,))):
        x = grid.centres[axis]
        along = [np.ravel_multi_index((*middle[:axis], j, *middle[axis + 1 :]), grid.shape) for j in range(len(x))]
        correlation = covariance[at, along] / np.sqrt(covariance[at, at] * np.diag(covariance)[along])
        assert np.interp(x[middle[axis]] + rho, x, correlation) == pytest.approx(0.14, abs=0.02)


def test_variance_in_three_dimensions():
    """The smoothness is ½: the variance of a cell's mean converges like its size. Checked with modes, not dense."""
    grid = kp.Grid((24, 24, 24), (0.0,) * 3, (1.5,) * 3)
    operator = kp.functions.LaplacianFunctions(grid, 0.5)
    delta = jnp.zeros(grid.shape).at[12, 12, 12].set(1.0)
    prior = BiLaplacian(grid, _identity, 0.3, 0.5)
    scale = jnp.linalg.norm(prior.residual(jnp.ones(grid.shape))) / jnp.sqrt(1.5**3)  # δ
    decay = np.sqrt(8 * 0.5)
    column = operator.apply(lambda x: (1 + x / decay**2) ** -2, delta) / scale**2 / (1.5 / 24) ** 3
    np.testing.assert_allclose(jnp.linalg.norm(_applied_twice(prior, column) - delta / (1.5 / 24) ** 3), 0.0, atol=1e-6)
    assert column[12, 12, 12] == pytest.approx(0.09, rel=0.12)


def _applied_twice(prior, u):
    """The inverse covariance: the gradient of the penalty, over the volumes of one and the other side."""
    return jax.jit(jax.grad(lambda u: prior(u)))(u) / (1.5 / 24) ** 3


@pytest.mark.parametrize(
    "grid",
    [
        kp.Grid((160,), (0.0,), (2.0,)),
        pytest.param(kp.Grid((30, 30), (0.0, 0.0), (2.0, 2.0)), marks=pytest.mark.slow),
    ],
)
def test_walls(grid):
    """Insulated walls double the variance, absorbing ones keep it."""
    insulated = BiLaplacian(grid, _identity, 1.0, 0.6)
    absorbing = BiLaplacian(grid, _identity, 1.0, 0.6, boundary=insulated.absorbing_walls())
    variances = [np.diag(_covariance(p)).reshape(grid.shape) for p in (insulated, absorbing)]
    middle = tuple(n // 2 for n in grid.shape[1:])
    first, last = (v[(0, *middle)] / v[(grid.shape[0] // 2, *middle)] for v in variances)
    assert 1.7 < first < 2.3
    assert abs(last - 1) < 0.1  # the variance: twice the standard deviation's 4.7 %


def test_it_is_half_the_square_of_its_residual_and_knows_its_reference(key):
    grid = _CASES["graded plane"][0]
    u, reference = jr.normal(key, (2, *grid.shape))
    prior = BiLaplacian(grid, _identity, 0.3, 0.6, reference, weight=4.0)
    np.testing.assert_allclose(prior(u), 0.5 * jnp.sum(prior.residual(u) ** 2), rtol=1e-12)
    np.testing.assert_allclose(prior(u), 4 * BiLaplacian(grid, _identity, 0.3, 0.6)(u - reference), rtol=1e-12)
    assert prior(reference) == 0.0
    single = BiLaplacian(grid, _identity, 0.3, 0.6)(u.astype(jnp.float32))
    assert single.dtype == jnp.float32


@pytest.mark.parametrize("name", ["graded plane", "masked", "absorbing"])
def test_samples_are_of_the_prior(name, key):
    """Their residuals are white noise of variance one, exactly those that were drawn."""
    x, y = kp.Grid((12, 10), (0.0, 0.0), (2.0, 2.0)).coordinates
    masked = kp.Grid((12, 10), (0.0, 0.0), (2.0, 2.0), active=(x - 1) ** 2 + (y - 1) ** 2 < 0.8)
    grid = masked if name == "masked" else _CASES["graded plane"][0]
    prior = BiLaplacian(grid, _identity, 0.3, 0.6, 2.0)
    if name == "absorbing":
        prior = BiLaplacian(grid, _identity, 0.3, 0.6, 2.0, boundary=prior.absorbing_walls())
    noise = np.where(grid.active, jr.normal(key, grid.shape), 0.0)
    np.testing.assert_allclose(jax.jit(lambda key: prior.residual(prior.sample(key)))(key), noise, atol=1e-8)


def test_it_agrees_with_the_modes_of_the_same_field():
    """A Matérn field of smoothness 1 in the plane, cut off at the last mode."""
    grid = kp.Grid((9, 8), (0.0, 0.0), (1.0, 1.0))
    modes = KarhunenLoeve.from_matern(grid, 72, 0.3, 0.5, smoothness=1.0)
    fields = np.asarray(jax.vmap(modes.basis.synthesise)(jnp.eye(72))).reshape(72, -1)
    np.testing.assert_allclose(fields.T @ fields, _covariance(BiLaplacian(grid, _identity, 0.3, 0.5)), rtol=1e-8)


def test_new_numbers_do_not_recompile():
    traces = []

    def field(model):
        traces.append(None)
        return model

    grid = _CASES["graded line"][0]
    value = jax.jit(lambda s, r, u: BiLaplacian(grid, field, s, r)(u))
    first, second = value(0.3, 0.4, jnp.ones(grid.shape)), value(0.6, 0.4, jnp.ones(grid.shape))
    assert len(traces) == 1
    np.testing.assert_allclose(first, 4 * second, rtol=1e-12)


@pytest.mark.bad_input
def test_bad_input():
    grid = kp.Grid((4, 5), (0.0, 0.0), (1.0, 1.0))
    with pytest.raises(TypeError, match=r"needs a kp\.Grid, got a RadialGrid"):
        BiLaplacian(kp.RadialGrid([0.0, 1.0, 2.0]), _identity, 1.0, 1.0)
    with pytest.raises(ValueError, match="standard_deviation must be one number, positive; got 0"):
        BiLaplacian(grid, _identity, 0.0, 1.0)
    with pytest.raises(ValueError, match=r"correlation_length must be one number or 2 numbers \(one per axis\)"):
        BiLaplacian(grid, _identity, 1.0, np.ones(3))
