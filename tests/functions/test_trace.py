"""Traces and log-determinants by random probes, against dense ones and the peer's."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
from matfree import decomp, funm

import krylovpde as kp
from krylovpde.functions import Exponential, Inverse, Logarithm, SquareRoot, log_determinant, trace
from krylovpde.functions._probes import draw
from tests.helpers import relative_error

SIZE = 12


def positive(key, size=SIZE, low=0.1):
    vectors = jnp.linalg.qr(jax.random.normal(key, (size, size)))[0]
    return (vectors * np.geomspace(low, 5.0, size)) @ vectors.T


def hermitian(matrix):
    return lx.MatrixLinearOperator((matrix + matrix.T) / 2, lx.positive_semidefinite_tag)


def in_weight(matrix, weight):
    operator = lx.MatrixLinearOperator((matrix + matrix.T) / 2 / weight[:, None])
    return kp.annotate(operator, tags=kp.self_adjoint_tag, weight=weight)


@pytest.mark.parametrize("consistent", [pytest.param(True, marks=pytest.mark.slow), False])
def test_without_chance(consistent, key):
    """With all directions split off nothing is left to the probes: value and gradient are exact, in any weight."""
    matrix, weight = positive(key), np.linspace(0.5, 2.0, SIZE)

    def ours(matrix):
        options = {"deflation": SIZE, "num_probes": 2, "rtol": 1e-8, "consistent": consistent}
        estimate = log_determinant(in_weight(matrix, weight), key, **options)
        return estimate.value, estimate

    (value, estimate), gradient = jax.jit(jax.value_and_grad(ours, has_aux=True))(matrix)
    assert value == pytest.approx(np.linalg.slogdet(matrix / weight[:, None])[1], rel=1e-9)
    assert float(estimate.standard_error) < 1e-10
    assert relative_error(gradient, np.linalg.inv(matrix)) < 1e-6


@pytest.mark.parametrize("function", [Logarithm(), pytest.param(Exponential(), marks=pytest.mark.slow)])
def test_gradient_is_that_of_the_estimate(function, key):
    """Not of the trace: the probes stay what they are. Of its standard error, too."""
    matrix = positive(key)

    def functional(matrix):
        estimate = trace(hermitian(matrix), function, key, num_probes=3, rtol=1e-10)
        return estimate.value + 2.0 * estimate.standard_error

    assert kp.verify.taylor_test(functional, matrix, key=key, direction=0.01 * (matrix @ matrix), rtol=1e-9).passed


def test_as_the_peer(key):
    """Matfree's quadrature and its gradient, with our probes."""
    matrix, count = positive(key), 4
    like = jnp.zeros(SIZE)
    probes = draw("rademacher", jax.random.split(key)[1], like, None, count)
    integrand = funm.monte_carlo_funm_sym_logdet(decomp.tridiag_sym(SIZE, reortho="full"))

    def theirs(matrix):
        symmetric = (matrix + matrix.T) / 2
        return jnp.mean(jax.vmap(lambda z: integrand(lambda x, a: a @ x, z, symmetric))(probes))

    def ours(matrix):
        return log_determinant(hermitian(matrix), key, num_probes=count, rtol=1e-9, consistent=True).value

    value, gradient = jax.jit(jax.value_and_grad(ours))(matrix)
    reference, expected = jax.jit(jax.value_and_grad(theirs))(matrix)
    assert value == pytest.approx(float(reference), rel=1e-9)
    assert relative_error((gradient + gradient.T) / 2, (expected + expected.T) / 2) < 1e-6


@pytest.mark.slow
def test_both_gradients_have_the_right_mean(key):
    """Over many probes, within four standard errors; and the two are different random numbers."""
    matrix, direction = positive(key), np.random.default_rng(2).standard_normal((SIZE, SIZE))
    direction = direction + direction.T
    exact = np.trace(np.linalg.solve(matrix, direction))
    means = []
    for consistent in (True, False):

        @jax.jit
        def slope(matrix, key, consistent=consistent):
            def functional(matrix):
                return log_determinant(hermitian(matrix), key, num_probes=4, consistent=consistent).value

            return jnp.vdot(jax.grad(functional)(matrix), jnp.asarray(direction))

        slopes = np.asarray([slope(matrix, k) for k in jax.random.split(key, 100)])
        error = slopes.std() / np.sqrt(slopes.size)
        assert abs(slopes.mean() - exact) < 4 * error
        means.append(slopes)
    assert relative_error(means[0], means[1]) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("probes", ["rademacher", "normal"])
