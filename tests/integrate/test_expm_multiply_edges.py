"""Silent misses that were found and closed."""

import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
import scipy.linalg

import krylovpde as kp

FACTOR = 10.0


def test_a_small_stiff_system_in_single_precision():
    # Arnoldi breaks down exactly, so its error estimate is zero: the rounding of exp(tH) is the error that is left.
    matrix = 1e5 * (np.roll(np.eye(16), 1, 0) - np.roll(np.eye(16), -1, 0)) / 2
    vector = np.random.default_rng(0).standard_normal(16)
    solution = kp.expm_multiply(
        lx.MatrixLinearOperator(jnp.asarray(matrix, jnp.float32)), jnp.asarray(vector, jnp.float32), 1.0, throw=False
    )
    reference = scipy.linalg.expm(matrix) @ vector
    error = np.linalg.norm(np.asarray(solution.value) - reference) / np.linalg.norm(vector)
    assert error <= FACTOR * 1e-4 or not bool(solution.result == kp.RESULTS.successful)


@pytest.mark.slow
@pytest.mark.parametrize("method", [kp.Lanczos(), kp.Arnoldi()])
@pytest.mark.parametrize(("rate", "duration"), [(50.0, 0.2), (600.0, 0.02), (600.0, 0.2)])
def test_growth_far_from_the_data(rate, duration, method):
    # A reaction of e^120 in a fifth of the domain, which data at the other end excite with e^-60 at first: no Ritz
    # value of a first Krylov space knows about it. In the last case not even rounding errors may grow that much.
    grid = kp.Grid(shape=(64,), lower=(0.0,), upper=(1.0,))
    (x,) = grid.coordinates
    equation = kp.Diffusion(grid, 0.01, reaction_rate=rate * (x > 0.8))
    vector = jnp.exp(-(((x - 0.1) / 0.05) ** 2))
    solution = kp.solve(equation, vector, duration, method=method, throw=False)
    reference = scipy.linalg.expm(duration * np.asarray(equation.operator().as_matrix())) @ vector
    allowed = FACTOR * 1e-6 * max(np.linalg.norm(reference), np.linalg.norm(vector))
    right = np.linalg.norm(solution.value - reference) <= allowed
    assert right or bool(solution.result != kp.RESULTS.successful)
    assert bool(solution.result == kp.RESULTS.successful) == (rate * duration < 100)


def test_growth_that_everything_shares_costs_little():
    grid = kp.Grid(shape=(64,), lower=(0.0,), upper=(1.0,))
    (x,) = grid.coordinates
    vector = jnp.exp(-(((x - 0.4) / 0.1) ** 2))
    plain, grown = (kp.solve(kp.Diffusion(grid, 0.5, reaction_rate=r), vector, 1.0) for r in (0.0, 30.0))
    scale = np.exp(30.0)
    assert np.linalg.norm(grown.value - scale * plain.value) <= FACTOR * 2e-6 * scale * np.linalg.norm(vector)
    # The estimate counts the growth twice, in the small matrix and after it: that costs sub-steps.
    assert grown.stats.applications <= 3 * plain.stats.applications


def test_a_complex_matrix_makes_a_real_vector_complex():
    rng = np.random.default_rng(3)
    matrix, vector = rng.standard_normal((6, 6)) + 1j * rng.standard_normal((6, 6)), rng.standard_normal(6)
    reference = scipy.linalg.expm(0.7 * matrix) @ vector
    for operator in (
        lx.MatrixLinearOperator(jnp.asarray(matrix)),
        kp.SparseOperator.from_coo(*np.nonzero(matrix), jnp.asarray(matrix.ravel()), matrix.shape),
    ):
        value = kp.expm_multiply(operator, jnp.asarray(vector), 0.7).value
        assert np.linalg.norm(value - reference) <= FACTOR * 1e-6 * np.linalg.norm(reference)
