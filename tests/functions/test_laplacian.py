"""Functions of the Laplacian: against dense matrices, on graded, radial and masked grids."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.linalg import funm

import krylovpde as kp
from krylovpde.functions import LaplacianFunctions
from krylovpde.functions._laplacian import axis_modes
from tests.helpers import dense, variants

_X, _Y = kp.Grid((9, 7), (0.0, 0.0), (1.0, 1.0)).coordinates
_GRIDS = {
    "line": kp.Grid((12,), (0.0,), (2.0,)),
    "plane": kp.Grid((5, 7), (0.0, 0.0), (1.0, 2.0)),
    "graded": kp.Grid.from_edges([np.linspace(0, 1, 6) ** 1.5, np.linspace(0, 1, 5)]),
    "space": kp.Grid((3, 4, 2), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "cylinder": kp.RadialGrid(np.geomspace(0.1, 10.0, 11), dimension=2),
    "sphere": kp.RadialGrid(np.linspace(0.0, 1.0, 9), dimension=3),
    "masked": kp.Grid((9, 7), (0.0, 0.0), (1.0, 1.0), active=(_X - 0.5) ** 2 + (_Y - 0.5) ** 2 < 0.2),
}


def _inverse_root(x):
    return (1.0 + x) ** -0.5


@pytest.mark.parametrize("name", variants(_GRIDS, slow=["line", "plane", "cylinder"]))
def test_against_the_dense_function(name, key):
    grid = _GRIDS[name]
    length = 0.3
    matrix = np.asarray(dense(kp.Laplacian(grid)))
    reference = funm(np.eye(len(matrix)) - length**2 * matrix, lambda z: z**-0.5)
    u = jr.normal(key, grid.shape)
    result = jax.jit(lambda u: LaplacianFunctions(grid, length).apply(_inverse_root, u))(u)
    active = np.broadcast_to(grid.active, grid.shape)
    expected = np.real(reference @ np.where(active, u, 0.0).ravel()).reshape(grid.shape)
    np.testing.assert_allclose(np.asarray(result)[active], expected[active], atol=1e-11)
    np.testing.assert_array_equal(np.asarray(result)[~active], 0.0)


@pytest.mark.parametrize("name", ["graded", "masked"])
def test_a_length_for_each_axis_and_self_adjointness(name, key):
    grid, lengths = _GRIDS[name], (0.5, 0.1)
    operator = LaplacianFunctions(grid, lengths)
    u, w = jr.normal(key, (2, *grid.shape))
    smooth = operator.apply(lambda x: 1 / (1 + x), u)
    np.testing.assert_allclose(
        grid.inner(smooth, w), grid.inner(u, operator.apply(lambda x: 1 / (1 + x), w)), rtol=1e-9
    )
    twice = operator.apply(lambda x: 1 + x, smooth)
    np.testing.assert_allclose(twice, np.where(grid.active, u, 0.0), atol=1e-10)


def test_a_line_in_each_direction_has_its_own_length():
    grid = kp.Grid((6, 8), (0.0, 0.0), (1.0, 1.0))
    x = jnp.asarray(np.cos(np.pi * grid.coordinates[0]))  # an eigenvector
    eigenvalue = 4 * 36 * np.sin(np.pi / 12) ** 2
    np.testing.assert_allclose(
        LaplacianFunctions(grid, (0.3, 7.0)).apply(lambda e: e, x), 0.09 * eigenvalue * x, atol=1e-12
    )
    y = jnp.asarray(np.cos(np.pi * grid.coordinates[1]))
    np.testing.assert_allclose(LaplacianFunctions(grid, (7.0, 0.0)).apply(lambda e: e, y), 0.0, atol=1e-11)


def test_constants_are_exact_and_single_precision_stays_single():
    for name in ("graded", "masked", "cylinder"):
        grid = _GRIDS[name]
        ones = jnp.ones(grid.shape, jnp.float32)
        result = LaplacianFunctions(grid, 2.0).apply(lambda x: 3 / (1 + x), ones)
        assert result.dtype == jnp.float32
        np.testing.assert_allclose(np.asarray(result)[grid.active], 3.0, rtol=2e-5)


@pytest.mark.parametrize("name", ["plane", "masked"])
def test_derivatives_are_transposes(name, key):
    grid = _GRIDS[name]

    def smooth(u):
        return LaplacianFunctions(grid, 0.2).apply(_inverse_root, u)

    u, w = jr.normal(key, (2, *grid.shape))
    (pulled,) = jax.jit(lambda w: jax.vjp(smooth, u)[1](w))(w)
    np.testing.assert_allclose(jnp.vdot(pulled, u), jnp.vdot(w, smooth(u)), rtol=1e-10)


def test_modes_are_orthonormal_where_widths_range_over_decades():
    grid = kp.RadialGrid(np.geomspace(1e-2, 1e4, 101), dimension=2)
    values, vectors = axis_modes(grid, 0)
    np.testing.assert_allclose(vectors.T @ (grid.cell_volumes[:, None] * vectors), np.eye(100), atol=1e-12)
    assert values[0] == 0.0
    assert np.all(values[1:] > 0)


def test_a_very_long_axis_takes_the_series(key):
    grid = kp.Grid((2100,), (0.0,), (1.0,))
    operator = LaplacianFunctions(grid, 0.002)
    u = jr.normal(key, grid.shape)
    solved = operator.apply(lambda x: 1 / (1 + x), u)
    again = solved - 0.002**2 * kp.Laplacian(grid).mv(solved)
    np.testing.assert_allclose(again, u, atol=1e-9)


@pytest.mark.bad_input
def test_bad_input():
    with pytest.raises(ValueError, match=r"must be a number, or 2 of them \(one per axis\), not negative; got -1"):
        LaplacianFunctions(_GRIDS["plane"], -1.0)
    with pytest.raises(ValueError, match="or 2 of them"):
        LaplacianFunctions(_GRIDS["plane"], (1.0, 2.0, 3.0))
    with pytest.raises(ValueError, match="would need a Chebyshev series of more than"):
        LaplacianFunctions(_GRIDS["masked"], 1e4).apply(_inverse_root, jnp.ones((9, 7)))
