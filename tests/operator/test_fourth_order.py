"""Stencils of fourth order: entries from mirror images, exact eigenfunctions, order, where the spectrum lies."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.grid import Dirichlet, Grid, Neumann, Periodic
from krylovpde.operator import flux_operator, spectral_bound, spectral_interval
from tests.helpers import variants

_matrix = eqx.filter_jit(lambda operator: operator.as_matrix())

WALLS = {
    "neumann": (Neumann(), 1.0),
    "dirichlet": (Dirichlet(), -1.0),
}


def _line(n, lower, upper):
    return flux_operator(Grid(n, 0.0, float(n)), (np.ones(()),), ((lower, upper),), bending=(np.ones(n),))


def _by_images(n, signs):
    """`(-u_{j-2} + 16 u_{j-1} - 30 u_j + 16 u_{j+1} - u_{j+2}) / 12`, images behind the walls."""
    matrix = np.zeros((n, n))
    for row in range(n):
        for offset, weight in zip(range(-2, 3), (-1.0, 16.0, -30.0, 16.0, -1.0), strict=True):
            column, sign = row + offset, 1.0
            if column < 0:
                column, sign = -1 - column, signs[0]
            elif column >= n:
                column, sign = 2 * n - 1 - column, signs[1]
            matrix[row, column] += sign * weight / 12
    return matrix


@pytest.mark.parametrize("lower", WALLS)
@pytest.mark.parametrize("upper", WALLS)
@pytest.mark.parametrize("n", [2, 3, 7])
def test_rows_are_those_of_mirror_images(lower, upper, n):
    (first, sign), (last, other) = WALLS[lower], WALLS[upper]
    np.testing.assert_allclose(_matrix(_line(n, first, last)), _by_images(n, (sign, other)), atol=1e-13)


def test_periodic_rows_go_around():
    rows = np.asarray(_matrix(_line(7, Periodic(), Periodic())))
    expected = np.roll(np.array([-30.0, 16.0, -1.0, 0.0, 0.0, -1.0, 16.0]) / 12, 2)
    np.testing.assert_allclose(rows[2], expected, atol=1e-13)


def _order(error, sizes=(16, 32, 64)):
    return -np.polyfit(np.log(sizes), np.log([error(n) for n in sizes]), 1)[0]


@pytest.mark.parametrize("wall", variants(WALLS, quick=["dirichlet"]))
def test_fourth_order_up_to_the_walls(wall):
    """Of the operator itself, in the largest of all errors: modes go through the mirror images."""

    def error(n):
        grid = Grid((n, n), (0.0, 0.0), (1.0, 1.0))
        x, y = (jnp.asarray(axis) for axis in grid.coordinates)
        mode = jnp.sin if wall == "dirichlet" else jnp.cos
        u = mode(2 * np.pi * x) * mode(3 * np.pi * y)
        speed = 1.0 + 0.3 * x
        operator = kp.Wave(grid, speed, boundary=WALLS[wall][0], accuracy=4).operator()
        return float(jnp.max(jnp.abs(operator.mv(u) + speed**2 * 13 * np.pi**2 * u)))

    assert _order(error) == pytest.approx(4.0, abs=0.1)


def test_waves_keep_their_phase():
    """Five cells per wavelength: after ten wavelengths the wave of second order is late by 0.7 of one."""
    n, period = 50, 5.0
    grid = Grid(n, 0.0, float(n))
    phase = 2 * np.pi / period * jnp.asarray(grid.coordinates[0])
    speeds = {}
    for accuracy in (2, 4):
        operator = kp.Wave(grid, 1.0, boundary=Periodic(), accuracy=accuracy).operator()
        speeds[accuracy] = float(jnp.sqrt(-operator.mv(jnp.cos(phase))[0] / jnp.cos(phase[0]))) * period / (2 * np.pi)
    assert speeds[2] == pytest.approx(1 - (2 * np.pi / period) ** 2 / 24, abs=5e-3)
    assert speeds[4] == pytest.approx(1 - (2 * np.pi / period) ** 4 / 180, abs=5e-3)
    assert 1 - speeds[4] < 0.2 * (1 - speeds[2])


CASES = {
    "closed": Neumann(),
    "held": Dirichlet(),
    "periodic": Periodic(),
    "mixed": kp.Boundary(lower=(Dirichlet(), Neumann()), upper=(Neumann(), Dirichlet())),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rough", variants([False, True], quick=[True]), ids=["constant", "rough"])
def test_it_is_negative_and_its_interval_is_tight(name, rough):
    grid = Grid((9, 8), (0.0, 0.0), (9.0, 8.0))
    rng = np.random.default_rng(3)
    speed, density = (jnp.asarray(10.0 ** rng.uniform(-0.5, 0.0, grid.shape)) if rough else 1.0 for _ in range(2))
    operator = kp.Wave(grid, speed, density=density, boundary=CASES[name], accuracy=4).operator()
    weight = np.sqrt(np.broadcast_to(np.asarray(operator.weight), grid.shape).reshape(-1))
    balanced = weight[:, None] * np.asarray(_matrix(operator)) / weight
    np.testing.assert_allclose(balanced, balanced.T, atol=1e-12)
    spectrum = np.linalg.eigvalsh(balanced)
    interval = eqx.filter_jit(spectral_interval)(operator)
    assert interval is not None
    lower, upper = interval
    assert lower <= spectrum[0] < 0.8 * lower
    assert spectrum[-1] <= upper + 1e-12
    # Nothing grows: the upper end is that of the second-order part.
    assert upper < 1e-10
    assert np.max(np.abs(spectrum)) <= eqx.filter_jit(spectral_bound)(operator)


def test_a_constant_field_rests_and_what_leaves_a_cell_enters_its_neighbours():
    grid = Grid((6, 5), (0.0, 0.0), (1.0, 1.0))
    rng = np.random.default_rng(4)
    speed, density = (jnp.asarray(rng.uniform(0.5, 1.0, grid.shape)) for _ in range(2))
    operator = kp.Wave(grid, speed, density=density, accuracy=4).operator()
    assert jnp.all(operator.mv(jnp.full(grid.shape, 3.7)) == 0.0)
    u = jnp.asarray(rng.standard_normal(grid.shape))
    image = operator.mv(u)
    assert abs(float(jnp.sum(operator.weight * image))) < 1e-13 * float(jnp.sum(operator.weight * jnp.abs(image)))
