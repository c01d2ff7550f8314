"""The three inverses against dense ones: matrices of full and of low rank, awkward ones, and counts of products."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.inverse import (
    ConjugateGradient,
    GaussianSketch,
    LeverageColumns,
    LowRankInverse,
    Neumann,
    NormColumns,
    Nystrom,
    UniformColumns,
)

_SIZE = 24
_COLUMNS = {
    "uniform": UniformColumns(),
    "norms": NormColumns(3),
    "leverage": LeverageColumns(4),
    "Gaussian": GaussianSketch(),
}


def _matrix(rank, decay=1.0, size=_SIZE):
    """Symmetric, positive semidefinite, of the given rank; eigenvalues from 1 down by `decay` each."""
    basis, _ = np.linalg.qr(np.random.default_rng(rank).normal(size=(size, rank)))
    return jnp.asarray(basis * decay ** np.arange(rank) @ basis.T)


def _vector(size=_SIZE):
    return jnp.asarray(np.random.default_rng(0).normal(size=size))


def _solve(method, matrix, vector):
    return jax.jit(lambda method, matrix, vector: method.solve(lambda x: matrix @ x, vector))(method, matrix, vector)


def _close(found, matrix, shift, rtol):
    exact = np.linalg.solve(np.asarray(matrix) + shift * np.eye(len(matrix)), _vector(len(matrix)))
    assert np.linalg.norm(found.value - exact) <= rtol * np.linalg.norm(exact)


@pytest.mark.parametrize("block_size", [None, 5])
@pytest.mark.parametrize("name", _COLUMNS)
def test_nystrom_is_exact_for_a_matrix_of_its_rank(name, block_size, key):
    """Seven eigenvalues, nine columns: two are one too many each."""
    matrix, columns = _matrix(7, 0.7), _COLUMNS[name]
    found = _solve(Nystrom(9, 1e-3, key=key, columns=columns, block_size=block_size), matrix, _vector())
    _close(found, matrix, 1e-3, 1e-9 if block_size is None else 1e-6)
    assert found.products == columns.products + (9 if block_size is None else 2 * 9 + 1)
    assert found.result == kp.RESULTS.successful


def test_nystrom_of_full_rank_without_rho_is_the_inverse():
    matrix = _matrix(_SIZE, 0.8)
    _close(_solve(Nystrom(_SIZE, 1e-14), matrix, _vector()), matrix, 0.0, 1e-9)


def test_nystrom_knows_what_it_has_not_seen_by_rho_alone(key):
    """A matrix of zero: `g / ρ`. And one column of a diagonal matrix."""
    nothing = _solve(Nystrom(3, 0.5, key=key), jnp.zeros((_SIZE, _SIZE)), _vector())
    np.testing.assert_allclose(nothing.value, 2 * _vector(), rtol=1e-14)
    matrix = jnp.diag(jnp.arange(1.0, _SIZE + 1))
    seen = _solve(Nystrom(1, 0.5, key=key), matrix, jnp.ones(_SIZE)).value
    index = int(jnp.argmin(seen))
    assert seen[index] == pytest.approx(1 / (index + 1.5), rel=1e-12)
    np.testing.assert_allclose(np.delete(seen, index), 2.0, rtol=1e-12)


def test_blocks_of_any_size_are_the_same(key):
    matrix = _matrix(_SIZE, 0.6)
    values = [
        _solve(Nystrom(6, 1e-2, key=key, columns=GaussianSketch(), block_size=size), matrix, _vector()).value
        for size in (None, 1, 4, 100)
    ]
    for value in values[1:]:
        np.testing.assert_allclose(value, values[0], rtol=1e-7, atol=1e-7)


def test_a_factorisation_serves_again(key):
    matrix = _matrix(7, 0.7)
    low = Nystrom(9, 1e-3, key=key).factor(lambda x: matrix @ x, _vector())
    assert isinstance(low, LowRankInverse)
    found = low.solve(lambda x: matrix @ x, _vector())
    _close(found, matrix, 1e-3, 1e-9)
    assert found.products == 0
    np.testing.assert_allclose(low.vectors.T @ low.vectors, np.eye(9), atol=1e-12)


def test_columns_are_drawn_where_they_matter():
    """Three unknowns carry all of a matrix: norms find them always, uniform columns hardly ever."""
    small = _matrix(3, 0.9, 3)
    matrix = jnp.zeros((_SIZE, _SIZE)).at[jnp.ix_(jnp.array([2, 11, 17]), jnp.array([2, 11, 17]))].set(small)

    @jax.jit
    def drawn(key):
        return [c.seeds(lambda x: matrix @ x, _vector(), 3, key) for c in map(_COLUMNS.get, list(_COLUMNS)[:3])]

    uniform, norms, leverage = np.sort(jax.vmap(drawn)(jr.split(jr.key(0), 40)), axis=-1)
    assert (norms == [2, 11, 17]).all()
    assert (leverage == [2, 11, 17]).all()
    assert (uniform == [2, 11, 17]).all(axis=1).mean() < 0.1
    assert all(len(set(row)) == 3 for row in uniform)


def test_a_sketch_is_as_good_as_the_best_of_a_slightly_lower_rank(key):
    """Eigenvalues fall by 0.3 each: four more columns are worth a factor of a hundred, less what chance takes."""
    matrix = _matrix(_SIZE, 0.3)
    exact = np.linalg.solve(matrix + 0.1 * np.eye(_SIZE), _vector())
    errors = [
        np.linalg.norm(_solve(Nystrom(rank, 0.1, key=key, columns=GaussianSketch()), matrix, _vector()).value - exact)
        for rank in (2, 6, 12)
    ]
    assert errors[1] < 0.3 * errors[0]
    assert errors[2] < 0.02 * errors[1]


def test_conjugate_gradients():
    matrix = _matrix(_SIZE, 0.7)
    found = _solve(ConjugateGradient(200, 1e-13, 0.05), matrix, _vector())
    _close(found, matrix, 0.05, 1e-11)
    assert found.products < 200
    # As many steps as there are eigenvalues: 7 and the one that is only damped.
    low = _solve(ConjugateGradient(200, 1e-8, 0.05), _matrix(7, 0.5), _vector())
    assert low.products == 8
    short = _solve(ConjugateGradient(3, 1e-12, 0.05), matrix, _vector())
    assert short.products == 3
    assert jnp.linalg.norm(short.value) < jnp.linalg.norm(found.value)
    assert short.result == kp.RESULTS.successful


def test_conjugate_gradients_tell_of_missing_curvature():
    indefinite = jnp.diag(jnp.linspace(1.0, -0.1, _SIZE))
    for matrix in (indefinite, _matrix(7, 0.7), jnp.zeros((_SIZE, _SIZE))):
        found = _solve(ConjugateGradient(50), matrix, _vector())
        assert found.result == kp.RESULTS.not_positive_definite
        assert jnp.isfinite(found.value).all()
    assert _solve(ConjugateGradient(50, 1e-8, 0.2), indefinite, _vector()).result == kp.RESULTS.successful
    nothing = _solve(ConjugateGradient(50), indefinite, jnp.zeros(_SIZE))
    assert nothing.products == 0
    assert (nothing.value == 0).all()


def test_nystrom_tells_of_negative_curvature(key):
    indefinite = jnp.diag(jnp.linspace(1.0, -0.1, _SIZE))
    for block_size in (None, 7):
        full = Nystrom(_SIZE, 0.05, key=key, block_size=block_size)
        assert _solve(full, indefinite, _vector()).result == kp.RESULTS.not_positive_definite
        found = _solve(Nystrom(_SIZE, 0.2, key=key, block_size=block_size), indefinite, _vector())
        assert found.result == kp.RESULTS.successful
        _close(found, indefinite, 0.2, 1e-9)


def test_neumann():
    matrix = _matrix(_SIZE, 0.9)
    _close(_solve(Neumann(600, 1.0), matrix, _vector()), matrix, 0.0, 1e-9)
    series = sum(np.linalg.matrix_power(np.eye(_SIZE) - 0.3 * matrix, j) for j in range(5)) @ _vector()
    found = _solve(Neumann(4, 0.3), matrix, _vector())
    np.testing.assert_allclose(found.value, 0.3 * series, rtol=1e-12)
    assert found.products == 4
    assert _solve(Neumann(4, 2.5), matrix, _vector()).result == kp.RESULTS.series_diverged
    # Even where the terms shrink at first.
    mild = jnp.diag(jnp.append(jnp.full(_SIZE - 1, 0.5), 1.05))
    assert _solve(Neumann(60, 2.0), mild, _vector().at[-1].set(1e-3)).result == kp.RESULTS.series_diverged


def test_single_precision_and_one_unknown(key):
    methods = [
        ConjugateGradient(40, 1e-6, 0.1),
        Nystrom(9, 0.1, key=key),
        Nystrom(9, 0.1, key=key, columns=GaussianSketch(), block_size=4),
        Neumann(400, 1.0),
    ]
    matrix = _matrix(7, 0.7).astype(jnp.float32)
    exact = np.linalg.solve(_matrix(7, 0.7) + 0.1 * np.eye(_SIZE), _vector())
    for method in methods[:3]:
        found = _solve(method, matrix, _vector().astype(jnp.float32)).value
        assert found.dtype == jnp.float32
        assert np.linalg.norm(np.asarray(found) - exact) < 2e-3 * np.linalg.norm(exact)
    one, two = jnp.ones(1), jnp.full((1, 1), 0.9)
    for method in (methods[0], Nystrom(1, 0.1, key=key), Nystrom(1, 0.1, key=key, block_size=1)):
        np.testing.assert_allclose(_solve(method, two, one).value, 1.0, rtol=1e-8)
    np.testing.assert_allclose(_solve(methods[3], two, one).value, 1 / 0.9, rtol=1e-8)


@pytest.mark.bad_input
def test_bad_arguments(key):
    for wrong in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match="must be an integer, at least 1"):
            Nystrom(wrong, 1.0, key=key)
        with pytest.raises(ValueError, match="must be an integer, at least 1"):
            ConjugateGradient(wrong)
    for wrong in (0.0, -1.0, np.nan, np.ones(2)):
        with pytest.raises(ValueError, match=r"\(rho\)` must be one positive number"):
            Nystrom(3, wrong, key=key)
        with pytest.raises(ValueError, match=r"\(step_size\)` must be one positive number"):
            Neumann(3, wrong)
    with pytest.raises(ValueError, match=r"\(damping\)` must be one non-negative number"):
        ConjugateGradient(3, damping=-1.0)
    with pytest.raises(ValueError, match="rtol must not be negative"):
        ConjugateGradient(3, -1e-3)
    with pytest.raises(ValueError, match="rank is 25, but there are 24 unknowns"):
        Nystrom(25, 1.0, key=key).solve(lambda x: x, _vector())
