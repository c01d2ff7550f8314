"""Irregular domains: masks against smaller grids, published eigenvalues, conservation, derivatives."""

import functools as ft

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import jn_zeros

import krylovpde as kp
from krylovpde.operator import numerical_range, spectral_interval
from tests.helpers import relative_error, variants

RNG = np.random.default_rng(0)
INSIDE = np.zeros((7, 8), bool)
INSIDE[2:6, 3:7] = True
EDGES = [np.cumsum(np.append(0.0, 0.1 + 0.02 * RNG.random(n))) for n in (7, 8)]
BIG = kp.Grid.from_edges(EDGES, active=INSIDE)
SMALL = kp.Grid.from_edges([EDGES[0][2:7], EDGES[1][3:8]])
NUMBERS = np.where(INSIDE, 0.5 + RNG.random((7, 8)), np.nan)
FLOW = tuple(np.where(INSIDE, RNG.normal(size=(7, 8)), np.nan) for _ in range(2))
BEHIND = {
    "closed": (None, kp.TotalFlux()),
    "flux": (kp.Neumann(0.3), kp.Neumann(0.3)),
    "value": (kp.Dirichlet(0.7), kp.Dirichlet(0.7)),
    "robin": (kp.Robin(1.0, 0.5, 2.0), kp.Robin(1.0, 0.5, 2.0)),
}


def cut(values):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[2:6, 3:7], values)


def diffusion(grid, field, condition):
    kappa = field(NUMBERS)
    return kp.Diffusion(grid, kappa, boundary=condition, capacity=kappa, reaction_rate=kappa, source=kappa)


def advection(grid, field, condition, scheme):
    flow = tuple(map(field, FLOW))
    return kp.AdvectionDiffusion(grid, field(NUMBERS), flow, scheme=scheme, boundary=condition, source=2.0)


def wave(grid, field, condition):
    if isinstance(condition, kp.TotalFlux):
        condition = kp.Neumann()
    return kp.Wave(grid, field(NUMBERS), density=field(NUMBERS), boundary=condition, source=1.0)


def schrodinger(grid, field, condition):
    if isinstance(condition, kp.TotalFlux):
        condition = kp.Neumann()
    return kp.Schrodinger(grid, field(NUMBERS), boundary=condition)


def reaction(grid, field, condition):
    del field
    return kp.ReactionDiffusion(grid, 0.7, lambda _, x, u: jnp.sqrt(u) + 1.0 / u + x[0], boundary=condition)


MAKERS = {
    "diffusion": diffusion,
    "central": ft.partial(advection, scheme=kp.Central()),
    "upwind 1": ft.partial(advection, scheme=kp.Upwind(1)),
    "upwind 3": ft.partial(advection, scheme=kp.Upwind(3)),
    "wave": wave,
    "schrodinger": schrodinger,
    "reaction": reaction,
}


def rate_of(equation, state):
    operator, rest = equation.operator(), [equation.forcing(), equation.nonlinear(0.0, state)]
    return jnp.asarray(sum((part for part in rest if part is not None), start=operator.mv(state)))


# Robin's condition has both a flux and a value.
@pytest.mark.parametrize("behind", variants(BEHIND, slow=["flux", "value"]))
@pytest.mark.parametrize("name", MAKERS)
def test_a_rectangle_cut_out_is_the_smaller_grid(name, behind):
    """With NaN as the coefficients of all other cells."""
    inner, outer = BEHIND[behind]
    masked = MAKERS[name](BIG, jnp.asarray, kp.Boundary(inner=inner))
    plain = MAKERS[name](SMALL, cut, outer)
    u = jnp.where(INSIDE, 0.5 + jnp.asarray(RNG.random((7, 8))), 0.0)
    rate = rate_of(masked, u)
    np.testing.assert_allclose(cut(rate), rate_of(plain, cut(u)), rtol=1e-12)
    assert np.all(rate[~INSIDE] == 0.0)


def test_walls_of_the_box_are_walls_of_active_cells_alone():
    active = np.ones((4, 3), bool)
    active[0, 1:] = active[3, 0] = False
    grid = kp.Grid((4, 3), (0.0, 0.0), (1.0, 1.0), active=active)
    equation = kp.Diffusion(
        grid, 1.0, boundary=kp.Boundary(lower=(kp.Dirichlet(1.0), kp.Neumann()), upper=kp.Neumann(2.0))
    )
    forcing = np.asarray(equation.forcing())
    expected = np.zeros((4, 3))
    expected[0, 0] = 2 * 16.0
    expected[3, :] += 4 * 2.0
    expected[:, 2] += 3 * 2.0
    np.testing.assert_allclose(forcing, np.where(active, expected, 0.0), rtol=1e-13)


