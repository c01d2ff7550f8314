"""Finite volumes: entries against loops, exact eigenfunctions, orders, conservation, schemes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from krylovpde.grid import Boundary, Dirichlet, Grid, Neumann, Periodic, RadialGrid, Robin, TotalFlux, resolve_boundary
from krylovpde.operator import Central, Laplacian, Transport, Upwind, flux_operator, wall_source
from tests.operator.reference import dense_diffusion

CONDITIONS = (Neumann, Dirichlet, Periodic, Robin, TotalFlux)
GRADED = Grid.from_edges([[0.0, 0.1, 0.25, 0.5, 0.6], [0.0, 0.5, 0.8, 1.6]])
NAMES = {"neumann": Neumann(), "dirichlet": Dirichlet(), "periodic": Periodic()}

_matrix = eqx.filter_jit(lambda operator: operator.as_matrix())


def _condition(wall):
    return NAMES[wall] if isinstance(wall, str) else Robin(*wall)


@pytest.mark.parametrize(
    ("grid", "walls"),
    [
        (Grid((4, 3), (0.0, 0.0), (1.0, 2.0)), [("neumann", "dirichlet"), ("periodic", "periodic")]),
        (GRADED, [("dirichlet", "neumann"), ((1.0, 0.3), "dirichlet")]),
        (GRADED, [("periodic", "periodic"), ("periodic", "periodic")]),
        (Grid((2, 3, 2), (0, 0, 0), (1, 1, 1)), [("neumann", "neumann"), ("dirichlet", (2.0, 1.0)), ("periodic",) * 2]),
        (RadialGrid(np.linspace(0.0, 1.0, 6)), [("dirichlet", "dirichlet")]),
        (RadialGrid(np.geomspace(0.1, 3.0, 6), dimension=3), [((1.0, 2.0), "neumann")]),
    ],
)
def test_entries_are_those_of_the_loops(grid, walls):
    rng = np.random.default_rng(1)
    kappa = [0.5 + rng.random(grid.shape) for _ in range(grid.ndim)]
    areas = [grid.face_areas(axis) for axis in range(grid.ndim)]
    measures = [grid.cell_measures(axis) for axis in range(grid.ndim)]
    reference = dense_diffusion(grid.edges, areas, measures, kappa, walls)
    conditions = tuple((_condition(low), _condition(high)) for low, high in walls)
    operator = flux_operator(grid, tuple(map(jnp.asarray, kappa)), conditions)
    np.testing.assert_allclose(_matrix(operator), reference, rtol=1e-12, atol=1e-12 * np.abs(reference).max())


def test_numbers_and_arrays_are_the_same_operator():
    conditions = resolve_boundary((Dirichlet(), Robin(1.0, 2.0)), GRADED, CONDITIONS, "test")
    number = (jnp.asarray(0.7),) * 2
    array = (jnp.full(GRADED.shape, 0.7),) * 2
    for transport in (None, Transport((jnp.asarray(1.0), jnp.asarray(-2.0)), Upwind(3))):
        small = flux_operator(GRADED, number, conditions, transport=transport)
        large = flux_operator(GRADED, array, conditions, transport=transport)
        np.testing.assert_allclose(_matrix(small), _matrix(large), rtol=1e-12, atol=1e-11)
        assert sum(leaf.size for leaf in jax.tree.leaves(small)) < sum(leaf.size for leaf in jax.tree.leaves(large))


@pytest.mark.parametrize(
    ("boundary", "mode", "eigenvalue"),
    [
        (Neumann(), lambda x, _: np.cos(3 * np.pi * x), lambda n: -((2 * n * np.sin(3 * np.pi / (2 * n))) ** 2)),
        (Periodic(), lambda x, _: np.sin(4 * np.pi * x), lambda n: -((2 * n * np.sin(4 * np.pi / (2 * n))) ** 2)),
        (Dirichlet(), lambda x, n: np.sin(n * np.pi * x), lambda n: -4.0 * n**2),  # the roughest mode is exact
    ],
)
def test_exact_discrete_eigenfunctions(boundary, mode, eigenvalue):
    n = 12
    grid = Grid(n, 0.0, 1.0)
    u = mode(grid.coordinates[0], n)
    np.testing.assert_allclose(Laplacian(grid, boundary).mv(jnp.asarray(u)), eigenvalue(n) * u, rtol=1e-11, atol=1e-10)


def _order(error, sizes=(16, 32, 64)):
    return -np.polyfit(np.log(sizes), np.log([error(n) for n in sizes]), 1)[0]


def _solution_error(grid, boundary, source, exact):
    """Of the steady problem `lap u = source`: the order of the scheme, where truncation errors may be lower."""
    conditions = resolve_boundary(boundary, grid, CONDITIONS, "test")
    kappa = (jnp.asarray(1.0),) * grid.ndim
    inflow = wall_source(grid, kappa, conditions)
    rhs = np.asarray(source) - (0.0 if inflow is None else np.asarray(inflow))
    u = np.linalg.solve(np.asarray(Laplacian(grid, boundary).as_matrix()), rhs.reshape(-1)).reshape(grid.shape)
    return float(grid.norm(jnp.asarray(u - exact)))


@pytest.mark.parametrize("kind", ["dirichlet", "robin", "neumann above"])
def test_second_order_with_boundary_values(kind):
    def error(n):
        edges = np.linspace(0.0, 1.0, n + 1)
        grid = Grid.from_edges([edges + 0.1 * np.sin(2 * np.pi * edges)])  # smoothly graded
        x = grid.coordinates[0]
        upper = {
            "dirichlet": Dirichlet(np.sin(2.0)),
            "robin": Robin(2.0, 0.5, 2.0 * np.sin(2.0) + 0.5 * 2 * np.cos(2.0)),
            "neumann above": Neumann(2 * np.cos(2.0)),
        }[kind]
        return _solution_error(grid, Boundary(lower=Dirichlet(0.0), upper=upper), -4 * np.sin(2 * x), np.sin(2 * x))

    assert _order(error) == pytest.approx(2.0, abs=0.15)


@pytest.mark.slow
def test_second_order_with_values_over_a_face():
    def error(n):
        grid = Grid((n, n), (0.0, 0.0), (1.0, 1.0))
        x, y = grid.coordinates
        (centres_x, centres_y) = grid.centres
        boundary = Boundary(
            lower=(Dirichlet(np.cosh(centres_y)), Dirichlet(np.cos(centres_x))),
            upper=(Dirichlet(np.cos(1.0) * np.cosh(centres_y)), Neumann(np.cos(centres_x) * np.sinh(1.0))),
        )
        return _solution_error(grid, boundary, np.zeros(grid.shape), np.cos(x) * np.cosh(y))

    assert _order(error, (6, 12, 24)) == pytest.approx(2.0, abs=0.2)


@pytest.mark.parametrize("dimension", [2, 3])
def test_second_order_on_radial_grids(dimension):
    """`lap r² = 2 dimension`, from the centre to a Dirichlet wall; the inner condition is ignored at radius 0."""

    def error(n):
        grid = RadialGrid(np.linspace(0.0, 1.0, n + 1), dimension)
        r = grid.coordinates[0]
        lap = -(np.pi**2) * np.cos(np.pi * r) - (dimension - 1) * np.pi * np.sinc(r) * np.pi
        boundary = Boundary(lower=Dirichlet(99.0), upper=Dirichlet(-1.0))
        return _solution_error(grid, boundary, lap, np.cos(np.pi * r))

    assert _order(error) == pytest.approx(2.0, abs=0.15)


def test_flux_through_layers_is_exact():
    """Harmonic means: a steady flux through layers of any contrast has the exact profile."""
    grid = Grid.from_edges([[0.0, 0.1, 0.3, 0.6, 1.0]])
    kappa = np.array([1.0, 1e-3, 50.0, 2.0])
    boundary = Boundary(lower=Dirichlet(3.0), upper=Dirichlet(1.0))
    conditions = resolve_boundary(boundary, grid, CONDITIONS, "test")
    operator = flux_operator(grid, (jnp.asarray(kappa),), conditions)
    u = np.linalg.solve(operator.as_matrix(), -wall_source(grid, (jnp.asarray(kappa),), conditions))
    widths = np.diff(grid.edges[0])
    flux = 2.0 / np.sum(widths / kappa)
    exact = 3.0 - flux * (np.cumsum(widths / kappa) - widths / kappa / 2)
    np.testing.assert_allclose(u, exact, rtol=1e-12)


# ---- conservation


@pytest.mark.parametrize("scheme", [None, Central(), Upwind(1), Upwind(3)], ids=["diffusion", "central", "1", "3"])
@pytest.mark.parametrize(
    "grid",
    [
        GRADED,
        pytest.param(Grid((5, 4), (0.0, 0.0), (1.0, 1.0)), marks=pytest.mark.slow),
        RadialGrid(np.geomspace(0.1, 9.0, 7)),
    ],
    ids=["graded", "uniform", "radial"],
)
def test_conservative_to_rounding(grid, scheme):
    """Between walls that nothing passes; and what a wall lets in arrives, to rounding."""
    rng = np.random.default_rng(0)
    kappa = tuple(jnp.asarray(0.1 + rng.random(grid.shape)) for _ in range(grid.ndim))
    velocity = tuple(jnp.asarray(rng.normal(size=grid.shape)) for _ in range(grid.ndim))
    transport = None if scheme is None else Transport(velocity, scheme)
    flux = 1.7
    boundary = Boundary(lower=TotalFlux(flux), upper=TotalFlux())
    conditions = resolve_boundary(boundary, grid, CONDITIONS, "test")
    operator = flux_operator(grid, kappa, conditions, transport=transport)
    u = jnp.asarray(rng.normal(size=grid.shape))
    rate = operator.mv(u)
    scale = float(grid.integrate(jnp.abs(rate)))
    assert abs(float(grid.integrate(rate))) < 1e-14 * scale
    entered = float(grid.integrate(wall_source(grid, kappa, conditions, transport)))
    across = [
        np.sum(grid.cell_volumes / grid.along(a, grid.cell_measures(a))) / grid.shape[a] * grid.face_areas(a)[0]
        for a in range(grid.ndim)
    ]
    assert entered == pytest.approx(flux * sum(across), rel=1e-13)


def test_constants_are_kept_exactly():
    """Diffusion with Neumann walls, and a constant velocity around a periodic axis: `A 1 = 0`, not to rounding only."""
    one = jnp.ones(GRADED.shape)
    for scheme in (Central(), Upwind(1), Upwind(3)):
        conditions = resolve_boundary(Periodic(), GRADED, CONDITIONS, "test")
        transport = Transport((jnp.asarray(1.0), jnp.asarray(0.0)), scheme)
        operator = flux_operator(GRADED, (jnp.asarray(0.3),) * 2, conditions, transport=transport)
        assert np.all(operator.mv(one) == 0.0)
    assert np.all(Laplacian(GRADED).mv(one) == 0.0)


# ---- advection schemes


def _advection(grid, velocity, scheme, boundary=None, kappa=1e-12):
    boundary = Periodic() if boundary is None else boundary
    conditions = resolve_boundary(boundary, grid, CONDITIONS, "test")
    transport = Transport((jnp.asarray(velocity),), scheme)
    kappa = (jnp.asarray(kappa),)
    return flux_operator(grid, kappa, conditions, transport=transport), wall_source(grid, kappa, conditions, transport)


@pytest.mark.parametrize("velocity", [1.0, -1.0])
@pytest.mark.parametrize(
    ("scheme", "order"), [(Central(), 2.0), (Upwind(1), 1.0), (Upwind(3), 3.0)], ids=["central", "1", "3"]
)
def test_order_of_the_schemes_on_averages(scheme, order, velocity):
    def error(n):
        grid = Grid(n, 0.0, 1.0)
        edges = grid.edges[0]
        average = np.diff(np.sin(2 * np.pi * edges)) * n / (2 * np.pi)  # of cos(2πx)
        rate = -velocity * np.diff(np.cos(2 * np.pi * edges)) * n
        return np.abs(_advection(grid, velocity, scheme)[0].mv(jnp.asarray(average)) - rate).max()

    assert _order(error, (20, 40, 80)) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("velocity", [1.0, -1.0])
def test_third_order_scheme_is_exact_for_parabolas_on_graded_grids(velocity):
    edges = np.cumsum([0.0, 0.1, 0.13, 0.1, 0.2, 0.15, 0.12, 0.2])
    grid = Grid.from_edges([edges])
    average = np.diff(edges**3) / 3 / np.diff(edges)
    rate = -velocity * np.diff(edges**2) / np.diff(edges)
    operator, _ = _advection(grid, velocity, Upwind(3), Neumann())
    np.testing.assert_allclose(operator.mv(jnp.asarray(average))[2:-2], rate[2:-2], rtol=1e-9)
    linear = (edges[1:] + edges[:-1]) / 2  # next to the walls: linear interpolation, exact for lines
    np.testing.assert_allclose(operator.mv(jnp.asarray(linear))[1:-1], -velocity, rtol=1e-9)


@pytest.mark.parametrize("velocity", [1.0, -1.0])
def test_first_order_upwind_is_the_textbook_matrix(velocity):
    n = 5
    operator, _ = _advection(Grid(n, 0.0, 1.0), velocity, Upwind(1), Neumann())
    expected = n * (np.diag(np.ones(n - 1), -1) - np.eye(n))
    expected[0, 0] += n  # Neumann: what flows in has the value of the first cell
    expected = expected if velocity > 0 else expected[::-1, ::-1]
    np.testing.assert_allclose(operator.as_matrix(), expected, atol=1e-9)


@pytest.mark.parametrize("scheme", [Central(), Upwind(1), Upwind(3)], ids=["central", "1", "3"])
def test_velocities_that_change_sign_follow_the_upwind_cell(scheme):
    """The mirror image of everything is the mirror image of the result."""
    grid, rng = Grid(8, 0.0, 1.0), np.random.default_rng(2)
    velocity, u = rng.normal(size=8), rng.normal(size=8)
    boundary = Boundary(lower=Dirichlet(0.3), upper=Robin(1.0, 2.0, 0.7))
    mirrored = Boundary(lower=boundary.upper, upper=boundary.lower)
    operator, source = _advection(grid, velocity, scheme, boundary, kappa=0.1)
    other, other_source = _advection(grid, -velocity[::-1], scheme, mirrored, kappa=0.1)
    np.testing.assert_allclose(operator.mv(jnp.asarray(u)), other.mv(jnp.asarray(u[::-1].copy()))[::-1], rtol=1e-10)
    np.testing.assert_allclose(source, other_source[::-1], rtol=1e-12)


def test_dirichlet_inflow_and_free_outflow():
    grid, v, kappa = Grid(4, 0.0, 1.0), 2.0, 0.1
    boundary = Boundary(lower=Dirichlet(5.0), upper=Neumann())
    operator, source = _advection(grid, v, Upwind(1), boundary, kappa)
    conductance = 2 * kappa * 4
    np.testing.assert_allclose(source, [4 * (v + conductance) * 5.0, 0, 0, 0], rtol=1e-12)
    matrix = np.asarray(operator.as_matrix())
    assert matrix[3, 3] == pytest.approx(-4 * (v + kappa * 4))  # leaves with the value of the last cell
    assert matrix[0, 0] == pytest.approx(-4 * (v + kappa * 4 + conductance))
    np.testing.assert_allclose(operator.mv(jnp.full(4, 5.0)) + source, 0.0, atol=1e-12)  # the steady state


def test_total_flux_feeds_what_it_says():
    """Steady state of a column fed at concentration c: c everywhere, for any scheme."""
    grid, v, c = Grid(6, 0.0, 1.0), 1.5, 0.8
    for scheme in (Central(), Upwind(1), Upwind(3)):
        operator, source = _advection(grid, v, scheme, Boundary(lower=TotalFlux(v * c), upper=Neumann()), kappa=0.5)
        np.testing.assert_allclose(operator.mv(jnp.full(6, c)) + source, 0.0, atol=1e-12)


@pytest.mark.bad_input
def test_order_of_upwind_is_checked():
    with pytest.raises(ValueError, match="1 or 3, got 2"):
        Upwind(2)
