"""Averages, line integrals and choices of observations: exact values, transposes, observed in a solve, bad input."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

import krylovpde as kp
from krylovpde.grid import OneOf
from tests.helpers import dense, variants

FLAT = kp.Grid((5, 6), (0.0, 0.0), (1.0, 2.0))
GRADED = kp.Grid.from_edges([[0.0, 0.1, 0.4, 1.0], [0.0, 1.0, 1.5, 2.0]])
ROD = kp.Grid(7, 0.0, 1.0)
SOLID = kp.Grid((4, 3, 5), (0, 0, 0), (1, 1, 1))
RINGS = kp.RadialGrid(np.geomspace(0.1, 5.0, 8))
SHELLS = kp.RadialGrid(np.linspace(0.0, 1.0, 6), dimension=3)
ELL = kp.Grid((4, 4), (0.0, 0.0), (1.0, 1.0), active=~(np.indices((4, 4)) >= 2).all(axis=0))
GRIDS = {"1d": ROD, "2d": FLAT, "graded": GRADED, "3d": SOLID, "cylinder": RINGS, "sphere": SHELLS}


def _random(grid, seed=0):
    return np.random.default_rng(seed).normal(size=grid.shape)


def _inside(grid, n, seed):
    lower, upper = (np.array([c[end] for c in grid.centres]) for end in (0, -1))
    return lower + (upper - lower) * np.random.default_rng(seed).random((n, grid.ndim))


@pytest.mark.parametrize("grid", [*GRIDS.values(), ELL], ids=[*GRIDS, "masked"])
def test_regions_of_cells_are_averaged_by_volume(grid):
    masks = np.random.default_rng(1).random((3, *grid.shape)) < 0.6
    u = np.where(grid.active, _random(grid), np.nan)  # what is not active is not seen
    expected = [np.sum((u * grid.cell_volumes)[m & grid.active]) / np.sum(grid.cell_volumes[m]) for m in masks]
    np.testing.assert_allclose(kp.Averages(grid, masks)(jnp.asarray(u)), expected, rtol=1e-13)


def test_labels_are_masks():
    labels = np.random.default_rng(2).integers(-1, 3, FLAT.shape)
    masks = np.stack([labels == k for k in range(3)])
    assert kp.Averages(FLAT, labels) == kp.Averages(FLAT, masks)
    assert hash(kp.Averages(FLAT, labels)) == hash(kp.Averages(FLAT, masks))
    assert kp.Averages(FLAT, labels) != kp.Averages(FLAT, masks[::-1])


@pytest.mark.parametrize(("grid", "power"), [(ROD, 1), (RINGS, 2), (SHELLS, 3)], ids=["1d", "cylinder", "sphere"])
def test_boxes_cut_cells(grid, power):
    """Against the sum over a grid so fine that the boxes are whole cells of it."""
    edges = grid.edges[0]
    low, high = edges[0] + 0.13 * (edges[-1] - edges[0]), edges[0] + 0.71 * (edges[-1] - edges[0])
    cuts = np.unique(np.concatenate([edges, [low, high]]))
    volumes = np.diff(cuts**power)
    middle = (cuts[1:] + cuts[:-1]) / 2
    fine = np.repeat(_random(grid), np.histogram(middle, edges)[0])
    part = (middle > low) & (middle < high)
    expected = np.sum((fine * volumes)[part]) / np.sum(volumes[part])
    averages = kp.Averages.over_boxes(grid, [low, edges[0] - 1.0], [high, edges[-1] + 1.0])
    seen = averages(jnp.asarray(_random(grid)))
    whole = float(grid.integrate(jnp.asarray(_random(grid)))) / np.sum(grid.cell_volumes)
    np.testing.assert_allclose(seen, [expected, whole], rtol=1e-12)


def test_boxes_are_products_of_intervals():
    u = np.add.outer(*[c**2 for c in GRADED.centres])
    box = kp.Averages.over_boxes(GRADED, [[0.05, 0.5]], [[0.7, 1.75]])
    parts = [
        kp.Averages.over_boxes(kp.Grid.from_edges([e]), [low], [high])(jnp.asarray(c**2))[0]
        for e, c, low, high in zip(GRADED.edges, GRADED.centres, (0.05, 0.5), (0.7, 1.75), strict=True)
    ]
    np.testing.assert_allclose(box(jnp.asarray(u)), [sum(parts)], rtol=1e-13)


@pytest.mark.parametrize("name", ["1d", "2d", "graded", "3d", "cylinder"])
def test_lines_through_products_of_coordinates_are_exact(name):
    """`xyz` is its own interpolant, and along a line a polynomial that NumPy integrates."""
    grid = GRIDS[name]
    starts, ends = _inside(grid, 6, 1), _inside(grid, 6, 2)
    u = np.prod(np.stack(grid.coordinates), axis=0)
    expected = []
    for start, end in zip(starts, ends, strict=True):
        along = np.polynomial.Polynomial([1.0])
        for a, b in zip(start, end, strict=True):
            along = along * np.polynomial.Polynomial([a, b - a])
        expected.append(along.integ()(1.0))
    seen = kp.LineIntegrals(grid, starts, ends, mean=True)(jnp.asarray(u))
    np.testing.assert_allclose(seen, expected, rtol=1e-13)
    lengths = np.linalg.norm(ends - starts, axis=1)
    np.testing.assert_allclose(kp.LineIntegrals(grid, starts, ends)(jnp.asarray(u)), expected * lengths, rtol=1e-13)


def test_lines_through_a_rough_field_and_along_the_walls():
    """Against the mean over many points of SciPy's interpolation, constant beyond the outermost centres."""
    starts, ends = np.array([[0.0, 0.0], [0.03, 0.1], [1.0, 2.0]]), np.array([[1.0, 2.0], [0.03, 1.9], [1.0, 0.0]])
    u = _random(FLAT)
    fraction = (np.arange(40_000) + 0.5)[:, None] / 40_000
    expected = []
    for start, end in zip(starts, ends, strict=True):
        points = start + fraction * (end - start)
        points = np.stack([np.clip(p, c[0], c[-1]) for p, c in zip(points.T, FLAT.centres, strict=True)], axis=1)
        expected.append(np.mean(RegularGridInterpolator(FLAT.centres, u)(points)))
    seen = kp.LineIntegrals(FLAT, starts, ends, mean=True)(jnp.asarray(u))
    np.testing.assert_allclose(seen, expected, rtol=1e-7)
    np.testing.assert_allclose(kp.LineIntegrals(ELL, [[0.1, 0.9]], [[0.4, 0.2]], mean=True)(jnp.ones((4, 4))), 1.0)