def test_the_standard_error_is_honest(probes, key):
    """Over 200 keys the estimates scatter by as much as they say; signs scatter less than normal numbers."""
    operator, exact = hermitian(positive(key)), np.sum(np.sqrt(np.geomspace(0.1, 5.0, SIZE)))
    estimate = jax.jit(jax.vmap(lambda k: trace(operator, SquareRoot(), k, num_probes=16, probes=probes)))
    found = estimate(jax.random.split(key, 200))
    scaled = (np.asarray(found.value) - exact) / np.asarray(found.standard_error)
    assert abs(np.mean(scaled)) < 4 / np.sqrt(200)
    assert 0.85 < np.std(scaled) < 1.3


@pytest.mark.slow
def test_deflation_pays_where_few_eigenvalues_are_large(key):
    """A spectrum that falls as 1/k²: with ten directions split off the standard error falls by more than ten."""
    size = 60
    vectors = jnp.linalg.qr(jax.random.normal(key, (size, size)))[0]
    values = np.arange(1.0, size + 1) ** -2.0
    operator = hermitian((vectors * values) @ vectors.T + 1e-3 * jnp.eye(size))
    plain, split = (trace(operator, SquareRoot(), key, num_probes=16, deflation=k) for k in (0, 20))
    exact = np.sum(np.sqrt(values + 1e-3))
    for estimate in (plain, split):
        assert abs(float(estimate.value) - exact) < 4 * float(estimate.standard_error)
    assert 3 * float(split.standard_error) < float(plain.standard_error)


@pytest.mark.slow
def test_pytrees_complex_and_single_precision(key):
    tree = {"a": jnp.asarray([4.0, 9.0]), "b": jnp.asarray([[0.5, 2.0]])}
    found = log_determinant(lx.DiagonalLinearOperator(tree), key, num_probes=2)
    # Signs know a diagonal exactly.
    assert found.value == pytest.approx(np.log(36.0), rel=1e-6)
    assert float(found.standard_error) < 1e-6
    matrix = positive(key)
    phases = np.exp(1j * np.arange(float(SIZE)))
    matrix_of_phases = jnp.asarray(np.asarray(matrix) * phases[:, None] / phases)
    turned = lx.MatrixLinearOperator(matrix_of_phases, lx.positive_semidefinite_tag)
    found = log_determinant(turned, key, num_probes=2, deflation=SIZE, rtol=1e-8)
    assert found.value == pytest.approx(np.linalg.slogdet(matrix)[1], rel=1e-8)
    single = log_determinant(hermitian(matrix.astype(np.float32)), key, num_probes=2, deflation=SIZE)
    assert single.value.dtype == np.float32
    assert single.value == pytest.approx(np.linalg.slogdet(matrix)[1], abs=2e-3)


def test_failures_are_told(key):
    indefinite = lx.DiagonalLinearOperator(jnp.asarray([1.0, -0.5, 2.0]))
    assert log_determinant(indefinite, key, throw=False).result == kp.RESULTS.not_definite
    with pytest.raises(eqx.EquinoxRuntimeError, match="not positive"):
        log_determinant(indefinite, key)
    gradient = jax.grad(lambda d: log_determinant(lx.DiagonalLinearOperator(d), key, throw=False).value)
    assert np.all(np.isnan(gradient(jnp.asarray([1.0, -0.5, 2.0]))))


@pytest.mark.bad_input
def test_wrong_input(key):
    operator = lx.DiagonalLinearOperator(jnp.ones(3))
    with pytest.raises(ValueError, match="self-adjoint"):
        log_determinant(lx.MatrixLinearOperator(jnp.eye(3)), key)
    with pytest.raises(TypeError, match=r"such as krylovpde.functions.Logarithm\(\), got a"):
        trace(operator, jnp.log, key)
    with pytest.raises(ValueError, match="num_probes"):
        trace(operator, Inverse(), key, num_probes=1)
    with pytest.raises(ValueError, match="rademacher"):
        trace(operator, Inverse(), key, probes="sphere")
    with pytest.raises(ValueError, match="deflation"):
        trace(operator, Inverse(), key, deflation=4)
