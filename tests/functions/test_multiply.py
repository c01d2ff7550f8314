"""`log(A) v`, `A⁻¹ v` and `A^{-1/2} v` against dense eigenvalue decompositions; `sqrt` has a file of its own."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import krylovpde as kp
from krylovpde import functions
from tests.helpers import random_like, relative_error

_FUNCTIONS = {
    "log_multiply": np.log,
    "inverse_multiply": lambda x: 1 / x,
    "inverse_sqrt_multiply": lambda x: x**-0.5,
}
every_function = pytest.mark.parametrize("name", _FUNCTIONS)


def in_weight(symmetric, weight):
    """`M⁻¹ S`, self-adjoint in `M`."""
    operator = lx.MatrixLinearOperator(symmetric / weight[:, None])
    return kp.annotate(operator, tags=kp.self_adjoint_tag, weight=weight)


def dense_function(function, symmetric, weight):
    """`M^{-1/2} f(M^{-1/2} S M^{-1/2}) M^{1/2}`."""
    half = jnp.sqrt(weight)
    values, vectors = jnp.linalg.eigh(symmetric / (half[:, None] * half))
    return (vectors * function(values)) @ vectors.T * half / half[:, None]


def problem(key, size=10):
    keys = jax.random.split(key, 3)
    vectors = jnp.linalg.qr(jax.random.normal(keys[0], (size, size)))[0]
    symmetric = (vectors * np.geomspace(0.05, 5.0, size)) @ vectors.T
    return symmetric, np.linspace(0.5, 2.0, size), jax.random.normal(keys[1], (2, size))


@every_function
def test_value_and_gradients_in_a_weight(name, key):
    symmetric, weight, (vector, cotangent) = problem(key)
    multiply = getattr(functions, name)
    exact = {"log_multiply": jnp.log, "inverse_multiply": jnp.reciprocal, "inverse_sqrt_multiply": jax.lax.rsqrt}[name]

    def ours(symmetric, vector):
        solution = multiply(in_weight((symmetric + symmetric.T) / 2, weight), vector, rtol=1e-9)
        return jnp.vdot(cotangent, solution.value), solution.value

    def theirs(symmetric, vector):
        value = dense_function(exact, (symmetric + symmetric.T) / 2, weight) @ vector
        return jnp.vdot(cotangent, value), value

    gradient, value = jax.jit(jax.grad(ours, (0, 1), has_aux=True))(symmetric, vector)
    reference, expected = jax.jit(jax.grad(theirs, (0, 1), has_aux=True))(symmetric, vector)
    assert relative_error(value, expected) < 1e-8
    assert relative_error(gradient[0], reference[0]) < 1e-7
    assert relative_error(gradient[1], reference[1]) < 1e-8


@every_function
def test_failures_are_told(name):
    """An eigenvalue that is zero or negative is none of these functions' business, however small its part."""
    multiply, vector = getattr(functions, name), jnp.asarray([1.0, 1e-3, 1.0])
    for lowest in (-0.5, 0.0):
        operator = lx.DiagonalLinearOperator(jnp.asarray([1.0, lowest, 2.0]))
        assert multiply(operator, vector, throw=False).result == kp.RESULTS.not_definite
    with pytest.raises(eqx.EquinoxRuntimeError, match="not positive"):
        multiply(operator, vector)
    assert np.all(multiply(operator, jnp.zeros(3)).value == 0)
    one = multiply(lx.DiagonalLinearOperator(jnp.asarray([4.0])), jnp.asarray([3.0])).value
    assert one == pytest.approx(3.0 * _FUNCTIONS[name](4.0), rel=1e-14)


@pytest.mark.slow
def test_a_budget_that_is_too_small_is_told(key):
    """The estimate is above the error, and within a decade or two of it."""
    size = 60
    vectors = np.linalg.qr(np.random.default_rng(1).standard_normal((size, size)))[0]
    values = np.geomspace(0.01, 10.0, size)
    operator = lx.MatrixLinearOperator(jnp.asarray((vectors * values) @ vectors.T), lx.positive_semidefinite_tag)
    vector = jax.random.normal(key, (size,))
    for name, function in _FUNCTIONS.items():
        solution = getattr(functions, name)(operator, vector, max_dimension=25, rtol=1e-10, throw=False)
        assert solution.result == kp.RESULTS.tolerance_not_reached
        exact = (vectors * function(values)) @ (vectors.T @ np.asarray(vector))
        error = relative_error(solution.value, exact) * np.linalg.norm(exact)
        scale = max(np.linalg.norm(solution.value), float(jnp.linalg.norm(vector)) if "log" in name else 0.0)
        assert error < float(solution.stats.error_estimate) * scale < 30 * error


@pytest.mark.slow
@every_function
def test_single_precision_complex_and_pytrees(name, key):
    symmetric, _, (vector, _) = problem(key)
    multiply, function = getattr(functions, name), _FUNCTIONS[name]
    single = lx.MatrixLinearOperator(symmetric.astype(np.float32), lx.positive_semidefinite_tag)
    exact = dense_function(function, symmetric, jnp.ones(10)) @ vector
    value = multiply(single, vector.astype(np.float32)).value
    assert value.dtype == np.float32
    assert relative_error(value, exact) < 1e-3
    phases = np.exp(1j * np.arange(10.0))
    turned = jnp.asarray(np.asarray(symmetric) * phases[:, None] / phases)
    hermitian = lx.MatrixLinearOperator(turned, lx.positive_semidefinite_tag)
    found = multiply(hermitian, jnp.asarray(np.asarray(vector) * phases), rtol=1e-9).value
    assert relative_error(found, np.asarray(exact) * phases) < 1e-8
    tree = {"a": jnp.asarray([4.0, 9.0]), "b": jnp.asarray([[0.5]])}
    vector = random_like(key, tree)
    value = multiply(lx.DiagonalLinearOperator(tree), vector, rtol=1e-9).value
    assert relative_error(value, jax.tree.map(lambda d, v: function(d) * v, tree, vector)) < 1e-8