def _operators():
    sensors = [kp.Sensors(FLAT, _inside(FLAT, n, n)) for n in (3, 5)]
    return {
        "masks": kp.Averages(FLAT, np.random.default_rng(1).random((3, 5, 6)) < 0.4),
        "lines": kp.LineIntegrals(FLAT, _inside(FLAT, 4, 1), _inside(FLAT, 4, 2)),
        "one of": OneOf((*sensors, kp.LineIntegrals(FLAT, [[0.1, 0.2]], [[0.8, 1.4]])), jnp.asarray(0)),
    }


@pytest.mark.parametrize("name", variants(["masks", "lines", "one of"], slow=["lines"]))
def test_transposes_dtypes_and_lineax(name, key):
    operator = _operators()[name]
    assert kp.verify.dot_test(operator, key=key).passed
    matrix = operator.as_matrix()
    np.testing.assert_allclose(matrix, dense(operator), rtol=1e-13)
    np.testing.assert_allclose(operator.T.as_matrix(), matrix.T)
    assert operator.T.T is operator
    assert not lx.is_symmetric(operator)
    for dtype in (jnp.float32, jnp.complex128):
        assert operator.mv(jnp.ones(FLAT.shape, dtype)).dtype == dtype
        assert operator.T.mv(jnp.ones(operator.num_rows, dtype)).dtype == dtype


def test_one_of_is_the_chosen_one_and_zero_beyond():
    operator = _operators()["one of"]
    u = jnp.asarray(_random(FLAT))
    chosen = jax.jit(lambda index: OneOf(operator.choices, index)(u))
    for index, choice in enumerate(operator.choices):
        seen = chosen(jnp.asarray(index))
        np.testing.assert_allclose(seen[: choice.num_rows], choice(u), rtol=1e-15)
        np.testing.assert_array_equal(seen[choice.num_rows :], 0.0)


@pytest.mark.slow
def test_a_solve_is_observed_by_them():
    """What is kept of the solution equals what is seen of the whole states, and so does the gradient."""
    averages = kp.Averages.over_boxes(ROD, [0.1, 0.5], [0.35, 1.0])
    start, times = jnp.asarray(_random(ROD)), jnp.asarray([0.01, 0.05])

    def seen(diffusivity, observe):
        return kp.solve(kp.Diffusion(ROD, diffusivity), start, times, observe=observe, rtol=1e-10).value

    def squared(diffusivity, observe):
        value = seen(diffusivity, observe)
        return jnp.sum((value if observe is averages else jax.vmap(averages)(value)) ** 2)

    np.testing.assert_allclose(seen(0.7, averages), jax.vmap(averages)(seen(0.7, None)), rtol=1e-8)
    gradients = [jax.grad(squared)(jnp.asarray(0.7), observe) for observe in (averages, None)]
    np.testing.assert_allclose(*gradients, rtol=1e-7)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: kp.Averages(FLAT, np.zeros((2, 5, 6), bool)), ValueError, "region number 0 has no active cell"),
        (lambda: kp.Averages(FLAT, np.zeros((5, 6), bool)), ValueError, r"booleans of shape \(n, 5, 6\)"),
        (lambda: kp.Averages(FLAT, np.zeros((5, 6))), TypeError, "float64 of shape"),
        (
            lambda: jax.jit(lambda m: kp.Averages(FLAT, m).mv(jnp.ones((5, 6))))(jnp.ones((1, 5, 6))),
            TypeError,
            "traced",
        ),
        (lambda: kp.Averages.over_boxes(FLAT, [[0.5, 0.5]], [[0.4, 1.0]]), ValueError, "lower < upper for every box"),
        (lambda: kp.Averages.over_boxes(FLAT, [[2.0, 0.5]], [[2.4, 1.0]]), ValueError, "region number 0"),
        (lambda: kp.Averages.over_boxes(FLAT, [0.5], [0.6]), ValueError, r"shape \(n, 2\)"),
        (lambda: kp.LineIntegrals(FLAT, [[0.5, 3.0]], [[0.4, 1.0]]), ValueError, r"starts=.*outside of the grid"),
        (lambda: kp.LineIntegrals(FLAT, [[0.5, 1.0]], [[0.5, 1.0]]), ValueError, "number 0 has no length"),
        (
            lambda: kp.LineIntegrals(FLAT, [[0.5, 1.0]], [[0.5, 1.0], [0.2, 0.2]]),
            ValueError,
            "equally many, got 1 and 2",
        ),
        (lambda: kp.LineIntegrals(ELL, [[0.9, 0.1]], [[0.1, 0.95]]), ValueError, "number 0 passes through cells"),
        (
            lambda: OneOf((kp.Sensors(ROD, [0.5]), kp.Sensors(FLAT, [[0.5, 0.5]])), jnp.asarray(0)),
            ValueError,
            "one grid",
        ),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()
