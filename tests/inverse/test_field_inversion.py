"""Gauss–Newton on a diffusivity field: the iterations, and with a preconditioner the products, of any mesh."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.inverse import H1, Experiment, GaussNewton, LeastSquares, Positive, Tikhonov, fit


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
    """About the inverse of `Tikhonov`'s Hessian: the Riesz map of a long correlation."""
    riesz = H1(kp.Grid((cells, cells), (0.0, 0.0), (1.0, 1.0)), 3.0).riesz
    return lambda gradient: jax.tree.map(riesz, gradient)


def _assert_mesh_independent(meshes, key):
    found = {cells: _fit(cells, key) for cells in meshes}
    iterations = [len(result.history) - 1 for result, _ in found.values()]
    assert max(iterations) <= 12
    assert iterations[-1] <= iterations[0] + 1
    for result, error in found.values():
        assert result.history[-1].misfit < 1.0
        assert error < 0.25  # of 0.4 at the start
    return found


def _line(cells, key):
    """`-(k u')' = f` on a line for three forces `f`, with 12 sensors: a field that is cheap to compile."""
    grid = kp.Grid((cells,), 0.0, 1.0)
    x = jnp.asarray(grid.coordinates[0])
    forces = jnp.exp(-((x[:, None] - jnp.asarray([0.2, 0.5, 0.8])) ** 2) / 0.005)
    sensors = kp.Sensors(grid, np.linspace(0.05, 0.95, 12)[:, None])
    # Differences between cells, and between the outer ones and the ends, where u = 0.
    slopes = cells * (jnp.eye(cells + 1, cells) - jnp.eye(cells + 1, cells, -1))
    slopes = slopes.at[0, 0].mul(2.0).at[-1, -1].mul(2.0)

    def predict(log_k):
        faces = jnp.exp(0.5 * (jnp.append(log_k, log_k[-1]) + jnp.append(log_k[0], log_k)))
        weights = faces * jnp.ones(cells + 1).at[0].mul(0.5).at[-1].mul(0.5)
        u = jnp.linalg.solve(slopes.T @ (weights[:, None] * slopes), forces)
        return jax.vmap(sensors.mv, in_axes=1)(u)

    truth = jnp.sin(2 * jnp.pi * x)
    data = predict(truth) + 1e-3 * jr.normal(key, (3, 12))
    loss = LeastSquares(predict, data, 1e-3) + Tikhonov(grid, lambda log_k: log_k, 1.0)
    result = fit(loss, jnp.zeros(cells), GaussNewton(rtol=1e-6), max_iterations=20, progress=None)
    assert not result.failed, result.reason
    return result, float(jnp.sqrt(jnp.mean((result.model - truth) ** 2)))


def test_iterations_and_products_do_not_grow_with_the_mesh(key):
    (coarse, coarse_error), (fine, fine_error) = (_line(cells, key) for cells in (32, 128))
    assert len(coarse.history) - 1 <= 10
    assert len(fine.history) <= len(coarse.history) + 1
    assert fine.history[-1].jacobian_products <= 1.3 * coarse.history[-1].jacobian_products
    assert fine.history[-1].value == pytest.approx(coarse.history[-1].value, rel=0.1)
    assert max(coarse_error, fine_error) < 0.2  # of 0.7 at the start


@pytest.mark.slow
def test_iterations_do_not_grow_from_32_to_128(key):
    found = _assert_mesh_independent([32, 64, 128], key)
    print({cells: (len(r.history) - 1, r.history[-1].jacobian_products, e) for cells, (r, e) in found.items()})


@pytest.mark.slow
def test_with_a_preconditioner_products_do_not_grow_either(key):
    coarse, fine = (_fit(cells, key, preconditioner=_smooth(cells))[0] for cells in (32, 64))
    plain = _fit(64, key)[0]
    assert fine.history.value[-1] == pytest.approx(plain.history.value[-1], rel=1e-4)
    assert fine.history[-1].jacobian_products <= 1.3 * coarse.history[-1].jacobian_products
    assert fine.history[-1].jacobian_products <= 0.8 * plain.history[-1].jacobian_products
