"""The ellipse around a numerical range: against the dense eigenvalues of `cos φ H + sin φ K`, and how tight it is."""

import itertools

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.operator import numerical_range
from tests.helpers import variants

# High cell Péclet numbers are meant here.
pytestmark = pytest.mark.filterwarnings("ignore:AdvectionDiffusion. the cell:UserWarning")

RNG = np.random.default_rng(6)
GRIDS = {
    "uniform": kp.Grid(shape=(7, 6), lower=(0.0, 0.0), upper=(1.0, 1.0)),
    "graded": kp.Grid.from_edges([np.cumsum(np.r_[0.0, 0.1 * 1.3 ** np.arange(7)]), np.linspace(0.0, 1.0, 7)]),
    "radial": kp.RadialGrid(np.linspace(0.0, 3.0, 30)),
}
SCHEMES = {"central": kp.Central(), "upwind": kp.Upwind(order=1), "third order": kp.Upwind(order=3)}
ANGLES = np.linspace(0.0, np.pi, 41)
# Nothing flows through periodic walls, and little through walls whose value is fixed, where Péclet numbers are below 4.
CLOSED = {"periodic": kp.Periodic(), "dirichlet": kp.Dirichlet()}
OPEN = {"neumann": kp.Neumann(), "total flux": kp.TotalFlux()}
PLACES = [place for place in itertools.product(GRIDS, CLOSED, SCHEMES) if place[:2] != ("radial", "periodic")]
# Each scheme between each two walls, and on each grid but for the central one in a radius.
QUICK_PLACES = [
    ("uniform", "periodic", "third order"),
    ("uniform", "dirichlet", "central"),
    ("uniform", "dirichlet", "upwind"),
    ("graded", "periodic", "central"),
    ("graded", "periodic", "upwind"),
    ("graded", "dirichlet", "third order"),
    ("radial", "dirichlet", "upwind"),
    ("radial", "dirichlet", "third order"),
]


def across(grid, axis):
    """The shape of a field that does not change along an axis."""
    return tuple(1 if i == axis else size for i, size in enumerate(grid.shape))


def operator_of(grid, scheme, boundary, peclet, rough, capacity=None):
    """Diffusivities and velocities with or without a random part; `peclet` is the largest cell Péclet number."""
    rng = np.random.default_rng(7)
    spacing = max(float(np.max(grid.widths(axis))) for axis in range(grid.ndim))
    diffusivity = jnp.asarray(1.0 + rough * rng.uniform(-0.8, 0.8, grid.shape))
    least = 1.0 - 0.8 * rough
    # Rough across the flow only: free of divergence.
    velocity = tuple(
        least * peclet / spacing * jnp.asarray(1.0 - rough * rng.uniform(0.0, 2.0, across(grid, axis)))
        for axis in range(grid.ndim)
    )
    velocity = tuple(jnp.broadcast_to(component, grid.shape) for component in velocity)
    equation = kp.AdvectionDiffusion(
        grid, diffusivity, velocity, scheme=SCHEMES[scheme], boundary=boundary, capacity=capacity
    )
    return equation.operator()


def symmetrised(operator):
    """`M^{1/2} A M^{-1/2}`, whose Euclidean numerical range is that of `A` in the weight."""
    root = np.sqrt(np.broadcast_to(np.asarray(operator.weight), operator.in_structure().shape).ravel())
    return root[:, None] * np.asarray(operator.as_matrix()) / root[None, :]


def reaches(matrix):
    """The support function of a numerical range at all angles."""
    self_adjoint, skew = (matrix + matrix.T) / 2, (matrix - matrix.T) / 2j
    return np.asarray([np.linalg.eigvalsh(np.cos(a) * self_adjoint + np.sin(a) * skew)[-1] for a in ANGLES])


def allowed(ellipse):
    """The support function of an ellipse at all angles."""
    centre, real, imaginary = (float(x) for x in (ellipse.centre, ellipse.real, ellipse.imaginary))
    return centre * np.cos(ANGLES) + np.hypot(real * np.cos(ANGLES), imaginary * np.sin(ANGLES))


