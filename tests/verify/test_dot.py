"""The dot test passes right transposes, and fails wrong ones."""

import jax
import jax.numpy as jnp
import lineax as lx
import pytest

from krylovpde.verify import dot_test


def _matrix(key, shape, dtype=jnp.float64):
    return jax.random.normal(key, shape, dtype)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64, jnp.complex128])
@pytest.mark.parametrize("shape", [(6, 6), (3, 7)])
def test_right_transpose_passes(shape, dtype, key):
    report = dot_test(lx.MatrixLinearOperator(_matrix(key, shape, dtype)), key=key)
    assert report.passed, str(report)
    assert report.mismatch < report.limit < 1e-4


def test_pytrees_pass(key):
    def function(x):
        return {"sum": x["a"] + jnp.sum(x["b"]), "scaled": 3.0 * x["b"]}

    point = {"a": jnp.ones(4), "b": jnp.ones((2, 3))}
    operator = lx.FunctionLinearOperator(function, jax.eval_shape(lambda: point))
    assert dot_test(operator, key=key).passed


def test_a_tag_that_lies_about_symmetry_is_found(key):
    """Lineax returns the operator itself as the transpose of whatever is tagged symmetric."""
    matrix = _matrix(key, (6, 6))
    assert not dot_test(lx.MatrixLinearOperator(matrix, lx.symmetric_tag), key=key).passed


def test_hermitian_is_not_symmetric(key):
    matrix = _matrix(key, (5, 5), jnp.complex128)
    hermitian = matrix + matrix.conj().T
    assert dot_test(lx.MatrixLinearOperator(hermitian), key=key).passed
    assert not dot_test(lx.MatrixLinearOperator(hermitian, lx.symmetric_tag), key=key).passed


def test_a_wrong_row_is_found(key):
    matrix = _matrix(key, (8, 8))

    transposed = matrix.T.at[2].mul(1.001)

    def apply(x):
        return jax.custom_derivatives.linear_call(lambda _, v: matrix @ v, lambda _, w: transposed @ w, (), x)

    operator = lx.FunctionLinearOperator(apply, jax.ShapeDtypeStruct((8,), jnp.float64))
    assert not dot_test(operator, key=key).passed


def test_zero_operator_passes_and_nan_does_not(key):
    assert dot_test(lx.MatrixLinearOperator(jnp.zeros((3, 3))), key=key).mismatch == 0
    report = dot_test(lx.MatrixLinearOperator(jnp.full((3, 3), jnp.nan)), key=key)
    assert not report.passed
    assert str(report).startswith("FAILED")
