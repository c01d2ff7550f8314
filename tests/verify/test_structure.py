"""The structure test passes what is true, and names each claim that is false."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

from krylovpde.operator import annotate, self_adjoint_tag, skew_adjoint_tag
from krylovpde.verify import structure_test

_SIZE = 40


def _self_adjoint(key, dtype):
    """A matrix that is self-adjoint in a weight, the weight, and its spectral radius."""
    symmetric = jax.random.normal(key, (_SIZE, _SIZE), dtype)
    symmetric = symmetric + symmetric.conj().T
    weight = np.linspace(1.0, 50.0, _SIZE).astype(np.finfo(dtype).dtype)
    root = jnp.sqrt(weight).astype(dtype)
    radius = float(np.abs(np.linalg.eigvalsh(np.asarray(symmetric))).max())
    return symmetric * root[None, :] / root[:, None], weight, radius


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64, jnp.complex128])
def test_true_claims_pass(dtype, key):
    matrix, weight, radius = _self_adjoint(key, dtype)
    operator = annotate(
        lx.MatrixLinearOperator(matrix), tags=self_adjoint_tag, weight=weight, spectral_bound=1.01 * radius
    )
    report = structure_test(operator, key=key)
    assert report.passed, str(report)
    assert [claim.name for claim in report.claims] == ["positive weight", "self-adjoint", "spectral bound"]


def test_false_self_adjointness_is_named(key):
    matrix, _, _ = _self_adjoint(key, jnp.float64)  # self-adjoint, but not in the Euclidean product
    report = structure_test(annotate(lx.MatrixLinearOperator(matrix), tags=self_adjoint_tag), key=key)
    assert report.failed == ("self-adjoint", "symmetric")


def test_one_wrong_coefficient_is_found(key):
    matrix, weight, _ = _self_adjoint(key, jnp.float64)
    matrix = matrix.at[3, 17].add(1e-6)
    report = structure_test(annotate(lx.MatrixLinearOperator(matrix), tags=self_adjoint_tag, weight=weight), key=key)
    assert report.failed == ("self-adjoint",)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.complex128])
def test_skew_adjointness(dtype, key):
    matrix = jax.random.normal(key, (_SIZE, _SIZE), dtype)
    matrix = matrix - matrix.conj().T
    radius = float(np.abs(np.linalg.eigvals(np.asarray(matrix))).max())
    operator = annotate(lx.MatrixLinearOperator(matrix), tags=skew_adjoint_tag, spectral_bound=1.001 * radius)
    assert structure_test(operator, key=key).passed
    symmetric = annotate(lx.MatrixLinearOperator(matrix @ matrix), tags=skew_adjoint_tag)
    assert "skew-adjoint" in structure_test(symmetric, key=key).failed


@pytest.mark.parametrize("factor", [0.5, 0.98])
def test_a_bound_that_is_too_small_is_found(factor, key):
    """On a second difference, whose outermost eigenvalues lie close together."""
    n = 200
    ones = jnp.ones(n)
    radius = 2 + 2 * np.cos(np.pi / (n + 1))
    laplacian = lx.TridiagonalLinearOperator(-2 * ones, ones[1:], ones[1:])
    operator = annotate(laplacian, tags=self_adjoint_tag, spectral_bound=radius)
    assert structure_test(operator, key=key).passed
    report = structure_test(annotate(operator, spectral_bound=factor * radius), key=key)
    assert report.failed == ("spectral bound",)


def test_bound_of_an_operator_without_structure(key):
    n = 60
    # Nilpotent plus the identity: spectral radius 1, although its norm and many Ritz values are above.
    jordan = lx.MatrixLinearOperator(jnp.eye(n) + jnp.eye(n, k=1))
    assert structure_test(annotate(jordan, spectral_bound=1.05), key=key).passed
    spread = jnp.diag(jnp.linspace(-1.0, -10.0, n).at[0].set(-20.0)) + 0.1 * jnp.eye(n, k=1)
    spread = lx.MatrixLinearOperator(spread)
    assert structure_test(annotate(spread, spectral_bound=20.0), key=key).passed
    assert structure_test(annotate(spread, spectral_bound=19.0), key=key).failed == ("spectral bound",)


def test_lineax_tags(key):
    matrix = jax.random.normal(key, (8, 8))
    semidefinite = matrix @ matrix.T
    good = lx.MatrixLinearOperator(semidefinite, lx.positive_semidefinite_tag)
    assert structure_test(good, key=key).passed
    wrong_sign = lx.MatrixLinearOperator(-semidefinite, lx.positive_semidefinite_tag)
    assert structure_test(wrong_sign, key=key).failed == ("positive semidefinite",)
    not_symmetric = lx.MatrixLinearOperator(matrix, lx.symmetric_tag)
    assert "symmetric" in structure_test(not_symmetric, key=key).failed


def test_pytrees_and_small_sizes(key):
    structure = {"a": jax.ShapeDtypeStruct((2,), jnp.float64), "b": jax.ShapeDtypeStruct((), jnp.float64)}
    operator = lx.FunctionLinearOperator(lambda x: {"a": x["b"] * jnp.ones(2), "b": jnp.sum(x["a"])}, structure)
    operator = annotate(operator, tags=self_adjoint_tag, spectral_bound=2.0**0.5)
    report = structure_test(operator, key=key)
    assert report.passed, str(report)
    assert not structure_test(annotate(operator, spectral_bound=1.4), key=key).passed
    zero = annotate(lx.MatrixLinearOperator(jnp.zeros((1, 1))), tags=self_adjoint_tag, spectral_bound=0.0)
    assert structure_test(zero, key=key).passed


def test_a_negative_weight_is_found(key):
    traced_weight = jnp.ones(4).at[1].set(-1.0)  # as a JAX array it is not looked at when told
    operator = annotate(lx.IdentityLinearOperator(jax.ShapeDtypeStruct((4,), jnp.float64)), weight=traced_weight)
    assert "positive weight" in structure_test(operator, key=key).failed


def test_no_claims(key):
    structure = jax.ShapeDtypeStruct((4,), jnp.float64)
    report = structure_test(lx.FunctionLinearOperator(lambda x: x[::-1], structure), key=key)
    assert report.passed
    assert report.claims == ()
    assert "claims nothing" in str(report)


def test_nan_does_not_pass(key):
    operator = annotate(lx.MatrixLinearOperator(jnp.full((3, 3), jnp.nan)), tags=self_adjoint_tag, spectral_bound=1.0)
    report = structure_test(operator, key=key)
    assert report.failed == ("self-adjoint", "symmetric", "spectral bound")
    assert str(report).count("FAILED") == 3


@pytest.mark.bad_input
def test_only_square_operators_have_structure(key):
    with pytest.raises(ValueError, match=r"`operator` must be square.*dot_test takes any shape"):
        structure_test(lx.MatrixLinearOperator(jnp.ones((2, 3))), key=key)
