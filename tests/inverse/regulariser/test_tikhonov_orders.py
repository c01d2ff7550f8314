"""Tikhonov of order 0, 1 and 2: analytic integrals, null spaces, masks, and convergence under refinement."""

import itertools as it

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from krylovpde.grid import Grid, RadialGrid
from krylovpde.inverse import BiLaplacian, Gaussian, LeastSquares, Tikhonov, TotalVariation
from tests.helpers import variants


def _identity(model):
    return model


_UNIFORM = Grid(shape=(100, 90), lower=(0.0, 0.0), upper=(2.0, 1.0))
_GRADED = Grid.from_edges([np.linspace(0, 2**0.5, 121) ** 2, np.linspace(0, 1, 80) ** 1.1])


def _coordinates(grid):
    return tuple(jnp.asarray(c) for c in grid.coordinates)


@pytest.mark.parametrize("grid", variants([_UNIFORM, _GRADED], quick=[_GRADED]))
def test_integrals_of_a_quadratic_field(grid):
    x, y = _coordinates(grid)
    u = 1.5 * x**2 - x * y + 0.25 * y**2
    # The rows beside the walls have no second derivatives, hence the tolerance.
    assert Tikhonov(grid, _identity, 0.1, order=2)(u) == pytest.approx(0.5 * 0.1 * 2 * (9 + 2 * 1 + 0.25), rel=0.06)
    assert Tikhonov(grid, _identity, 0.1, order=0)(x) == pytest.approx(0.5 * 0.1 * 8 / 3, rel=1e-3)
    parts = Tikhonov(grid, _identity, 1.0, order=2).residual(u)
    bends = [np.asarray(part) for part in parts]
    volumes = grid.cell_volumes
    np.testing.assert_allclose(bends[0][1:-1], 3.0 * np.sqrt(volumes)[1:-1], rtol=1e-8)
    np.testing.assert_allclose(bends[1][:, 1:-1], 0.5 * np.sqrt(volumes)[:, 1:-1], rtol=1e-8)


@pytest.mark.parametrize("grid", [_UNIFORM, _GRADED])
def test_null_spaces(grid):
    x, y = _coordinates(grid)
    linear = 2.0 + 3.0 * x - y
    assert Tikhonov(grid, _identity, 1.0, order=2)(linear) < 1e-16
    assert Tikhonov(grid, _identity, 1.0, order=1)(jnp.full(grid.shape, 7.0)) == 0.0
    assert Tikhonov(grid, _identity, 1.0, linear, order=0)(linear) == 0.0
    assert Tikhonov(grid, _identity, 1.0, order=2)(x * y) > 0.9
    assert Tikhonov(grid, _identity, 1.0, order=1)(linear) > 9


def test_the_last_order_in_three_dimensions():
    grid = Grid((24, 20, 22), (0.0,) * 3, (1.0,) * 3)
    x, y, z = _coordinates(grid)
    penalty = Tikhonov(grid, _identity, 2.0, order=2)
    assert len(penalty.residual(x)) == 6
    assert penalty(x * y + 2 * y * z - z * x) == pytest.approx(2 * (1 + 4 + 1), rel=0.12)
    assert penalty(x + y + z) < 1e-18


