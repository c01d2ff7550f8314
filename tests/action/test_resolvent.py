"""Shift-and-invert where a solve iterates: graded grids in two and three dimensions, sparse matrices; failures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse

import krylovpde as kp
from krylovpde.action import Task, resolvent
from tests.helpers import relative_error, variants


def graded(size, ratio=300.0):
    rate = np.log(ratio)
    return np.expm1(rate * np.linspace(0.0, 1.0, size + 1)) / np.expm1(rate)


def plane(size):
    return kp.Grid.from_edges([graded(size), graded(size)])


def diffusivity(grid, contrast):
    x, y = grid.coordinates
    return np.exp(0.5 * np.log(contrast) * np.sin(2 * np.pi * np.sqrt(x + 0.01) + 1) * np.cos(3 * np.sqrt(y)))


def exact(operator, vector, t):
    """Through the eigenvectors of the symmetrised matrix, with its spectral radius times rounding as error."""
    root = np.sqrt(np.broadcast_to(np.asarray(operator.weight), vector.shape).ravel())
    matrix = root[:, None] * np.asarray(operator.as_matrix()) / root[None, :]
    values, vectors = scipy.linalg.eigh((matrix + matrix.T) / 2)
    return (vectors @ (np.exp(t * values) * (vectors.T @ (root * vector.ravel()))) / root).reshape(vector.shape)


GRID = plane(14)
ROUGH = np.random.default_rng(6).standard_normal(GRID.shape)
CASES = {
    "closed": lambda k: kp.Diffusion(GRID, k),
    "walls": lambda k: kp.Diffusion(GRID, k, boundary=(kp.Dirichlet(), kp.Robin(1.0, 0.5))),
    "capacity": lambda k: kp.Diffusion(GRID, k, capacity=1.0 + 0.5 * k, reaction_rate=-k),
    "growth": lambda k: kp.Diffusion(GRID, k, reaction_rate=20.0 * k / jnp.max(k)),
    "periodic": lambda k: kp.Diffusion(GRID, k, boundary=(kp.Periodic(), kp.Neumann())),
}


@pytest.mark.parametrize("case", variants(CASES, quick=["capacity"]))
def test_a_plane_graded_along_both_axes(case):
    equation, t = CASES[case](jnp.asarray(diffusivity(GRID, 10.0))), 0.1
    operator = equation.operator()
    assert t * operator.spectral_bound > 1e5
    solution = kp.solve(equation, ROUGH, t, method=kp.ShiftInvert(), rtol=1e-8)
    expected = exact(operator, ROUGH, t)
    scale = max(GRID.norm(expected), GRID.norm(ROUGH))
    assert GRID.norm(solution.value - expected) <= 1e-8 * scale
    assert solution.stats.krylov_dimension <= 32
    assert solution.stats.num_steps == 1
    assert solution.stats.applications <= 40 * solution.stats.krylov_dimension


@pytest.mark.parametrize("boundary", variants([kp.Neumann(), kp.Dirichlet(), kp.Periodic()], quick=[kp.Dirichlet()]))
def test_what_is_separable_takes_one_iteration(boundary):
    # The second product checks the residual.
    edges = [graded(7), graded(5), np.linspace(0.0, 1.0, 5)]
    grid = kp.Grid.from_edges(edges)
    operator = kp.Diffusion(grid, 2.0, boundary=boundary, capacity=3.0, reaction_rate=-1.5).operator()
    right = jnp.asarray(np.random.default_rng(7).standard_normal(grid.shape))
    task = Task(jnp.asarray(0.05), 1e-11, 50)
    solved = jax.jit(lambda operator, right: resolvent(operator, task)(right))(operator, right)
    assert solved.good
    assert solved.applications <= 3
    assert relative_error(solved.value - 0.05 * operator.mv(solved.value), right) < 1e-9


@pytest.mark.slow
def test_solves_do_not_depend_on_the_mesh():
    counts, iterations = [], []
    for size in (12, 24, 48):
        grid = plane(size)
        x, y = grid.coordinates
        equation = kp.Diffusion(grid, diffusivity(grid, 10.0), boundary=kp.Dirichlet())
        start = np.exp(-((x - 0.2) ** 2 + (y - 0.2) ** 2) / 0.01)
        stats = kp.solve(equation, start, 0.01, method=kp.ShiftInvert(), rtol=1e-8).stats
        counts.append(int(stats.krylov_dimension))
        iterations.append(int(stats.applications) / counts[-1])
    assert max(counts) <= min(counts) + 4
    assert max(iterations) < 35


def test_contrast_and_jumps():
    x, y = GRID.coordinates
    inside = (x - 0.4) ** 2 + (y - 0.3) ** 2 < 0.06
    for contrast, most in ((10.0, 40), (1e4, 150)):
        k = np.where(inside, contrast, 1.0)
        equation = kp.Diffusion(GRID, k)
        solution = kp.solve(equation, ROUGH, 0.1, method=kp.ShiftInvert(), rtol=1e-8)
        assert GRID.norm(solution.value - exact(equation.operator(), ROUGH, 0.1)) <= 1e-7 * GRID.norm(ROUGH)
        assert solution.stats.applications <= most * solution.stats.krylov_dimension


@pytest.mark.slow
def test_a_gradient_in_the_plane():
    def loss(method, k):
        value = kp.solve(kp.Diffusion(GRID, k, boundary=kp.Dirichlet()), ROUGH, 0.05, method=method, rtol=1e-8).value
        return jnp.sum(value**2 * GRID.cell_volumes)

    k = jnp.asarray(diffusivity(GRID, 10.0))
    mine = jax.grad(lambda k: loss(kp.ShiftInvert(), k))(k)
    theirs = jax.grad(lambda k: loss(kp.Dense(), k))(k)
    assert relative_error(mine, theirs) < 1e-6


def path(size):
    """A weighted graph: a path and some chords, with a wide range of conductances."""
    rng = np.random.default_rng(8)
    rows = np.concatenate([np.arange(size - 1), rng.integers(0, size, size)])
    columns = np.concatenate([np.arange(1, size), rng.integers(0, size, size)])
    weights = 10.0 ** rng.uniform(0.0, 4.0, len(rows)) * (rows != columns)
    half = scipy.sparse.coo_array((weights, (rows, columns)), shape=(size, size)).tocsr()
    both = half + half.T
    return both - scipy.sparse.diags_array(np.asarray(both.sum(axis=1)).ravel())


@pytest.mark.slow
def test_a_sparse_matrix_and_its_relatives():
    matrix = path(40)
    operator = kp.SparseOperator.from_scipy(matrix, tags=kp.self_adjoint_tag)
    vector = jnp.asarray(np.random.default_rng(9).standard_normal(40))
    expected = scipy.linalg.expm(0.3 * matrix.toarray()) @ np.asarray(vector)
    for same in (operator, 0.5 * operator + operator / 2.0, -1.0 * (-operator), operator.T):
        solution = kp.expm_multiply(same, vector, 0.3, method=kp.ShiftInvert(), rtol=1e-9)
        assert relative_error(solution.value, jnp.asarray(expected)) < 1e-8
    turned = (1.0 + 2.0j) * vector.astype(jnp.complex128)
    complex_value = kp.expm_multiply(operator, turned, 0.3, method=kp.ShiftInvert(), rtol=1e-9).value
    assert relative_error(complex_value, jnp.asarray((1.0 + 2.0j) * expected)) < 1e-8


@pytest.mark.slow
def test_a_batch_equals_a_loop():
    starts = jnp.stack([jnp.asarray(ROUGH), jnp.zeros(GRID.shape), jnp.ones(GRID.shape)])
    equation = kp.Diffusion(GRID, diffusivity(GRID, 10.0))
    solve = lambda v: kp.solve(equation, v, 0.05, method=kp.ShiftInvert(), rtol=1e-8)  # noqa: E731
    batch = jax.vmap(solve)(starts)
    for index, start in enumerate(starts):
        single = solve(start)
        assert jnp.allclose(batch.value[index], single.value, rtol=0, atol=1e-7)
        assert abs(int(batch.stats.applications[index]) - int(single.stats.applications)) <= 2
    assert batch.stats.applications[1] == 0


@pytest.mark.slow
def test_a_solve_that_fails_is_told():
    equation = kp.Diffusion(GRID, diffusivity(GRID, 100.0))
    method = kp.ShiftInvert(max_iterations=3)
    solution = kp.solve(equation, ROUGH, 0.1, method=method, throw=False)
    assert solution.result == kp.RESULTS.inner_solve_failed
    assert bool(jnp.all(jnp.isnan(solution.value)))
    with pytest.raises(Exception, match="could not solve a linear system"):
        kp.solve(equation, ROUGH, 0.1, method=method)


def test_a_tag_that_is_not_true_is_told():
    matrix = scipy.sparse.random_array((30, 30), density=0.3, rng=10, format="csr") * 50.0
    operator = kp.SparseOperator.from_scipy(matrix - scipy.sparse.eye_array(30), tags=kp.self_adjoint_tag)
    solution = kp.expm_multiply(operator, jnp.ones(30), 1.0, method=kp.ShiftInvert(), throw=False)
    assert solution.result == kp.RESULTS.inner_solve_failed