def test_a_mask_across_a_periodic_axis():
    active = np.array([True, True, False, True, True])
    grid = kp.Grid(5, 0.0, 5.0, active=active)
    line = kp.Grid(4, 0.0, 4.0)
    for inner, outer in (BEHIND["closed"], BEHIND["value"]):
        ring = kp.Diffusion(grid, 1.0, boundary=(kp.Periodic(),))
        if inner is not None:
            ring = kp.Diffusion(grid, 1.0, boundary=kp.Boundary(kp.Periodic(), kp.Periodic(), inner=inner))
        plain = kp.Diffusion(line, 1.0, boundary=outer)
        u = RNG.random(4)
        rate = rate_of(ring, jnp.asarray(np.array([u[2], u[3], 0.0, u[0], u[1]])))
        np.testing.assert_allclose(rate[jnp.asarray([3, 4, 0, 1])], rate_of(plain, jnp.asarray(u)), rtol=1e-13)


# ---- spectra


def ell(n):
    x, y = kp.Grid((2 * n, 2 * n), (-1.0, -1.0), (1.0, 1.0)).coordinates
    return kp.Grid((2 * n, 2 * n), (-1.0, -1.0), (1.0, 1.0), active=~((x > 0) & (y < 0)))


def disc(n):
    x, y = kp.Grid((n, n), (-1.0, -1.0), (1.0, 1.0)).coordinates
    return kp.Grid((n, n), (-1.0, -1.0), (1.0, 1.0), active=x**2 + y**2 < 1.0)


def eigenvalues(grid, condition):
    sides = kp.Neumann() if condition is None else condition
    operator = kp.Laplacian(grid, kp.Boundary(sides, sides, inner=condition))
    here = np.flatnonzero(grid.active)
    return np.linalg.eigvalsh(-np.asarray(operator.as_matrix())[np.ix_(here, here)]), operator


@pytest.mark.slow
def test_eigenvalues_of_the_ell():
    """Three unit squares. Dirichlet: 9.6397238 (Fox, Henrici, Moler 1967); Neumann: 0, 1.4756218 (Dauge's benchmark).

    The corner limits the order to 4/3.
    """
    errors = []
    for n in (3, 6, 9):
        values, operator = eigenvalues(ell(n), kp.Dirichlet())
        errors.append([9.6397238 - values[0], 1.4756218 - eigenvalues(ell(n), None)[0][1]])
        lower, upper = map(float, spectral_interval(operator) or ())
        assert lower <= -values[-1] * (1 - 1e-12)
        assert upper >= -values[0]
    errors = np.array(errors)
    assert np.all(errors > 0)
    assert errors[-1] == pytest.approx([0.1809, 0.02103], rel=0.01)
    orders = np.polyfit(np.log([3, 6, 9]), np.log(errors), 1)[0]
    assert orders == pytest.approx([-4 / 3, -4 / 3], abs=0.25)


def test_eigenvalues_of_the_disc():
    """Zeros of Bessel's functions, within the first order of the staircase."""
    for n in (12, 24):
        clamped, free = (eigenvalues(disc(n), condition)[0] for condition in (kp.Dirichlet(), None))
        assert clamped[0] == pytest.approx(jn_zeros(0, 1)[0] ** 2, rel=1.6 / n)
        # The first zero of J₁' belongs to two modes, which the square keeps alike.
        assert free[:3] == pytest.approx([0.0, 1.8411838**2, 1.8411838**2], rel=1.6 / n, abs=1e-10)
        assert free[1] == pytest.approx(free[2], rel=1e-10)


def test_the_range_of_transport_holds_it():
    """Faber's ellipse, around the numerical range of every angle; with cells of zeros in it."""
    x, y = disc(12).coordinates
    for scheme in (kp.Central(), kp.Upwind(3)):
        operator = kp.AdvectionDiffusion(disc(12), 0.2, (-y, x), scheme=scheme).operator()
        matrix = np.asarray(operator.as_matrix())
        ellipse = numerical_range(operator)
        assert ellipse is not None
        for angle in np.linspace(0.0, np.pi, 7):
            turned = np.exp(-1j * angle) * matrix
            support = np.linalg.eigvalsh(0.5 * (turned + turned.conj().T))[-1]
            reach = np.hypot(ellipse.real * np.cos(angle), ellipse.imaginary * np.sin(angle))
            # Upwinding at a wall piles up in single cells, which the right end leaves out.
            assert support <= ellipse.centre * np.cos(angle) + reach + 0.02 * ellipse.real


# ---- evolution


