"""Matérn's covariance by Fourier transforms, against the matrix."""

import functools as ft

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.fft import dct, dctn

import krylovpde as kp
from krylovpde.functions import MaternCovariance, ToeplitzOperator, sqrt_multiply
from krylovpde.functions._cosine import cosine_transform, inverse_cosine_transform, nearest_cosine_diagonal
from tests.helpers import dense, relative_error

_CLOSED_FORMS = {
    0.5: lambda r: np.exp(-r),
    1.5: lambda r: (1 + np.sqrt(3) * r) * np.exp(-np.sqrt(3) * r),
    2.5: lambda r: (1 + np.sqrt(5) * r + 5 / 3 * r**2) * np.exp(-np.sqrt(5) * r),
}


def distances(coordinates):
    nodes = np.stack([np.ravel(x) for x in coordinates], axis=1)
    return np.linalg.norm(nodes[:, None] - nodes[None, :], axis=2)


@pytest.mark.parametrize("smoothness", _CLOSED_FORMS)
def test_is_the_matrix(smoothness, key):
    grid = kp.Grid((5, 4), (0.0, 0.0), (1.0, 2.0))
    covariance = MaternCovariance(grid, 0.6, 2.5, smoothness)
    exact = 2.5 * _CLOSED_FORMS[smoothness](distances(grid.coordinates) / 0.6)
    assert relative_error(dense(covariance), exact) < 1e-13
    assert covariance.transpose() is covariance
    if smoothness == 1.5:
        assert kp.verify.structure_test(covariance, key=key).passed


def test_any_dimension_and_precision():
    for coordinates in ([np.linspace(0.0, 1.0, 2)] * 3, [np.asarray([0.0])]):
        covariance = MaternCovariance(coordinates, 0.4, 1.0, 0.5)
        nodes = np.meshgrid(*coordinates, indexing="ij")
        assert relative_error(dense(covariance), _CLOSED_FORMS[0.5](distances(nodes) / 0.4)) < 1e-13
    single = MaternCovariance(kp.Grid((5, 4), (0.0, 0.0), (1.0, 1.0)), np.float32(0.3), np.float32(1.0))
    assert single.mv(jnp.ones((5, 4), np.float32)).dtype == np.float32
    assert single.mv(jnp.ones((5, 4), np.complex64)).dtype == np.complex64
    assert single.in_structure().dtype == np.float32


def test_derivatives_of_a_sample(key):
    """Through the square root, to length scale and variance."""
    noise = jax.random.normal(key, (4, 4))
    axes = (np.linspace(0.0, 1.0, 4), np.linspace(0.0, 1.5, 4))

    def functional(parameters):
        covariance = MaternCovariance(axes, parameters[0], parameters[1])
        return jnp.sum(sqrt_multiply(covariance, noise, rtol=1e-10).value ** 3)

    assert kp.verify.taylor_test(functional, jnp.asarray([0.4, 1.3]), key=key, rtol=1e-9).passed


@pytest.mark.parametrize("shape", [(5, 4), (1, 3), (2, 3, 2)])
def test_nearest_cosine_diagonal(shape):
    """The diagonal in the basis of cosines."""
    covariance = MaternCovariance([0.2 * np.arange(n) for n in shape], 0.5)
    transform = ft.reduce(np.kron, [dct(np.eye(n), axis=0, norm="ortho") for n in shape])
    exact = np.diag(transform @ np.asarray(dense(covariance)) @ transform.T)
    assert relative_error(nearest_cosine_diagonal(covariance.first_row(np.float64)).ravel(), exact) < 1e-13


@pytest.mark.parametrize("shape", [(5, 4), (520,)])  # by matrices and by Fourier transforms
def test_cosine_transform(shape, key):
    field = jax.random.normal(key, shape)
    image = cosine_transform(field)
    assert relative_error(image, dctn(np.asarray(field), norm="ortho")) < 1e-13
    assert relative_error(inverse_cosine_transform(image), field) < 1e-13


def test_toeplitz():
    toeplitz = ToeplitzOperator.from_first_row(jnp.asarray([2.0, -1.0, 0.0]))
    assert relative_error(dense(toeplitz), 2 * np.eye(3) - np.eye(3, k=1) - np.eye(3, k=-1)) < 1e-14


@pytest.mark.bad_input
def test_wrong_input():
    axes = (np.linspace(0.0, 1.0, 4),)
    with pytest.raises(ValueError, match="equidistant"):
        MaternCovariance((np.asarray([0.0, 0.1, 0.3]),), 0.5)
    with pytest.raises(TypeError, match="one list of nodes per axis, got a RadialGrid"):
        MaternCovariance(kp.RadialGrid(np.geomspace(0.1, 1.0, 5)), 0.5)
    with pytest.raises(ValueError, match="smoothness"):
        MaternCovariance(axes, 0.5, smoothness=1.0)
    with pytest.raises(ValueError, match="length_scale"):
        MaternCovariance(axes, -1.0)
    mask = np.asarray([True, True, False, True])
    with pytest.raises(ValueError, match="mask"):
        MaternCovariance(kp.Grid((4,), (0.0,), (1.0,), active=mask), 0.5)
