"""The square root of an operator, and covariances, against dense eigenvalue decompositions."""

import functools as ft

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
from jax.test_util import check_grads

import krylovpde as kp
from krylovpde.functions import RBFCovariance, sqrt_multiply
from tests.helpers import dense, relative_error, rounding, variants

AXES = (np.linspace(0.0, 1.0, 7), np.linspace(0.0, 2.0, 6))


def root_of(matrix) -> np.ndarray:
    values, vectors = np.linalg.eigh(np.asarray(matrix))
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.conj().T


def positive_matrix(size: int, dtype, *, seed: int = 3) -> jax.Array:
    """Eigenvalues from 0.01 to 10."""
    rng = np.random.default_rng(seed)
    draw = rng.standard_normal((size, size)) + 1j * rng.standard_normal((size, size))
    vectors = np.linalg.qr(draw if np.issubdtype(dtype, np.complexfloating) else draw.real)[0]
    return jnp.asarray(((vectors * np.geomspace(0.01, 10.0, size)) @ vectors.conj().T).astype(dtype))


def normal(shape, dtype, seed=5) -> jax.Array:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape)
    if np.issubdtype(dtype, np.complexfloating):
        values = values + 1j * rng.standard_normal(shape)
    return jnp.asarray(values.astype(dtype))


def hermitian(matrix):
    return lx.MatrixLinearOperator(matrix, lx.positive_semidefinite_tag)


@pytest.mark.parametrize("dtype", variants([np.float32, np.float64, np.complex128], slow=[np.float64]))
def test_agrees_with_the_dense_root(dtype):
    matrix, vector = positive_matrix(30, dtype), normal((30,), dtype)
    for rtol in (1e-2, 1e-4):
        solution = sqrt_multiply(hermitian(matrix), vector, rtol=rtol)
        assert solution.value.dtype == dtype
        assert relative_error(solution.value, root_of(matrix) @ np.asarray(vector)) < rtol
        assert float(solution.stats.error_estimate) < 10 * rtol
        assert int(solution.stats.applications) == int(solution.stats.krylov_dimension) <= 30


def test_in_a_weight():
    """`A = M⁻¹ S` is self-adjoint in `M`; its root is `M^{-1/2} (M^{-1/2} S M^{-1/2})^{1/2} M^{1/2}`."""
    symmetric, weight = np.asarray(positive_matrix(12, np.float64)), np.linspace(0.5, 3.0, 12)
    operator = lx.MatrixLinearOperator(jnp.asarray(symmetric / weight[:, None]))
    operator = kp.annotate(operator, tags=kp.self_adjoint_tag, weight=weight)
    half = np.sqrt(weight)
    root = root_of(symmetric / np.outer(half, half)) * half / half[:, None]
    vector = normal((12,), np.float64)
    value, pull = jax.vjp(lambda v: sqrt_multiply(operator, v).value, vector)
    assert relative_error(value, root @ vector) < 1e-6
    assert relative_error(pull(vector)[0], root.T @ vector) < 1e-6


@pytest.mark.slow
def test_the_bound_is_above_the_error():
    """At every dimension that a budget can stop at."""
    operator = RBFCovariance((np.linspace(0.0, 1.0, 12), np.linspace(0.0, 1.0, 12)), 0.2)
    vector = normal((12, 12), np.float64)
    exact = root_of(dense(operator)) @ np.asarray(vector).ravel()
    for dimension in (4, 8, 16, 32):
        solution = sqrt_multiply(operator, vector, max_dimension=dimension, rtol=1e-10, throw=False)
        error = relative_error(solution.value.ravel(), exact)
        assert solution.result == kp.RESULTS.tolerance_not_reached
        assert error < float(solution.stats.error_estimate) < 100 * error


@pytest.mark.slow
def test_a_spectrum_that_decays_to_rounding():
    """The smallest Ritz values are negative rounding: no NaN, and the estimate says what single precision can do."""
    axis = np.linspace(0.0, 1.0, 16)
    vector = normal((16, 16), np.float64)
    exact = root_of(dense(RBFCovariance((axis, axis), 0.7))) @ np.asarray(vector).ravel()
    for dtype, rtol in ((np.float64, 1e-6), (np.float32, 1e-2)):
        covariance = RBFCovariance((axis, axis), jnp.asarray(0.7, dtype), jnp.asarray(1.0, dtype))
        value = sqrt_multiply(covariance, vector.astype(dtype), rtol=rtol).value
        assert relative_error(value.ravel(), exact) < rtol
    single = sqrt_multiply(covariance, vector.astype(np.float32), rtol=1e-5, throw=False)
    assert single.result == kp.RESULTS.tolerance_not_reached
    assert bool(jnp.all(jnp.isfinite(single.value)))


