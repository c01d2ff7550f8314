"""Penalties: their integrals on several grids, and what they are for."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optimistix as optx
import pytest

from krylovpde.grid import Grid, RadialGrid
from krylovpde.inverse import LeastSquares, Tikhonov, TotalVariation, fit
from tests.helpers import variants


def _identity(model):
    return model


_UNIFORM = Grid(shape=(40, 30), lower=(0.0, 0.0), upper=(2.0, 1.0))
_GRADED = Grid.from_edges([np.linspace(0, 2**0.5, 50) ** 2, np.linspace(0, 1, 31)])


@pytest.mark.parametrize("grid", variants([_UNIFORM, _GRADED], quick=[_GRADED]))
def test_integrals_of_a_linear_field_are_slope_times_volume(grid):
    x, y = (jnp.asarray(c) for c in grid.coordinates)
    u = 3.0 * x - 4.0 * y
    # |grad u|² = 25 on an area of 2; the half cells at the walls have no face inside, hence the tolerance.
    assert Tikhonov(grid, _identity, 0.1)(u) == pytest.approx(0.5 * 0.1 * 25 * 2.0, rel=0.05)
    assert TotalVariation(grid, _identity, 0.1, 1e-6)(u) == pytest.approx(0.1 * 5 * 2.0, rel=0.05)


def test_tikhonov_on_a_radial_grid_weighs_whole_annuli():
    grid = RadialGrid(np.linspace(0.0, 2.0, 81), dimension=2)
    (r,) = (jnp.asarray(c) for c in grid.coordinates)
    assert Tikhonov(grid, _identity, 1.0)(3.0 * r) == pytest.approx(0.5 * 9 * np.pi * 4, rel=0.03)


def test_tikhonov_is_half_the_square_of_its_residual_and_knows_its_reference(key):
    u, reference = jr.normal(key, (2, *_UNIFORM.shape))
    penalty = Tikhonov(_UNIFORM, _identity, 0.3, reference)
    squares = sum(np.sum(np.asarray(leaf) ** 2) for leaf in penalty.residual(u))
    np.testing.assert_allclose(penalty(u), 0.5 * squares, rtol=1e-12)
    assert penalty(reference) == 0.0
    assert penalty(reference + 5.0) == pytest.approx(0.0, abs=1e-20)


def test_checkerboards_are_penalised():
    """Central differences at cell centres do not see them."""
    x, y = np.indices(_UNIFORM.shape)
    board = jnp.asarray((-1.0) ** (x + y))
    assert Tikhonov(_UNIFORM, _identity, 1.0)(board) > 1e3
    assert TotalVariation(_UNIFORM, _identity, 1.0, 0.1)(board) > 50


def test_derivatives_are_finite_where_the_field_is_flat():
    for penalty in (Tikhonov(_UNIFORM, _identity, 1.0), TotalVariation(_UNIFORM, _identity, 1.0, 0.1)):
        gradient = jax.grad(penalty)(jnp.ones(_UNIFORM.shape))
        assert bool(jnp.all(gradient == 0.0))


def test_total_variation_prefers_one_edge_to_a_ramp_less_than_tikhonov_does():
    x, _ = (jnp.asarray(c) for c in _UNIFORM.coordinates)
    edge, ramp = jnp.where(x < 1.0, 0.0, 1.0), x / 2
    variation, smooth = TotalVariation(_UNIFORM, _identity, 1.0, 1e-3), Tikhonov(_UNIFORM, _identity, 1.0)
    assert variation(edge) / variation(ramp) == pytest.approx(1.0, abs=0.05)
    assert smooth(edge) / smooth(ramp) > 10


def test_single_precision_stays_single():
    u = jnp.ones(_UNIFORM.shape, jnp.float32)
    assert Tikhonov(_UNIFORM, _identity, 1.0, 0.5)(u).dtype == jnp.float32
    assert TotalVariation(_UNIFORM, _identity, 1.0, 0.1)(u).dtype == jnp.float32


@pytest.mark.slow
@pytest.mark.standard_promotion
def test_levenberg_marquardt_fits_data_and_penalty(key):
    grid = Grid(shape=(20,), lower=(0.0,), upper=(1.0,))
    (x,) = (jnp.asarray(c) for c in grid.coordinates)
    data = jnp.sin(3 * x) + 0.3 * jr.normal(key, x.shape)
    loss = LeastSquares(_identity, data, 0.3) + Tikhonov(grid, _identity, 0.5)
    result = fit(loss, jnp.zeros(20), optx.LevenbergMarquardt(1e-8, 1e-8), max_iterations=20, progress=None)
    assert jnp.linalg.norm(jax.grad(loss)(result.model)) < 1e-6
    assert jnp.linalg.norm(result.model - jnp.sin(3 * x)) < 0.7 * jnp.linalg.norm(data - jnp.sin(3 * x))


@pytest.mark.bad_input
def test_bad_input():
    with pytest.raises(ValueError, match="edge must be positive, got 0"):
        TotalVariation(_UNIFORM, _identity, 1.0, 0.0)
    with pytest.raises(TypeError, match="not a sum of squares"):
        (LeastSquares(_identity, np.zeros(3), 1.0) + TotalVariation(_UNIFORM, _identity, 1.0, 0.1)).residual(
            jnp.ones(3)
        )