@pytest.mark.slow
def test_mass_is_kept_and_nothing_leaks():
    grid = disc(12)
    x, y = grid.coordinates
    kappa = jnp.where(grid.active, 0.05, jnp.nan)
    equation = kp.AdvectionDiffusion(grid, kappa, (-y, x), scheme=kp.Upwind(3), boundary=kp.TotalFlux())
    start = jnp.asarray(np.exp(-8 * ((x - 0.3) ** 2 + y**2)))
    solution = kp.solve(equation, start, 1.0, rtol=1e-8)
    assert solution.stats.method == "Faber"
    assert grid.integrate(solution.value) == pytest.approx(float(grid.integrate(start)), rel=1e-8)
    assert np.all(solution.value[~grid.active] == 0.0)
    matrix = np.asarray(equation.operator().as_matrix())
    volumes = grid.cell_volumes.reshape(-1)
    np.testing.assert_allclose(volumes @ matrix, 0.0, atol=1e-13 * np.abs(matrix).max() * volumes.max())
    exact = jax.scipy.linalg.expm(matrix) @ np.where(grid.active, start, 0.0).reshape(-1)
    assert relative_error(solution.value.reshape(-1), jnp.asarray(exact)) < 1e-8


def rest(kappa, value):
    grid = disc(8)
    held = kp.Boundary(inner=kp.Dirichlet(value))
    return kp.Diffusion(grid, kappa, boundary=held, reaction_rate=-1.0)


def test_steady_state():
    """Singular rows are left alone; in both directions of the derivative."""
    grid = disc(8)
    x, _ = grid.coordinates
    kappa = jnp.where(grid.active, 1.0 + 0.5 * x, jnp.nan)
    equation = rest(kappa, 2.0)
    state = kp.steady_state(equation, rtol=1e-10)
    matrix = np.asarray(equation.operator().as_matrix())
    here = np.flatnonzero(grid.active)
    exact = np.linalg.solve(matrix[np.ix_(here, here)], -np.asarray(equation.forcing()).reshape(-1)[here])
    np.testing.assert_allclose(state.reshape(-1)[here], exact, rtol=1e-8)
    assert np.all(state[~grid.active] == 0.0)


def test_a_closed_lake_has_no_steady_state():
    with pytest.raises(RuntimeError, match="every constant"):
        kp.steady_state(kp.Diffusion(disc(8), 1.0, source=1.0))


# ---- derivatives


@pytest.mark.parametrize("kind", ["diffusion", pytest.param("wave", marks=pytest.mark.slow)])
def test_derivatives(kind, key):
    """Coefficients and boundary values, in rough directions; nothing from cells that are not active."""
    grid = disc(8)
    x, _ = grid.coordinates
    sensors = kp.Sensors(grid, [[0.3, 0.1], [-0.5, 0.2]])
    start = jnp.asarray(np.exp(-4 * x**2))

    def seen(point):
        coefficient, value = point
        boundary = kp.Boundary(inner=kp.Dirichlet(value))
        if kind == "wave":
            equation = kp.Wave(grid, coefficient, boundary=boundary)
            return jnp.sum(kp.solve(equation, kp.WaveState(start, start), 0.3, rtol=1e-10, observe=sensors).value ** 2)
        equation = kp.Diffusion(grid, coefficient, boundary=boundary)
        return jnp.sum(kp.solve(equation, start, 0.3, rtol=1e-10, observe=sensors).value ** 2)

    point = (jnp.asarray(1.0 + 0.3 * x), jnp.asarray(0.5))
    report = kp.verify.taylor_test(seen, point, key=key)
    assert report.passed, report
    hollow = (jnp.where(grid.active, point[0], jnp.nan), point[1])
    both = jax.jit(jax.value_and_grad(seen))
    value, gradient = both(hollow)
    assert value == both(point)[0]
    assert np.all(gradient[0][~grid.active] == 0.0)
    assert np.all(np.isfinite(gradient[0]))
    assert np.all(gradient[0][grid.active] != 0.0)


def test_a_point_source_beside_the_edge():
    grid = disc(12)
    structure = jax.ShapeDtypeStruct(grid.shape, jnp.float64)
    for position in ([0.0, 0.0], [-0.6, -0.6]):
        kernel = kp.PointSource(grid, position, 1.0).field(structure)
        assert grid.integrate(kernel) == pytest.approx(1.0, rel=1e-13)
        assert np.all(kernel[~grid.active] == 0.0)


@pytest.mark.bad_input
def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="not active"):
        kp.PointSource(disc(12), [0.95, 0.95], 1.0)
    with pytest.raises(ValueError, match=r"positive, its smallest value is -1"):
        kp.Diffusion(BIG, jnp.asarray(np.where(INSIDE, -1.0, -5.0)))
    with pytest.raises(ValueError, match="active="):
        kp.Diffusion(SMALL, 1.0, boundary=kp.Boundary(inner=kp.Dirichlet()))