def assert_holds(ellipse, matrix):
    reached = reaches(matrix)
    assert np.all(reached <= allowed(ellipse) + 1e-10 * np.max(np.abs(reached)))


def largest_polynomial(ellipse, matrix, degree):
    """The largest norm of a Faber polynomial of the matrix."""
    outer, inner = float(ellipse.real + ellipse.imaginary) / 2, float(ellipse.real - ellipse.imaginary) / 2
    shifted = matrix - float(ellipse.centre) * np.eye(len(matrix))
    older, newer, largest = 2.0 * np.eye(len(matrix)), shifted / outer, 0.0
    for _ in range(degree):
        older, newer = newer, (shifted @ newer - inner * older) / outer
        largest = max(largest, np.linalg.norm(newer, 2))
    return largest


@pytest.mark.parametrize("rough", [pytest.param(0.0, marks=pytest.mark.slow), 1.0])
@pytest.mark.parametrize(("grid", "boundary", "scheme"), variants(PLACES, quick=QUICK_PLACES))
def test_the_numerical_range_lies_inside(grid, boundary, scheme, rough):
    for peclet in (0.3, 2.0):
        operator = operator_of(GRIDS[grid], scheme, CLOSED[boundary], peclet, rough)
        ellipse = numerical_range(operator)
        assert ellipse is not None
        assert_holds(ellipse, symmetrised(operator))
        # For a numerical range inside the ellipse Beckermann's bound is 2.
        assert largest_polynomial(ellipse, symmetrised(operator), 60) <= 2.0 + 1e-9


@pytest.mark.parametrize("rough", variants([0.0, 1.0], quick=[1.0]))
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("boundary", OPEN)
def test_flow_through_walls_lets_the_polynomials_grow_but_slowly(boundary, scheme, rough):
    for peclet in (0.5, 2.0):
        operator = operator_of(GRIDS["uniform"], scheme, OPEN[boundary], peclet, rough)
        growth = [largest_polynomial(numerical_range(operator), symmetrised(operator), k) for k in (60, 240)]
        assert growth[0] < 2.0 * (1.0 + np.sqrt(2.0)) * np.sqrt(60)
        assert growth[1] < 1.1 * growth[0]  # no faster than √k, and that only as far as the grid


@pytest.mark.slow
@pytest.mark.parametrize("peclet", [0.5, 2.0])
def test_flow_that_piles_up_in_single_cells_lets_the_polynomials_grow_but_slowly(peclet):
    grid = kp.Grid(shape=(12, 12), lower=(0.0, 0.0), upper=(12.0, 12.0))
    x, y = grid.coordinates
    rng = np.random.default_rng(8)
    sink = [-c / ((x - 6.0) ** 2 + (y - 6.0) ** 2 + 0.5) for c in (x - 6.0, y - 6.0)]
    for flow in (sink, rng.uniform(-1.0, 1.0, (2, *grid.shape))):
        velocity = tuple(peclet * jnp.asarray(component) for component in flow)
        operator = kp.AdvectionDiffusion(grid, 1.0, velocity, boundary=kp.Periodic()).operator()
        ellipse = numerical_range(operator)
        # Gershgorin's interval of H reaches to 0.2 and more; what is below a hundredth of the exchange is believed.
        assert float(ellipse.centre + ellipse.real) < 0.04
        assert largest_polynomial(ellipse, symmetrised(operator), 200) < 5.0


def test_a_flow_that_converges_slowly_is_growth():
    grid = kp.Grid(shape=(40,), lower=(0.0,), upper=(40.0,))
    velocity = jnp.asarray(-0.5 * np.sin(2 * np.pi * grid.coordinates[0] / 40.0))
    operator = kp.AdvectionDiffusion(grid, 4.0, (velocity,), boundary=kp.Periodic()).operator()
    ellipse = numerical_range(operator)
    assert float(ellipse.centre + ellipse.real) > 0.03  # half of the largest convergence, 2π/40 · 0.5
    assert_holds(ellipse, symmetrised(operator))


