"""Smooth data on graded, radial and two-dimensional grids: gradients right to tolerance."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.linalg

import krylovpde as kp
from tests.helpers import relative_error

from .problems import spectral_gradient

# ---- self-adjoint only in a weight

EDGES = np.concatenate([[0.0], np.cumsum(1.03 ** np.arange(48))])
EDGES = EDGES / EDGES[-1]
GRIDS = {"graded": kp.Grid.from_edges([EDGES]), "radial": kp.RadialGrid(0.02 + EDGES, dimension=2)}
WEIGHTED_TIME = 0.004


def smooth_on(grid):
    x = np.asarray(grid.coordinates[0])
    k = 1.0 + 0.5 * np.sin(2 * np.pi * x) + 0.3 * (x > 0.5)
    return tuple(map(jnp.asarray, (k, np.exp(-(((x - 0.35) / 0.1) ** 2)), np.exp(-(((x - 0.6) / 0.12) ** 2)))))


def weighted_operator(grid, k):
    return kp.Diffusion(grid, k, boundary=kp.Dirichlet()).operator()


def weighted(grid, options, k):
    _, v, g = smooth_on(grid)
    return jnp.vdot(g, kp.expm_multiply(weighted_operator(grid, k), v, WEIGHTED_TIME, **options).value)


@pytest.mark.parametrize(
    ("name", "rtol"),
    [
        ("radial", 1e-8),
        pytest.param("graded", 1e-6, marks=pytest.mark.slow),
        *(pytest.param(g, 1e-4, marks=pytest.mark.slow) for g in GRIDS),
    ],
)
def test_gradient_on_grids_with_a_weight(name, rtol):
    grid = GRIDS[name]
    k, v, g = smooth_on(grid)
    assert kp.is_self_adjoint(weighted_operator(grid, k))
    reference = spectral_gradient(
        lambda k, u: weighted_operator(grid, k).mv(u), k, v, g, WEIGHTED_TIME, weight=grid.cell_volumes
    )
    gradient = jax.jit(jax.grad(functools.partial(weighted, grid, {"rtol": rtol})))(k)
    assert relative_error(gradient, reference) <= 20 * rtol


@pytest.mark.slow
@pytest.mark.parametrize("name", ["graded", "radial"])
def test_rough_directions_on_grids_with_a_weight(name, key):
    grid = GRIDS[name]
    k = smooth_on(grid)[0]
    direction = jax.random.normal(key, k.shape)

    def product(options):
        gradient = jax.grad(functools.partial(weighted, grid, options))
        return jax.jit(lambda k, d: jax.jvp(gradient, (k,), (d,))[1])(k, direction)

    assert relative_error(product({"rtol": 1e-6}), product({"method": kp.Dense()})) <= 100 * 1e-6


# ---- two dimensions, 32 x 32

SHAPE = (32, 32)
GRID = kp.Grid(shape=SHAPE, lower=(0.0, 0.0), upper=(1.0, 1.0))


def plane_data():
    x, y = map(np.asarray, GRID.coordinates)
    k = 1.0 + 0.5 * np.sin(2 * np.pi * x) * np.cos(np.pi * y) + 0.3 * (x > 0.5)
    v = np.exp(-((x - 0.35) ** 2 + (y - 0.4) ** 2) / 0.1**2)
    g = np.exp(-((x - 0.6) ** 2 + (y - 0.5) ** 2) / 0.12**2)
    return tuple(map(jnp.asarray, (k, v, g)))


def heat_plane(k):
    return kp.Diffusion(GRID, k, boundary=kp.Dirichlet()).operator()


def advection_plane(k):
    x, y = map(jnp.asarray, GRID.coordinates)
    velocity = (40.0 * jnp.cos(jnp.pi * x) + 20.0, 30.0 * jnp.sin(jnp.pi * y))
    return kp.AdvectionDiffusion(GRID, k, velocity, boundary=kp.Dirichlet(), scheme=kp.Upwind(order=1)).operator()


def plane_gradient(operator, t, rtol):
    k, v, g = plane_data()
    return jax.jit(jax.grad(lambda k: jnp.vdot(g, kp.expm_multiply(operator(k), v, t, rtol=rtol).value)))(k)


@pytest.mark.slow
def test_heat_in_the_plane():
    k, v, g = plane_data()
    t = 0.01
    reference = spectral_gradient(lambda k, u: heat_plane(k).mv(u), k, v, g, t)
    assert relative_error(plane_gradient(heat_plane, t, 1e-6), reference) <= 20 * 1e-6


def quadrature_gradient(operator, k, v, g, t, nodes=24):
    """`∫ vjp_k[A(k) u(s)](λ(s)) ds` by Gauss and Legendre, u and λ from SciPy's exponential to rounding."""
    matrix = scipy.sparse.csr_matrix(np.asarray(operator(k).as_matrix()).reshape(v.size, v.size))
    points, weights = np.polynomial.legendre.leggauss(nodes)
    total = np.zeros(k.shape)
    pull = jax.jit(lambda u, w: jax.vjp(lambda k: operator(k).mv(u), k)[1](w)[0])
    for point, share in zip(points, weights, strict=True):
        s = t * (point + 1) / 2
        u = scipy.sparse.linalg.expm_multiply(s * matrix, np.asarray(v).ravel())
        w = scipy.sparse.linalg.expm_multiply((t - s) * matrix.T, np.asarray(g).ravel())
        total += t * share / 2 * np.asarray(pull(jnp.asarray(u.reshape(SHAPE)), jnp.asarray(w.reshape(SHAPE))))
    return jnp.asarray(total)


@pytest.mark.slow
def test_advection_and_diffusion_in_the_plane():
    k, v, g = plane_data()
    t = 0.005
    reference = quadrature_gradient(advection_plane, k, v, g, t)
    # The reference against itself with fewer nodes: converged.
    assert relative_error(quadrature_gradient(advection_plane, k, v, g, t, nodes=16), reference) < 1e-9
    assert relative_error(plane_gradient(advection_plane, t, 1e-6), reference) <= 20 * 1e-6


@pytest.mark.slow
def test_heat_and_advection_in_the_plane_in_single_precision():
    k, v, g = plane_data()
    t = 0.005
    reference = quadrature_gradient(advection_plane, k, v, g, t)
    single = tuple(a.astype(jnp.float32) for a in (k, v, g))
    gradient = jax.jit(
        jax.grad(lambda k: jnp.vdot(single[2], kp.expm_multiply(advection_plane(k), single[1], t, rtol=1e-5).value))
    )(single[0])
    assert gradient.dtype == jnp.float32
    assert relative_error(gradient, reference) <= 2e-4
