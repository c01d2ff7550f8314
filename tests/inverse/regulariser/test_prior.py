"""Gaussian priors as one interface: whitening, colouring, transposes, variances and determinants, beside matrices."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.inverse import BiLaplacian, Gaussian


def _identity(model):
    return model


_GRID = kp.Grid.from_edges([np.linspace(0, 1, 7) ** 1.2, np.linspace(0, 1.3, 6)])
_BOX = kp.Grid((6, 5), (0.0, 0.0), (1.0, 1.0))
_MASKED = kp.Grid((6, 5), (0.0, 0.0), (1.0, 1.0), active=_BOX.coordinates[0] + _BOX.coordinates[1] < 1.4)
_INSULATED = BiLaplacian(_GRID, _identity, 0.3, (0.5, 0.6), 1.5, weight=2.0)
_PRIORS = {
    "insulated": _INSULATED,
    "absorbing": BiLaplacian(_GRID, _identity, 0.3, (0.5, 0.6), 1.5, boundary=_INSULATED.absorbing_walls()),
    "held and periodic": BiLaplacian(_GRID, _identity, 0.3, 0.5, boundary=(kp.Dirichlet(), kp.Periodic())),
    "masked": BiLaplacian(_MASKED, _identity, 0.3, 0.5, 2.0),
    "numbers": Gaussian(_identity, np.linspace(0.1, 2.0, 5), -1.0, weight=3.0),
}


def _matrix(prior):
    """`L`, column by column, from the residual alone."""
    shape = (6, 5)
    origin = prior.residual(jnp.zeros(shape)).ravel()
    columns = jax.jit(jax.vmap(lambda e: prior.residual(e.reshape(shape)).ravel() - origin))(jnp.eye(30))
    return np.asarray(columns).T


@pytest.mark.parametrize("name", _PRIORS)
def test_colour_inverts_whiten_and_transposes_are_transposes(name, key):
    prior = _PRIORS[name]
    root = _matrix(prior)
    noise, values = jr.normal(key, (2, 6, 5))
    if name == "masked":
        noise, values = (jnp.where(jnp.asarray(_MASKED.active), x, 0.0) for x in (noise, values))
        root = root + np.diag(1.0 - _MASKED.active.ravel())  # nothing is asked of what is not there
    coloured, whitened, back, forth = jax.jit(
        lambda z, v: (
            prior.colour(z),
            prior.whiten(prior.colour(z)),
            prior.colour_transpose(v),
            prior.whiten_transpose(z),
        )
    )(noise, values)
    np.testing.assert_allclose(whitened, noise, atol=1e-10)
    expected = np.asarray(prior.reference) + np.linalg.solve(root, np.asarray(noise).ravel()).reshape(6, 5)
    np.testing.assert_allclose(coloured, expected, atol=1e-10)
    np.testing.assert_allclose(back.ravel(), np.linalg.solve(root.T, np.asarray(values).ravel()), atol=1e-10)
    np.testing.assert_allclose(forth.ravel(), root.T @ np.asarray(noise).ravel(), rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("name", ["insulated", "numbers"])
def test_variance_and_density_where_they_are_known(name, key):
    prior, root = _PRIORS[name], _matrix(_PRIORS[name])
    values = jr.normal(key, (6, 5))
    np.testing.assert_allclose(prior.variance(values).ravel(), np.diag(np.linalg.inv(root.T @ root)), rtol=1e-10)
    size, determinant = 30, np.linalg.slogdet(root)[1]
    np.testing.assert_allclose(prior.log_determinant(values), determinant, rtol=1e-10)
    expected = determinant - 0.5 * size * np.log(2 * np.pi) - 0.5 * np.sum(np.asarray(prior.residual(values)) ** 2)
    np.testing.assert_allclose(prior.log_density(values), expected, rtol=1e-10)


def test_unit_vectors_are_coloured_to_the_tolerance():
    """The linear solve compares entry by entry: zeros in the noise must not end it."""
    prior, unit = _PRIORS["absorbing"], jnp.zeros((6, 5)).at[2, 3].set(1.0)
    np.testing.assert_allclose(jax.jit(lambda z: prior.whiten(prior.colour(z)))(unit), unit, atol=1e-10)
    assert np.all(np.asarray(prior.colour(jnp.zeros((6, 5)))) == 1.5)


def test_single_precision_and_pytrees(key):
    noise = jr.normal(key, (6, 5), jnp.float32)
    for name in ("insulated", "absorbing"):
        back = _PRIORS[name].whiten(_PRIORS[name].colour(noise))
        assert back.dtype == jnp.float32
        np.testing.assert_allclose(back, noise, atol=1e-4)
    network = eqx.nn.MLP(1, 1, 3, 1, key=key)
    prior = Gaussian(lambda model: eqx.filter(model, eqx.is_inexact_array), 2.0)
    weights = prior.selected(network)
    coloured = prior.colour(prior.whiten(weights))
    assert jax.tree.structure(coloured) == jax.tree.structure(weights)
    np.testing.assert_allclose(coloured.layers[0].weight, network.layers[0].weight, rtol=1e-12)
    assert prior.log_density(network) == pytest.approx(
        float(-prior(network)) - sum(w.size for w in jax.tree.leaves(weights)) * np.log(2 * np.sqrt(2 * np.pi))
    )


def test_samples_have_a_gradient_in_the_length():
    """The solve between other walls than insulated ones, and the modes, against finite differences."""
    unit = jnp.zeros((6, 5)).at[2, 3].set(1.0)
    for boundary in (None, kp.Dirichlet()):

        def energy(length, boundary=boundary):
            return jnp.sum(BiLaplacian(_GRID, _identity, 0.3, length, boundary=boundary).colour(unit) ** 2)

        value, slope = jax.jit(jax.value_and_grad(energy))(0.5)
        assert slope == pytest.approx(float((energy(0.5 + 1e-5) - energy(0.5 - 1e-5)) / 2e-5), rel=1e-5)
        assert value > 0


def test_a_density_without_a_known_determinant_is_refused():
    with pytest.raises(ValueError, match="the determinant of this prior is not known"):
        _PRIORS["absorbing"].log_density(jnp.ones((6, 5)))