@pytest.mark.parametrize("order", [0, 1, 2])
def test_cells_that_are_not_active_do_not_count(order, key):
    x, y = Grid((14, 12), (0.0, 0.0), (1.0, 1.0)).coordinates
    active = (x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.2
    grid = Grid((14, 12), (0.0, 0.0), (1.0, 1.0), active=active)
    u = jr.normal(key, grid.shape)
    penalty = Tikhonov(grid, _identity, 1.0, order=order)
    value, gradient = jax.jit(jax.value_and_grad(penalty))(jnp.where(active, u, jnp.nan))
    assert value == penalty(u)
    np.testing.assert_array_equal(np.asarray(gradient)[~active], 0.0)
    assert bool(jnp.all(jnp.isfinite(gradient)))
    linear = jnp.where(active, jnp.asarray(2 * x - y), 100.0)
    if order == 2:
        assert penalty(linear) < 1e-20


def test_the_radius_has_second_derivatives_too():
    grid = RadialGrid(np.linspace(1.0, 2.0, 201), dimension=2)
    (r,) = _coordinates(grid)
    assert Tikhonov(grid, _identity, 1.0, order=2)(r**2) == pytest.approx(0.5 * 4 * np.pi * 3, rel=0.02)
    assert Tikhonov(grid, _identity, 1.0, order=2)(r) < 1e-18


def _penalties(grid):
    return {
        "order 0": Tikhonov(grid, _identity, 1.0, order=0),
        "order 1": Tikhonov(grid, _identity, 1.0, order=1),
        "order 2": Tikhonov(grid, _identity, 1.0, order=2),
        "variation": TotalVariation(grid, _identity, 1.0, 0.5),
        "prior": BiLaplacian(grid, _identity, 0.5, 0.4),
    }


def _field(x, y):
    """No slope at the walls, as the prior asks."""
    return x**2 * (3 - 2 * x) * (1 + y**2 * (3 - 2 * y))


def _exact_integrals():
    """By Gauss' quadrature, which is exact for all but the variation."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    x, y = np.meshgrid((nodes + 1) / 2, (nodes + 1) / 2, indexing="ij")
    measure = np.outer(weights, weights) / 4
    f, df, ddf = x**2 * (3 - 2 * x), 6 * x * (1 - x), 6 - 12 * x
    g, dg, ddg = 1 + y**2 * (3 - 2 * y), 6 * y * (1 - y), 6 - 12 * y
    squared_slope = (df * g) ** 2 + (f * dg) ** 2
    # In the plane ν = 1, κ² = 8/ρ² and γ² = 1/(4π κ² σ²).
    operated = 8 / 0.16 * f * g - (ddf * g + f * ddg)
    integrands = {
        "order 0": (f * g) ** 2 / 2,
        "order 1": squared_slope / 2,
        "order 2": ((ddf * g) ** 2 + 2 * (df * dg) ** 2 + (f * ddg) ** 2) / 2,
        "variation": np.sqrt(squared_slope + 0.25) - 0.5,
        "prior": operated**2 / (4 * np.pi * 8 / 0.16 * 0.25) / 2,
    }
    return {name: float(np.sum(measure * values)) for name, values in integrands.items()}


@pytest.mark.parametrize("name", ["order 0", "order 1", "order 2", "variation", "prior"])
def test_the_penalty_of_a_continuous_field_converges_to_its_integral(name):
    exact, errors = _exact_integrals()[name], []
    value = eqx.filter_jit(lambda penalty, u: penalty(u))
    for n in (16, 32, 64):
        grid = Grid((n, n), (0.0, 0.0), (1.0, 1.0))
        errors.append(abs(float(value(_penalties(grid)[name], _field(*_coordinates(grid)))) / exact - 1))
    # Second derivatives are left out in the rows beside the walls, an error of first order.
    assert errors[2] < (0.1 if name == "order 2" else 0.01)
    assert errors[2] < 0.6 * errors[1] < 0.36 * errors[0]


@pytest.mark.parametrize("name", variants(["order 1", "order 2", "prior"], quick=["order 2"]))
def test_a_regularised_estimate_converges(name):
    """Averages of a field as data: the estimate at a point, on finer and finer grids."""
    estimates = []
    for n in (8, 16, 32):
        grid = Grid((n, n), (0.0, 0.0), (1.0, 1.0))
        x, y = _coordinates(grid)
        windows = jnp.stack(
            [jnp.exp(-((x - a) ** 2 + (y - b) ** 2) / 0.045) for a, b in ((0.25, 0.3), (0.7, 0.4), (0.4, 0.8))]
        )
        rows = jnp.asarray(grid.cell_volumes) * windows
        data = LeastSquares(lambda u, rows=rows: jnp.sum(rows * u, axis=(1, 2)), jnp.asarray([0.1, -0.1, 0.05]), 0.01)
        loss = data + _penalties(grid)[name]

        @jax.jit
        def solved(loss=loss, shape=grid.shape):
            zero = jnp.zeros(shape)
            hessian = jax.linearize(jax.grad(loss), zero)[1]
            matrix = jax.vmap(lambda e: hessian(e.reshape(shape)).ravel())(jnp.eye(zero.size))
            return jnp.linalg.solve(matrix, -jax.grad(loss)(zero).ravel()).reshape(shape)

        estimate = solved()
        # The mean of the cells around the middle of the window at (0.25, 0.3), a fixed region of all three grids.
        estimates.append(np.asarray(estimate).reshape(4, n // 4, 4, n // 4).mean(axis=(1, 3)))
    scale = np.max(np.abs(estimates[-1]))
    changes = [np.max(np.abs(a - b)) / scale for a, b in it.pairwise(estimates)]
    assert changes[1] < 0.5 * changes[0]
    assert changes[1] < 0.02


def test_gaussian_priors_of_numbers():
    model = {"a": jnp.asarray([1.0, 3.0]), "b": jnp.asarray(2.0, jnp.float32)}
    prior = Gaussian(_identity, standard_deviation=0.5, reference=1.0, weight=3.0)
    np.testing.assert_allclose(prior.residual(model)["a"], np.sqrt(3) * np.array([0.0, 4.0]), rtol=1e-14)
    assert prior.residual(model)["b"].dtype == jnp.float32
    several = Gaussian(lambda m: m["a"], np.array([0.1, 2.0]), np.array([0.9, 5.0]))
    assert several(model) == pytest.approx(0.5 * (1 + 1))
    assert several.reduced_misfit(model, several(model)) is None


@pytest.mark.bad_input
def test_bad_input():
    with pytest.raises(ValueError, match="order must be 0, 1 or 2, got 3"):
        Tikhonov(_UNIFORM, _identity, 1.0, order=3)