def test_special_vectors_and_operators():
    matrix = positive_matrix(9, np.float64)
    values, vectors = np.linalg.eigh(matrix)
    eigenvector = sqrt_multiply(hermitian(matrix), jnp.asarray(vectors[:, 4]))
    assert int(eigenvector.stats.krylov_dimension) == 1
    assert relative_error(eigenvector.value, np.sqrt(values[4]) * vectors[:, 4]) < rounding(np.float64)
    zero = jnp.zeros(9)
    assert np.all(sqrt_multiply(hermitian(matrix), zero).value == 0)
    assert np.all(sqrt_multiply(hermitian(0 * matrix), normal((9,), np.float64)).value == 0)
    gradient = jax.grad(lambda a: jnp.sum(sqrt_multiply(hermitian(a), zero).value))(matrix)
    assert np.all(gradient == 0)
    one = sqrt_multiply(lx.DiagonalLinearOperator(jnp.asarray([4.0])), jnp.asarray([3.0])).value
    assert one == pytest.approx(6.0, rel=1e-14)


def test_failures_are_told():
    indefinite = lx.DiagonalLinearOperator(jnp.asarray([1.0, -0.5, 2.0]))
    vector = jnp.ones(3)
    assert sqrt_multiply(indefinite, vector, throw=False).result == kp.RESULTS.not_semidefinite
    with pytest.raises(eqx.EquinoxRuntimeError, match="negative eigenvalue"):
        sqrt_multiply(indefinite, vector)
    for bad in (jnp.asarray([1.0, jnp.nan, 0.0]), jnp.asarray([jnp.inf, 1.0, 0.0])):
        assert sqrt_multiply(indefinite, bad, throw=False).result == kp.RESULTS.nonfinite
    gradient = jax.grad(lambda v: jnp.sum(sqrt_multiply(indefinite, v, throw=False).value))(vector)
    assert np.all(np.isnan(gradient))


def sample(axes, noise, length_scale, variance):
    return sqrt_multiply(RBFCovariance(axes, length_scale, variance), noise, rtol=1e-8).value


