"""Grids: geometry, hashing, integrals, gradients, and what bad input is told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from krylovpde.grid import Grid, RadialGrid

GRIDS = {
    "uniform 1d": Grid(12, 0.0, 1.5),
    "uniform 2d": Grid((6, 5), (0.0, -1.0), (1.0, 2.0)),
    "uniform 3d": Grid((3, 4, 2), (0, 0, 0), (1, 2, 1)),
    "graded 2d": Grid.from_edges([np.geomspace(1.0, 3.0, 7), [0.0, 0.5, 0.7, 1.2, 2.0]]),
    "cylinder": RadialGrid(np.linspace(0.0, 2.0, 9)),
    "borehole": RadialGrid(np.geomspace(0.1, 10.0, 9), dimension=2),
    "sphere": RadialGrid(np.linspace(0.5, 2.0, 7), dimension=3),
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_geometry_is_numpy_in_double_precision_and_fits(grid):
    assert len(grid.coordinates) == grid.ndim
    for x, edges in zip(grid.coordinates, grid.edges, strict=True):
        assert isinstance(x, np.ndarray)
        assert x.shape == grid.shape
        assert x.dtype == np.float64
        assert edges[0] < x.min()
        assert x.max() < edges[-1]
    assert isinstance(grid.cell_volumes, np.ndarray)
    assert grid.cell_volumes.shape == grid.shape
    assert grid.cell_volumes is grid.cell_volumes  # made once


def test_volumes_add_up_to_the_domain():
    assert GRIDS["uniform 2d"].cell_volumes.sum() == pytest.approx(3.0)
    assert GRIDS["graded 2d"].cell_volumes.sum() == pytest.approx(4.0)
    assert GRIDS["cylinder"].cell_volumes.sum() == pytest.approx(np.pi * 4.0)  # the whole disc
    assert GRIDS["sphere"].cell_volumes.sum() == pytest.approx(4 / 3 * np.pi * (8.0 - 0.125))


def test_coordinates_follow_the_axes_in_order_ij():
    grid = Grid((2, 3), (0.0, 0.0), (2.0, 3.0))
    np.testing.assert_allclose(grid.coordinates[0], [[0.5, 0.5, 0.5], [1.5, 1.5, 1.5]])
    np.testing.assert_allclose(grid.coordinates[1], [[0.5, 1.5, 2.5], [0.5, 1.5, 2.5]])


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_equal_grids_are_equal_and_hash_alike_and_have_no_leaves(grid):
    again = (
        RadialGrid(grid.edges[0], grid.dimension)
        if isinstance(grid, RadialGrid)
        else (Grid.from_edges(grid.edges) if any(grid.graded) else Grid(grid.shape, grid.lower, grid.upper))
    )
    assert again == grid
    assert hash(again) == hash(grid)
    assert jax.tree.leaves(grid) == []
    assert len({grid, again, Grid(99, 0.0, 1.0)}) == 2


def test_a_grid_is_compiled_for_once():
    traces = []

    @jax.jit
    def integrate(grid, u):
        traces.append(grid)
        return grid.integrate(u)

    integrate(Grid(4, 0.0, 1.0), jnp.ones(4))
    integrate(Grid(4, 0.0, 1.0), jnp.zeros(4))
    assert len(traces) == 1
    assert integrate(Grid(4, 0.0, 2.0), jnp.ones(4)) == pytest.approx(2.0)
    assert len(traces) == 2


def test_even_edges_make_a_uniform_grid():
    assert Grid.from_edges([np.linspace(0.0, 0.7, 11)]) == Grid(10, 0.0, 0.7)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64, jnp.complex64])
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_integral_inner_product_and_norm(grid, dtype):
    rng = np.random.default_rng(1)
    u, w = (rng.normal(size=grid.shape) + (1j * rng.normal(size=grid.shape) if dtype == jnp.complex64 else 0.0)
            for _ in range(2))  # fmt: skip
    volumes = grid.cell_volumes
    u_in, w_in = jnp.asarray(u, dtype), jnp.asarray(w, dtype)
    tolerance = {"rtol": 1e-12 if dtype == jnp.float64 else 1e-4, "atol": 1e-12 if dtype == jnp.float64 else 1e-4}
    for value, reference in (
        (grid.integrate(u_in), np.sum(u * volumes)),
        (grid.inner(u_in, w_in), np.sum(np.conj(u) * w * volumes)),
        (grid.norm(u_in), np.sqrt(np.sum(np.abs(u) ** 2 * volumes))),
    ):
        np.testing.assert_allclose(value, reference, **tolerance)
    assert grid.integrate(u_in).dtype == dtype
    assert grid.norm(u_in).dtype == jnp.finfo(dtype).dtype


def test_norm_of_zero_has_a_zero_derivative():
    grid = GRIDS["uniform 2d"]
    assert np.all(jax.grad(grid.norm)(jnp.zeros(grid.shape)) == 0.0)


@pytest.mark.parametrize("name", ["uniform 1d", "uniform 2d", "graded 2d", "borehole"])
def test_gradient_is_exact_for_parabolas(name):
    grid = GRIDS[name]
    x = grid.coordinates
    u = sum((i + 1.0) * c**2 - c for i, c in enumerate(x)) + x[0] * x[-1]
    for axis, derivative in enumerate(grid.gradient(jnp.asarray(u))):
        expected = (
            2 * (axis + 1.0) * x[axis] - 1.0 + (x[-1] if axis == 0 else 0) + (x[0] if axis == grid.ndim - 1 else 0)
        )
        np.testing.assert_allclose(derivative, expected, rtol=1e-9, atol=1e-10)


def test_gradient_on_axes_of_one_and_two_cells():
    grid = Grid((2, 1), (0.0, 0.0), (1.0, 1.0))
    along, across = grid.gradient(jnp.asarray([[1.0], [3.0]]))
    np.testing.assert_allclose(along, [[4.0], [4.0]])
    np.testing.assert_allclose(across, [[0.0], [0.0]])


def test_uniform_volumes_are_one_number_in_a_program():
    grid = Grid((64, 64), (0.0, 0.0), (1.0, 1.0))
    assert grid.cell_volumes.strides == (0, 0)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Grid((4, 4), (0.0,), (1.0, 1.0)), ValueError, "one number per axis"),
        (lambda: Grid((2, 2, 2, 2), (0.0,) * 4, (1.0,) * 4), ValueError, "one to three axes"),
        (lambda: Grid(0, 0.0, 1.0), ValueError, "at least one cell"),
        (lambda: Grid(3, 1.0, 1.0), ValueError, "lower < upper"),
        (lambda: Grid.from_edges([[0.0, 1.0, 0.5]]), ValueError, r"edges\[0\].*increasing"),
        (lambda: Grid.from_edges([[0.0]]), ValueError, "at least two"),
        (lambda: Grid.from_edges([[0.0, np.nan, 2.0]]), ValueError, "increasing"),
        (lambda: jax.jit(lambda e: Grid.from_edges([e]).shape)(jnp.arange(3.0)), TypeError, "static"),
        (lambda: RadialGrid([-1.0, 1.0]), ValueError, "negative"),
        (lambda: RadialGrid([0.0, 1.0], dimension=1), ValueError, "dimension"),
        (lambda: Grid(3, 0.0, 1.0).integrate(jnp.ones(4)), ValueError, r"shape \(3,\)"),
    ],
)
def test_bad_input_is_told(make, error, message):
    with pytest.raises(error, match=message):
        make()
