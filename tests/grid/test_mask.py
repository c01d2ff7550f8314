"""Active cells: grids with a mask, what they measure, sensors beside its edge."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from krylovpde.grid import Boundary, Dirichlet, Grid, Neumann, Periodic, Sensors, contains, resolve_boundary
from krylovpde.plot import figure
from krylovpde.plot._field import field as draw

BOX = Grid((6, 6), (-1.0, -1.0), (1.0, 1.0))
X, Y = BOX.coordinates
CORNER = (X > 0) & (Y < 0)
ELL = Grid((6, 6), (-1.0, -1.0), (1.0, 1.0), active=~CORNER)
EDGES = [np.cumsum([0.0, 0.1, 0.15, 0.2, 0.1, 0.12, 0.2]), np.cumsum([0.0, 0.3, 0.2, 0.1, 0.15, 0.2])]


def test_a_mask_is_static_and_hashed_by_its_bytes():
    again = Grid((6, 6), (-1.0, -1.0), (1.0, 1.0), active=~CORNER)
    assert again == ELL
    assert hash(again) == hash(ELL)
    assert ELL != BOX
    assert jax.tree.leaves(ELL) == []
    assert ELL.active is again.active  # made once
    assert "27 of 36" in repr(ELL)
    assert not BOX.is_masked
    assert np.all(BOX.active)
    assert Grid((6, 6), (-1.0, -1.0), (1.0, 1.0), active=np.ones((6, 6), bool)) == BOX


def test_only_active_cells_count():
    u = jnp.where(ELL.active, 2.0, jnp.nan)
    assert ELL.integrate(u) == pytest.approx(6.0)
    assert ELL.inner(u, u) == pytest.approx(12.0)
    assert ELL.norm(u) == pytest.approx(np.sqrt(12.0))
    assert ELL.cell_volumes.sum() == pytest.approx(3.0)
    assert np.all(jax.grad(ELL.norm)(u)[CORNER] == 0.0)


@pytest.mark.parametrize("graded", [False, True])
def test_gradient_looks_at_active_cells_alone(graded):
    """Exact for parabolas where three cells in a row are active, for lines where two are; zero where one is."""
    box = Grid.from_edges(EDGES) if graded else Grid((6, 5), (0.0, 0.0), (1.0, 2.0))
    active = np.ones((6, 5), bool)
    active[0, 0] = active[3:, 3] = active[2, 4] = active[4, 4] = False
    grid = Grid.from_edges(EDGES, active=active) if graded else Grid((6, 5), (0.0, 0.0), (1.0, 2.0), active=active)
    x, y = box.coordinates
    for values, along, across, run in ((x - 3 * y, 1.0, -3.0, 2), (x**2 - x * y + 2 * y**2, 2 * x - y, 4 * y - x, 3)):
        found = grid.gradient(jnp.where(active, values, jnp.nan))
        for axis, expected in enumerate((along, across)):
            inside = active & (_run(active, axis) >= run)
            np.testing.assert_allclose(found[axis][inside], np.broadcast_to(expected, (6, 5))[inside], atol=1e-12)
            assert np.all(found[axis][active & (_run(active, axis) == 1)] == 0.0)
            assert np.all(found[axis][~active] == 0.0)


def _run(active, axis):
    """How many active cells in a row each cell belongs to."""
    lengths = np.zeros(active.shape, int)
    for line, out in zip(np.moveaxis(active, axis, -1), np.moveaxis(lengths, axis, -1), strict=True):
        pieces = np.cumsum(~line)
        for piece in np.unique(pieces[line]):
            here = line & (pieces == piece)
            out[here] = here.sum()
    return lengths


def test_sensors_see_active_cells_alone():
    points = np.array([[-0.01, -0.01], [0.05, 0.05], [-0.05, -0.5], [-0.5, 0.3], [0.0, -0.4]])
    sensors = Sensors(ELL, points)
    np.testing.assert_allclose(sensors(jnp.where(ELL.active, 1.0, jnp.nan)), 1.0, rtol=1e-14)
    np.testing.assert_array_equal(sensors.as_matrix().reshape(-1, 6, 6)[:, CORNER], 0.0)
    inside = Sensors(BOX, points[3:4])
    np.testing.assert_allclose(sensors.as_matrix()[3], inside.as_matrix()[0], rtol=1e-14)


def test_a_point_on_an_edge_belongs_to_both_cells():
    points = np.array([[0.5, -0.5], [0.0, -0.5], [0.5, 0.0], [0.0, 0.0], [1.0, 1.0], [1.1, 0.5], [np.nan, 0.0]])
    np.testing.assert_array_equal(contains(ELL, points), [False, True, True, True, True, False, False])
    assert contains(BOX, points)[0]


def test_plots_leave_other_cells_blank():
    shown, axes = figure(1, 1)
    mesh = draw(np.ravel(axes)[0], ELL, np.where(ELL.active, X, 99.0))
    np.testing.assert_array_equal(np.ma.getmaskarray(mesh.get_array()).reshape(6, 6).T, CORNER)
    assert mesh.get_clim()[1] < 1.0
    assert shown is not None


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Grid(4, 0.0, 1.0, active=np.zeros(4, bool)), ValueError, "no active cell"),
        (lambda: Grid(4, 0.0, 1.0, active=np.ones(5, bool)), ValueError, r"shape \(4,\)"),
        (lambda: Grid(4, 0.0, 1.0, active=np.ones(4)), ValueError, "booleans"),
        (lambda: jax.jit(lambda m: Grid(4, 0.0, 1.0, active=m > 0).shape)(jnp.ones(4)), TypeError, "static"),
        (lambda: Sensors(ELL, [[0.5, -0.5]]), ValueError, "not active.*number 0"),
        (lambda: resolve_boundary(Boundary(inner=Neumann()), BOX, (Neumann,), "me"), ValueError, "active="),
        (lambda: resolve_boundary(Boundary(inner=Periodic()), ELL, (Neumann, Periodic), "me"), ValueError, "Periodic"),
        (lambda: resolve_boundary(Boundary(inner=Dirichlet()), ELL, (Neumann,), "me"), ValueError, "does not know"),
        (
            lambda: resolve_boundary(Boundary(inner=Neumann(jnp.ones(6))), ELL, (Neumann,), "me"),
            ValueError,
            "edge of the mask has shape",
        ),
    ],
)
def test_bad_input_is_told(make, error, message):
    with pytest.raises(error, match=message):
        make()