def test_derivatives_of_a_sample():
    # On so few nodes the eigenvalues stay above rounding, and the root has derivatives for any noise.
    axes, noise = (np.linspace(0.0, 1.0, 4), np.linspace(0.0, 1.5, 4)), normal((4, 4), np.float64)
    check_grads(ft.partial(sample, axes), (noise, 0.4, 1.3), order=1, modes=["rev"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rough", [True, False])
def test_gradients_where_the_spectrum_reaches_zero(rough):
    """Sylvester's equation, dense: rough data meet the eigenvalues that are rounding, smooth ones hide them."""
    axis = np.linspace(0.0, 1.0, 14)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    start, weight = (np.exp(-20 * ((x - a) ** 2 + (y - 0.5) ** 2)) for a in (0.3, 0.6))
    if rough:
        start, weight = normal((14, 14), np.float64, 1), normal((14, 14), np.float64, 2)

    def covariance(length_scale):
        return dense(RBFCovariance((axis, axis), length_scale))

    matrix, change = map(np.asarray, jax.jvp(covariance, (0.4,), (1.0,)))
    values, vectors = np.linalg.eigh(matrix)
    roots = np.sqrt(np.maximum(values, 0.0))
    total = roots[:, None] + roots
    ratio = np.where(total > 0, vectors.T @ change @ vectors / np.where(total > 0, total, 1.0), 0.0)
    exact = (vectors.T @ np.ravel(weight)) @ ratio @ (vectors.T @ np.ravel(start))

    def functional(length_scale):
        field = sqrt_multiply(RBFCovariance((axis, axis), length_scale), jnp.asarray(start), rtol=1e-6).value
        return jnp.vdot(jnp.asarray(weight), field)

    scale = np.linalg.norm(weight) * np.linalg.norm(start)
    assert abs(float(jax.grad(functional)(0.4)) - exact) < 1e-5 * scale


def test_other_modes_of_derivatives_are_refused():
    matrix, vector = positive_matrix(5, np.float64), normal((5,), np.float64)

    def functional(v):
        return jnp.sum(sqrt_multiply(hermitian(matrix), v).value ** 3)

    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(functional, (vector,), (vector,))
    with pytest.raises(NotImplementedError, match="first order only"):
        jax.jvp(jax.grad(functional), (vector,), (vector,))


@pytest.mark.slow
def test_jit_vmap_and_pytrees():
    covariance = RBFCovariance(AXES, 0.5)
    noises = jnp.stack([normal((7, 6), np.float64, seed) for seed in range(3)]).at[1].set(0.0)

    def functional(length_scale, noise):
        return jnp.sum(sqrt_multiply(RBFCovariance(AXES, length_scale), noise, rtol=1e-4).value ** 2)

    batched = jax.jit(jax.vmap(lambda v: sqrt_multiply(covariance, v, rtol=1e-4)))(noises)
    one_by_one = [sqrt_multiply(covariance, v, rtol=1e-4) for v in noises]
    assert relative_error(batched.value, jnp.stack([s.value for s in one_by_one])) < 1e-10
    assert list(batched.stats.krylov_dimension) == [int(s.stats.krylov_dimension) for s in one_by_one]
    gradients = jax.vmap(jax.grad(functional), in_axes=(None, 0))(0.5, noises)
    assert relative_error(gradients, jnp.stack([jax.grad(functional)(0.5, v) for v in noises])) < 1e-8

    pair = {"a": jnp.asarray([4.0, 9.0]), "b": jnp.asarray([[16.0]])}
    ones = jax.tree.map(jnp.ones_like, pair)
    root = sqrt_multiply(lx.DiagonalLinearOperator(pair), ones, rtol=1e-10).value
    assert relative_error(root, jax.tree.map(jnp.sqrt, pair)) < 1e-10


def test_covariance_is_what_it_says(key):
    grid = kp.Grid((5, 4), (0.0, 0.0), (1.0, 2.0))
    covariance = RBFCovariance(grid, 0.6, 2.5)
    nodes = np.stack([x.ravel() for x in grid.coordinates], axis=1)
    squares = np.sum((nodes[:, None] - nodes[None, :]) ** 2, axis=2)
    assert relative_error(dense(covariance), 2.5 * np.exp(-squares / (2 * 0.6**2))) < 1e-14
    assert kp.verify.structure_test(covariance, key=key).passed
    assert covariance.transpose() is covariance
    assert covariance.mv(jnp.ones((5, 4), np.float32)).dtype == np.float32
    line = RBFCovariance([np.linspace(0.0, 1.0, 6)], 0.3)
    assert dense(line).shape == (6, 6)


@pytest.mark.bad_input
def test_wrong_input():
    covariance = RBFCovariance(AXES, 0.5)
    with pytest.raises(ValueError, match="self-adjoint"):
        sqrt_multiply(lx.MatrixLinearOperator(jnp.eye(3)), jnp.ones(3))
    with pytest.raises(TypeError, match="lineax"):
        sqrt_multiply(np.eye(3), jnp.ones(3))
    with pytest.raises(ValueError, match="like the operator's input"):
        sqrt_multiply(covariance, jnp.ones(3))
    with pytest.raises(ValueError, match="max_dimension"):
        sqrt_multiply(covariance, jnp.ones((7, 6)), max_dimension=1)
    with pytest.raises(ValueError, match="rtol"):
        sqrt_multiply(covariance, jnp.ones((7, 6)), rtol=1e-17)
    with pytest.raises(ValueError, match="length_scale"):
        RBFCovariance(AXES, 0.0)
    with pytest.raises(ValueError, match="one positive number"):
        RBFCovariance(AXES, jnp.ones(2))
    with pytest.raises(ValueError, match="variance"):
        RBFCovariance(AXES, 1.0, -1.0)
    with pytest.raises(ValueError, match="finite nodes"):
        RBFCovariance((np.ones((2, 2)),), 1.0)
    with pytest.raises(ValueError, match="at least one axis"):
        RBFCovariance((), 1.0)
