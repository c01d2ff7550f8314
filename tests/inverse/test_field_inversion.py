"""Gauss–Newton on a diffusivity field: the iterations, and with a preconditioner the products, of any mesh."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.inverse import Experiment, GaussNewton, LeastSquares, Positive, Tikhonov, fit


class Aquifer(eqx.Module):
    diffusivity: Positive
    grid: kp.Grid = eqx.field(static=True)

    def equation(self):
        return kp.Diffusion(self.grid, self.diffusivity.value)


_SIGMA, _DATA = 0.003, 4 * 25


def _fit(cells, key, **options):
    """Two heaps spread through a field that varies fivefold; 25 sensors at 4 times; weight 1 of the penalty."""
    grid = kp.Grid((cells, cells), (0.0, 0.0), (1.0, 1.0))
    x, y = map(jnp.asarray, grid.coordinates)
    truth = jnp.log(0.05) + 0.8 * jnp.sin(2 * jnp.pi * x) * jnp.cos(jnp.pi * y)
    heaps = [jnp.exp(-((x - a) ** 2 + (y - b) ** 2) / 0.02) for a, b in ((0.3, 0.35), (0.7, 0.7))]
    places = (np.arange(5) + 0.5) / 5
    sensors = kp.Sensors(grid, np.stack(np.meshgrid(places, places, indexing="ij"), axis=-1).reshape(-1, 2))
    experiment = Experiment(heaps[0] + heaps[1], jnp.asarray([0.25, 0.5, 1.0, 1.5]), observe=sensors)
    # The same noise on every mesh.
    data = experiment(Aquifer(Positive(truth), grid)) + _SIGMA * jr.normal(key, (4, 25))
    loss = LeastSquares(experiment, data, _SIGMA) + Tikhonov(grid, lambda model: model.diffusivity.raw, 1.0)
    start = Aquifer(Positive(jnp.full_like(truth, jnp.log(0.05))), grid)
    result = fit(loss, start, GaussNewton(rtol=1e-6, **options), max_iterations=20, progress=None)
    assert not result.failed, result.reason
    assert "tolerances" in result.reason
    return result, float(jnp.sqrt(jnp.mean((result.model.diffusivity.raw - truth) ** 2)))


def _smooth(cells):
    """The inverse of `Tikhonov`'s Hessian with a little more: `(V (0.1 - lap))⁻¹` by cosines."""
    wave_numbers = 2 * cells * jnp.sin(jnp.pi * jnp.arange(cells) / (2 * cells))
    eigenvalues = wave_numbers[:, None] ** 2 + wave_numbers**2
    phase = jnp.pi * (jnp.arange(cells)[:, None] + 0.5) * jnp.arange(cells) / cells
    cosines = jnp.cos(phase) * jnp.where(jnp.arange(cells) == 0, 1.0, 2.0**0.5) / cells**0.5

    def apply(gradient):
        field = cosines.T @ gradient @ cosines
        return cosines @ (cells**2 * field / (0.1 + eigenvalues)) @ cosines.T

    return lambda tree: jax.tree.map(apply, tree)


def _assert_mesh_independent(meshes, key):
    found = {cells: _fit(cells, key) for cells in meshes}
    iterations = [len(result.history) - 1 for result, _ in found.values()]
    assert max(iterations) <= 12
    assert iterations[-1] <= iterations[0] + 1
    for result, error in found.values():
        assert result.history[-1].misfit < 1.0
        assert error < 0.25  # of 0.4 at the start
    return found


def test_iterations_do_not_grow_with_the_mesh(key):
    _assert_mesh_independent([12, 24], key)


@pytest.mark.slow
def test_iterations_do_not_grow_from_32_to_128(key):
    found = _assert_mesh_independent([32, 64, 128], key)
    print({cells: (len(r.history) - 1, r.history[-1].jacobian_products, e) for cells, (r, e) in found.items()})


@pytest.mark.slow
def test_with_a_preconditioner_products_do_not_grow_either(key):
    results = {cells: _fit(cells, key, preconditioner=_smooth(cells))[0] for cells in (32, 64)}
    products = {cells: result.history[-1].jacobian_products for cells, result in results.items()}
    plain = _fit(32, key)[0]
    assert results[32].history.value[-1] == pytest.approx(plain.history.value[-1], rel=1e-4)
    assert products[64] <= 1.2 * products[32]
    assert products[32] < plain.history[-1].jacobian_products