def test_it_is_the_numerical_range_itself_for_constant_coefficients_and_a_closed_box():
    grid = kp.Grid(shape=(24, 24), lower=(0.0, 0.0), upper=(1.0, 1.0))
    for peclet in (0.5, 2.0, 8.0):
        operator = operator_of(grid, "central", kp.Periodic(), peclet, 0.0)
        ellipse = numerical_range(operator)
        fastest = 8.0 * 24**2
        assert abs(float(ellipse.real) - fastest / 2) < 1e-9 * fastest
        assert abs(float(ellipse.imaginary) - peclet * fastest / 4) < 1e-9 * fastest
        assert abs(float(ellipse.centre) + fastest / 2) < 1e-9 * fastest


@pytest.mark.slow
def test_nothing_reaches_the_right_half_plane_where_flow_is_free_of_divergence():
    # Not even the third-order scheme, whose negative couplings Gershgorin's circles take for growth.
    for scheme in SCHEMES:
        for boundary in (kp.Periodic(), kp.Dirichlet(), kp.Neumann()):
            ellipse = numerical_range(operator_of(GRIDS["uniform"], scheme, boundary, 1.0, 0.0))
            assert float(ellipse.centre + ellipse.real) <= 1e-12 * float(ellipse.real)


def test_a_capacity_is_part_of_the_weight():
    capacity = jnp.asarray(RNG.uniform(0.5, 2.0, GRIDS["uniform"].shape))
    operator = operator_of(GRIDS["uniform"], "central", kp.Periodic(), 1.0, 1.0, capacity)
    assert_holds(numerical_range(operator), symmetrised(operator))


def test_wrappers_and_what_is_on_an_axis():
    operator = operator_of(GRIDS["graded"], "third order", kp.Dirichlet(), 2.0, 1.0)
    matrix = symmetrised(operator)
    for wrapped, factor in ((operator.T, 1.0), (-operator, -1.0), (3.0 * operator, 3.0), (operator / -2.0, -0.5)):
        assert_holds(numerical_range(wrapped), factor * matrix)
    laplacian = kp.Laplacian(GRIDS["graded"], kp.Dirichlet())
    assert_holds(numerical_range(operator + laplacian), matrix + symmetrised(laplacian))
    flat = numerical_range(laplacian)
    assert float(flat.imaginary) == 0.0
    assert_holds(flat, symmetrised(laplacian))
    rotation = jnp.asarray([[0.0, 2.0], [-2.0, 0.0]])
    skew = kp.annotate(lx.MatrixLinearOperator(rotation), tags=kp.skew_adjoint_tag)
    assert_holds(numerical_range(skew), np.asarray(rotation))
    assert_holds(numerical_range(kp.annotate(operator, spectral_bound=1e9)), matrix)


def test_what_is_unknown_is_none():
    operator = operator_of(GRIDS["uniform"], "central", kp.Dirichlet(), 1.0, 0.0)
    assert numerical_range(lx.MatrixLinearOperator(jnp.eye(3))) is None
    assert numerical_range(1j * operator) is None
    assert numerical_range(operator + lx.IdentityLinearOperator(operator.in_structure()) * 1j) is None
    assert numerical_range(kp.annotate(operator, weight=2.0 * jnp.ones(GRIDS["uniform"].shape))) is None


def test_it_is_a_constant_to_derivatives():
    grid = GRIDS["uniform"]

    def size(diffusivity):
        ellipse = numerical_range(kp.AdvectionDiffusion(grid, diffusivity, (1.0, 1.0)).operator())
        return ellipse.real + ellipse.imaginary + ellipse.centre

    assert float(jnp.abs(jax.grad(size)(jnp.ones(grid.shape))).max()) == 0.0
