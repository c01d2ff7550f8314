"""The spectral interval: never too narrow, sharp for a Laplacian, told for sums and multiples."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
import scipy.sparse

import krylovpde as kp
from krylovpde.operator import spectral_interval
from krylovpde.operator._polynomial import polynomial_range
from tests.helpers import variants

GRID = kp.Grid(shape=(7, 5), lower=(0.0, 0.0), upper=(1.0, 1.0))
RNG = np.random.default_rng(4)
KAPPA = 1.0 + RNG.random(GRID.shape)
EDGES = np.concatenate([[0.0], np.logspace(-2, 0, 11)])
GRAPH = scipy.sparse.random_array((20, 20), density=0.2, rng=5, format="csr")
GRAPH = GRAPH + GRAPH.T


def _laplacian():
    return kp.Diffusion(GRID, KAPPA, capacity=1.0 + RNG.random(GRID.shape)).operator()


SPEEDS = np.exp(np.random.default_rng(11).standard_normal(GRID.shape))

OPERATORS = {
    "rough wave": lambda: kp.Wave(GRID, SPEEDS).operator(),
    "nothing diffuses": lambda: kp.Diffusion(GRID, np.where(GRID.coordinates[0] < 0.5, 1e-30, 1.0)).operator(),
    "periodic": lambda: kp.Diffusion(GRID, SPEEDS, boundary=kp.Periodic()).operator(),
    "graded": lambda: kp.Diffusion(kp.Grid.from_edges([EDGES, EDGES]), 1.0).operator(),
    "diffusion": _laplacian,
    "reaction": lambda: kp.Diffusion(GRID, KAPPA, reaction_rate=50.0 * RNG.random(GRID.shape)).operator(),
    "dirichlet": lambda: kp.Diffusion(GRID, KAPPA, boundary=kp.Dirichlet()).operator(),
    "wave": lambda: kp.Wave(GRID, KAPPA).operator(),
    "radial": lambda: kp.Diffusion(kp.RadialGrid(EDGES), 2.0).operator(),
    "advection": lambda: kp.AdvectionDiffusion(GRID, KAPPA, (3.0, -2.0)).operator(),
    "sparse": lambda: kp.annotate(kp.SparseOperator.from_scipy(GRAPH), tags=kp.self_adjoint_tag),
    "tridiagonal": lambda: lx.TridiagonalLinearOperator(*(jnp.asarray(RNG.random(n)) for n in (9, 8, 8))),
    "diagonal": lambda: lx.DiagonalLinearOperator(jnp.asarray(RNG.standard_normal(9))),
    "multiple": lambda: -3.0 * _laplacian(),
    "quotient": lambda: _laplacian() / -2.0,
    "negative": lambda: -_laplacian(),
    "transpose": lambda: _laplacian().T,
    "polynomial": lambda: kp.PolynomialOperator(_laplacian(), (1.0, -1.0, -0.01)),
    "cubic": lambda: kp.PolynomialOperator(_laplacian(), (0.0, 2.0, 0.05, 1e-4)),
    "quintic": lambda: kp.PolynomialOperator(0.01 * _laplacian(), (0.0, 2.0, 0.0, 1.0, -0.3, 0.1)),
    "species": lambda: kp.BlockOperator(((_laplacian(), None), (None, -0.1 * _laplacian()))),
    "sum": lambda: kp.Laplacian(GRID) + 2.0 * kp.Laplacian(GRID, kp.Dirichlet()),
}


# Each is near a quick one: another coefficient, wall or grid, another number of the same polynomials.
NEAR = ["rough wave", "nothing diffuses", "periodic", "graded", "multiple", "negative", "cubic", "quintic"]


@pytest.mark.parametrize("name", variants(OPERATORS, slow=NEAR))
def test_all_eigenvalues_lie_inside(name):
    operator = OPERATORS[name]()
    lower, upper = jax.jit(spectral_interval)(operator)
    real = np.linalg.eigvals(np.asarray(operator.as_matrix())).real
    # The upper end of a closed box is exactly zero; the eigenvalues of the reference carry rounding of the largest one.
    rounding = 10 * np.finfo(real.dtype).eps * np.abs(real).max()
    assert lower <= real.min() + rounding
    assert real.max() <= upper + rounding
    assert upper - lower <= 4 * (real.max() - real.min())


def test_sharper_than_the_row_sums_for_rough_coefficients():
    """Sweeps of diagonal scaling: near the lowest eigenvalue where the row sums are at twice of it."""
    operator = kp.Wave(GRID, SPEEDS).operator()
    interval = spectral_interval(operator)
    assert interval is not None
    matrix = np.asarray(operator.as_matrix())
    lowest = np.linalg.eigvals(matrix).real.min()
    row_sums = np.abs(matrix).sum(axis=1).max()
    assert -interval[0] < 0.85 * row_sums
    assert interval[0] > 1.15 * lowest


def test_nothing_grows_in_a_closed_box():
    interval = spectral_interval(kp.Diffusion(GRID, KAPPA).operator())
    assert interval is not None
    assert 0 <= interval[1] < 1e-10


def test_what_is_unknown_is_none():
    matrix = lx.MatrixLinearOperator(jnp.eye(3))
    assert spectral_interval(matrix) is None
    assert spectral_interval(matrix + matrix) is None
    assert spectral_interval(1j * _laplacian()) is None
    assert spectral_interval(kp.SparseOperator.from_scipy(GRAPH[:3])) is None


@pytest.mark.parametrize("coefficients", [(2.0,), (0.0, 3.0), (0.0, -1.0, -1.0), (1.0, 0.0, 0.5, 0.2), (0, -1, 0, 1)])
@pytest.mark.parametrize("ends", [(-5.0, 0.0), (-0.3, -0.2), (-1.0, 2.0)])
def test_the_range_of_a_polynomial_is_sharp(coefficients, ends):
    """Up to degree three exactly, above almost: Kuramoto and Sivashinsky's operator ends at 1/4."""
    points = np.linspace(*ends, 20001)
    values = np.polynomial.polynomial.polyval(points, coefficients)
    for added, room in (((), 1e-6), ((0.0, 0.0), 1e-3)):
        lower, upper = polynomial_range(jnp.asarray((*map(float, coefficients), *added)), *map(jnp.asarray, ends))
        size = max(np.ptp(values), 0.1)
        assert values.min() - room * size <= lower <= values.min() + 1e-7 * size
        assert values.max() - 1e-7 * size <= upper <= values.max() + room * size
