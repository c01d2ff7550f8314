"""Sensors: interpolation, transpose, dtypes, bad input."""

import itertools

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from krylovpde.grid import Grid, RadialGrid, Sensors
from tests.helpers import variants

GRIDS = {
    "1d": Grid(5, 0.0, 1.0),
    "2d": Grid((4, 6), (0.0, 0.0), (1.0, 2.0)),
    "graded": Grid.from_edges([[0.0, 0.1, 0.4, 1.0], [0.0, 1.0, 1.5]]),
    "3d": Grid((3, 2, 4), (0, 0, 0), (1, 1, 1)),
    "radial": RadialGrid(np.geomspace(0.1, 5.0, 8)),
    "one cell": Grid((1, 3), (0.0, 0.0), (1.0, 1.0)),
}


def _points(grid, n=9, seed=0):
    lower, upper = (np.array([edges[end] for edges in grid.edges]) for end in (0, -1))
    return lower + (upper - lower) * np.random.default_rng(seed).random((n, grid.ndim))


@pytest.mark.parametrize("name", ["1d", "2d", "graded", "3d", "radial"])
def test_agrees_with_scipy_and_is_constant_beyond_the_outermost_centres(name):
    grid, points = GRIDS[name], _points(GRIDS[name], 40)
    u = np.random.default_rng(3).normal(size=grid.shape)
    inside = np.stack([np.clip(points[:, i], c[0], c[-1]) for i, c in enumerate(grid.centres)], axis=1)
    expected = RegularGridInterpolator(grid.centres, u)(inside)
    np.testing.assert_allclose(Sensors(grid, points)(jnp.asarray(u)), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", variants(GRIDS, slow=["1d", "3d"]))
def test_constants_and_cell_centres_are_seen_exactly(name):
    grid = GRIDS[name]
    sensors = Sensors(grid, np.stack([x.reshape(-1) for x in grid.coordinates], axis=1))
    u = jnp.asarray(np.random.default_rng(3).normal(size=grid.shape))
    np.testing.assert_array_equal(sensors(u), u.reshape(-1))
    np.testing.assert_allclose(Sensors(grid, _points(grid))(jnp.ones(grid.shape)), 1.0, rtol=1e-15)


def test_error_is_of_second_order():
    errors = []
    for n in (16, 32, 64):
        grid = Grid((n, n), (0.0, 0.0), (1.0, 1.0))
        points = 0.1 + 0.8 * np.random.default_rng(0).random((200, 2))
        x, y = grid.coordinates
        value = Sensors(grid, points)(jnp.asarray(np.sin(3 * x) * np.cos(2 * y)))
        errors.append(np.abs(value - np.sin(3 * points[:, 0]) * np.cos(2 * points[:, 1])).max())
    assert np.polyfit(np.log([16, 32, 64]), np.log(errors), 1)[0] == pytest.approx(-2.0, abs=0.25)


DTYPES = {"float32": jnp.float32, "float64": jnp.float64, "complex128": jnp.complex128}
# Each grid with one dtype, each dtype with two grids.
PAIRS = list(itertools.product(GRIDS, DTYPES))
QUICK_PAIRS = list(zip(GRIDS, [*DTYPES, *DTYPES], strict=True))


@pytest.mark.parametrize(("name", "dtype"), variants(PAIRS, quick=QUICK_PAIRS))
def test_transpose_is_the_transpose_and_dtypes_are_kept(name, dtype, key):
    grid, dtype = GRIDS[name], DTYPES[dtype]
    sensors = Sensors(grid, _points(grid), dtype=dtype)
    u = jax.random.normal(key, grid.shape, dtype)
    y = jax.random.normal(jax.random.split(key)[0], (9,), dtype)
    seen, spread = sensors.mv(u), sensors.T.mv(y)
    assert seen.dtype == spread.dtype == dtype
    assert spread.shape == grid.shape
    np.testing.assert_allclose(jnp.sum(y * seen), jnp.sum(spread * u), rtol=1e-5 if dtype == jnp.float32 else 1e-12)
    automatic = jax.linear_transpose(sensors.mv, u)(y)[0]
    np.testing.assert_allclose(automatic, spread, rtol=1e-5, atol=1e-6)
    assert sensors.T.T is sensors


def test_it_is_a_lineax_operator():
    sensors = Sensors(GRIDS["2d"], _points(GRIDS["2d"]))
    matrix = sensors.as_matrix()
    assert matrix.shape == (9, 24)
    np.testing.assert_allclose(sensors.T.as_matrix(), matrix.T)
    np.testing.assert_allclose(lx.materialise(sensors).as_matrix(), matrix, rtol=1e-12)
    assert not lx.is_symmetric(sensors)
    assert not lx.is_diagonal(sensors.T)
    assert lx.linearise(sensors) is sensors
    assert lx.conj(sensors) is sensors
    doubled = 2.0 * (sensors @ lx.IdentityLinearOperator(sensors.in_structure()))
    np.testing.assert_allclose(doubled.as_matrix(), 2 * matrix)


def test_under_jit_and_vmap():
    sensors = Sensors(GRIDS["2d"], _points(GRIDS["2d"]))
    u = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 6)))
    np.testing.assert_allclose(jax.jit(jax.vmap(sensors.mv))(u), jnp.stack([sensors.mv(one) for one in u]), rtol=1e-12)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("points", "error", "message"),
    [
        ([[0.5, 3.0]], ValueError, r"1 of 1 points lie outside.*number 0 at \[0.5 3. \]"),
        ([[0.5, 0.5], [np.nan, 0.0]], ValueError, "number 1"),
        ([0.5, 0.5], ValueError, r"shape \(n, 2\)"),
        (np.zeros((0, 2)), ValueError, "n > 0"),
    ],
)
def test_bad_points_are_told(points, error, message):
    with pytest.raises(error, match=message):
        Sensors(GRIDS["2d"], points)


@pytest.mark.bad_input
def test_traced_points_are_told():
    with pytest.raises(TypeError, match="static"):
        jax.jit(lambda p: Sensors(GRIDS["2d"], p)(jnp.zeros((4, 6))))(jnp.ones((1, 2)))
