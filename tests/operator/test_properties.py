"""Weight, bound and adjointness over lineax's operators and ours: static, told, never guessed."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

from krylovpde.grid import Dirichlet, Grid
from krylovpde.operator import (
    Laplacian,
    PolynomialOperator,
    SparseOperator,
    annotate,
    is_self_adjoint,
    is_skew_adjoint,
    self_adjoint_tag,
    skew_adjoint_tag,
    spectral_bound,
    weight,
)

RNG = np.random.default_rng(0)
A = RNG.normal(size=(5, 5))
SYMMETRIC, SKEW = A + A.T, A - A.T
HERMITIAN = SYMMETRIC + 1j * SKEW
M = np.arange(1.0, 6.0)


def _matrix(matrix, *tags):
    return lx.MatrixLinearOperator(jnp.asarray(matrix), tags)


def _weighted(matrix=SYMMETRIC, told=M, tag=self_adjoint_tag):
    return annotate(_matrix(matrix / M[:, None]), tags=tag, weight=told)


def _function(matrix, *tags):
    matrix = jnp.asarray(matrix)
    return lx.FunctionLinearOperator(lambda x: matrix @ x, jax.ShapeDtypeStruct((5,), matrix.dtype), tags)


def _polynomial(operator):
    return PolynomialOperator(operator, (1.0, 2.0, 0.5))


SELF_ADJOINT = {
    "matrix symmetric": _matrix(SYMMETRIC, lx.symmetric_tag),
    "matrix psd": _matrix(A @ A.T, lx.positive_semidefinite_tag),
    "matrix Hermitian psd": _matrix(HERMITIAN, lx.positive_semidefinite_tag),
    "matrix nsd": _matrix(-A @ A.T, lx.negative_semidefinite_tag),
    "matrix our tag, complex": _matrix(HERMITIAN, self_adjoint_tag),
    "function": _function(SYMMETRIC, lx.symmetric_tag),
    "function transposed": _function(HERMITIAN, self_adjoint_tag).T,
    "jacobian": lx.JacobianLinearOperator(lambda x, _: jnp.asarray(SYMMETRIC) @ x, jnp.ones(5), tags=lx.symmetric_tag),
    "diagonal": lx.DiagonalLinearOperator(jnp.arange(5.0)),
    "identity": lx.IdentityLinearOperator(jax.ShapeDtypeStruct((5,), jnp.float64)),
    "tagged": lx.TaggedLinearOperator(_matrix(SYMMETRIC), lx.symmetric_tag),
    "weighted": _weighted(),
    "weighted transposed": _weighted().T,
    "weighted negated": -_weighted(),
    "weighted scaled": 2.0 * _weighted() / 3.0,
    "sum of one weight": _weighted() + _weighted(SYMMETRIC @ SYMMETRIC),
    "sum with a diagonal": lx.DiagonalLinearOperator(jnp.ones(5)) + _weighted(),
    "product of diagonals": lx.DiagonalLinearOperator(jnp.ones(5)) @ lx.DiagonalLinearOperator(jnp.arange(5.0)),
    "polynomial": _polynomial(_weighted()),
    "tagged ours": lx.TaggedLinearOperator(_weighted(), lx.negative_semidefinite_tag),
}

NOT_SELF_ADJOINT = {
    "matrix": _matrix(SYMMETRIC),  # symmetric numbers, but nobody said so
    "matrix complex symmetric": _matrix(SYMMETRIC + 1j * SYMMETRIC, lx.symmetric_tag),
    "diagonal complex": lx.DiagonalLinearOperator(jnp.asarray(1j * np.arange(5.0))),
    "imaginary multiple": _matrix(HERMITIAN, self_adjoint_tag) * jnp.asarray(1j),
    "sum of two weights": _weighted() + _weighted(told=M + 1.0),
    "sum weighted and Euclidean": _weighted() + _matrix(SYMMETRIC, lx.symmetric_tag),
    "sum with a general one": _matrix(SYMMETRIC, lx.symmetric_tag) + _matrix(A),
    "product": _weighted() @ _weighted(),
    "tridiagonal": lx.TridiagonalLinearOperator(jnp.ones(5), jnp.ones(4), jnp.ones(4)),
    "tagged in another weight": lx.TaggedLinearOperator(_weighted(tag=()), lx.symmetric_tag),
    "polynomial of a skew one": _polynomial(_weighted(SKEW, tag=skew_adjoint_tag)),
    "skew": _weighted(SKEW, tag=skew_adjoint_tag),
}


@pytest.mark.parametrize("operator", SELF_ADJOINT.values(), ids=SELF_ADJOINT)
def test_known_self_adjoint(operator):
    assert is_self_adjoint(operator) is True
    assert not is_skew_adjoint(operator)
    told = weight(operator)
    product = (1.0 if told is None else np.asarray(told)[:, None]) * operator.as_matrix()
    np.testing.assert_allclose(product, product.conj().T, atol=1e-12)


@pytest.mark.parametrize("operator", NOT_SELF_ADJOINT.values(), ids=NOT_SELF_ADJOINT)
def test_not_known_self_adjoint(operator):
    assert is_self_adjoint(operator) is False


def test_skew_adjoint():
    skew = _weighted(SKEW, tag=skew_adjoint_tag)
    for operator in (skew, -skew, 2.0 * skew, skew + skew, skew.T, _matrix(SKEW, skew_adjoint_tag)):
        assert is_skew_adjoint(operator)
        told = weight(operator)
        product = (1.0 if told is None else np.asarray(told)[:, None]) * operator.as_matrix()
        np.testing.assert_allclose(product, -product.T, atol=1e-12)
    for operator in (skew + _weighted(), skew @ skew, _matrix(SKEW), skew + lx.DiagonalLinearOperator(jnp.ones(5))):
        assert not is_skew_adjoint(operator)
    assert is_skew_adjoint(lx.TaggedLinearOperator(_matrix(SKEW), skew_adjoint_tag))
    assert not is_skew_adjoint(lx.TaggedLinearOperator(_weighted(SKEW, tag=()), skew_adjoint_tag))


def test_lineax_symmetry_is_euclidean_and_real():
    euclidean = SparseOperator.from_coo([0, 1], [1, 0], [1.0, 1.0], (2, 2), tags=self_adjoint_tag)
    assert lx.is_symmetric(euclidean)
    assert not lx.is_symmetric(Laplacian(Grid(4, 0.0, 1.0)))
    assert not lx.is_symmetric(annotate(_matrix(HERMITIAN), tags=self_adjoint_tag))


def test_lineax_solves_with_our_operators():
    operator = -Laplacian(Grid(6, 0.0, 1.0), Dirichlet())
    rhs = jnp.ones(6)
    solution = lx.linear_solve(operator, rhs, lx.Tridiagonal()).value
    np.testing.assert_allclose(operator.mv(solution), rhs, rtol=1e-10)
    symmetric = SparseOperator.from_coo([0, 0, 1, 1], [0, 1, 0, 1], [2.0, 1.0, 1.0, 3.0], (2, 2))
    tagged = annotate(symmetric, tags=[self_adjoint_tag, lx.positive_semidefinite_tag])
    solution = lx.linear_solve(tagged, jnp.ones(2), lx.CG(1e-10, 1e-10)).value
    np.testing.assert_allclose(solution, np.linalg.solve([[2.0, 1.0], [1.0, 3.0]], np.ones(2)))


def test_concrete_weights_agree_under_jit():
    grid = Grid((4, 4), (0.0, 0.0), (1.0, 1.0))
    answers = []

    @jax.jit
    def trace(scale):
        total = Laplacian(grid) + scale * Laplacian(grid, Dirichlet())
        answers.append((is_self_adjoint(total), isinstance(weight(total), np.ndarray)))
        return total.mv(jnp.ones((4, 4)))

    trace(2.0)
    assert answers == [(True, True)]


BOUNDED = {
    "matrix": _matrix(A),
    "diagonal": lx.DiagonalLinearOperator(jnp.asarray([1.0, -7.0, 2.0, 0.0, 3.0])),
    "tridiagonal": lx.TridiagonalLinearOperator(jnp.asarray(A[0]), jnp.asarray(A[1, :4]), jnp.asarray(A[2, :4])),
    "pytree": lx.PyTreeLinearOperator(jnp.asarray(A), jax.ShapeDtypeStruct((5,), jnp.float64)),
    "scaled": -3.0 * _matrix(A) / 2.0,
    "sum": _matrix(A) + _matrix(SYMMETRIC, lx.symmetric_tag),
    "nilpotents": _matrix(np.triu(A, 1)) + _matrix(np.tril(A, -1)),  # radii 0 and 0, the sum's is not
    "row and column": _matrix(np.outer(np.ones(5), [1, 0, 0, 0, 0])) + _matrix(np.outer([1, 0, 0, 0, 0], np.ones(5))),
    "product": _matrix(A) @ _matrix(SYMMETRIC),
    "diagonal sum": _weighted(SYMMETRIC) + lx.DiagonalLinearOperator(jnp.full(5, -9.0)),
    "identity": lx.IdentityLinearOperator(jax.ShapeDtypeStruct((5,), jnp.float64)),
    "complex": _matrix(HERMITIAN) * jnp.asarray(2j),
}


@pytest.mark.parametrize("operator", BOUNDED.values(), ids=BOUNDED)
def test_bounds_are_never_too_small(operator):
    bound = spectral_bound(operator)
    matrix = np.asarray(operator.as_matrix())
    radius = np.abs(np.linalg.eigvals(matrix)).max()
    assert radius * (1 - 1e-12) <= bound <= 20 * np.linalg.norm(matrix, 2)
    assert spectral_bound(operator.T) == pytest.approx(float(bound))


def test_unknown_bounds_are_none():
    function = _function(SYMMETRIC)
    jacobian = lx.JacobianLinearOperator(lambda x, _: x**2, jnp.ones(5))
    for operator in (function, jacobian, 2.0 * function, function + _matrix(A), function @ _matrix(A)):
        assert spectral_bound(operator) is None
    # Bounds of norms in different inner products do not add.
    assert spectral_bound(_weighted() + _matrix(SYMMETRIC, lx.symmetric_tag)) is None


# ---- annotate


def test_annotate_tells_and_keeps():
    inner = _function(SYMMETRIC / M[:, None])
    operator = annotate(inner, tags=self_adjoint_tag, weight=M, spectral_bound=30)
    assert is_self_adjoint(operator)
    np.testing.assert_array_equal(operator.weight, M)
    assert operator.spectral_bound == 30.0
    assert operator.spectral_bound.dtype == jnp.float64
    np.testing.assert_allclose(operator.T.weight, 1.0 / M)
    more = annotate(operator, spectral_bound=20.0)  # weight and tags stay
    assert is_self_adjoint(more)
    assert more.spectral_bound == 20.0
    assert not is_self_adjoint(annotate(operator, weight=M + 1.0))  # told in another weight, not told again


def test_annotate_linearises_what_is_inside():
    jacobian = lx.JacobianLinearOperator(lambda x, _: jnp.asarray(SYMMETRIC) @ x, jnp.ones(5))
    operator = lx.linearise(annotate(jacobian, tags=self_adjoint_tag))
    assert is_self_adjoint(operator)
    assert isinstance(operator.operator, lx.FunctionLinearOperator)


def test_annotated_weight_and_bound_may_be_traced():
    @eqx.filter_jit
    def bound(told, size):
        return spectral_bound(2.0 * annotate(_matrix(SYMMETRIC), weight=told, spectral_bound=size))

    assert bound(jnp.asarray(M), jnp.asarray(4.0)) == 8.0


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: annotate(np.eye(3)), TypeError, "lineax linear operator, got ndarray"),
        (lambda: annotate(_matrix(A), tags="symmetric"), ValueError, "unknown tag"),
        (lambda: annotate(_matrix(A[:3]), tags=self_adjoint_tag), ValueError, "square"),
        (lambda: annotate(_matrix(A), weight=np.ones(4)), ValueError, r"real of shape \(5,\)"),
        (lambda: annotate(_matrix(A), weight=(np.ones(5),)), ValueError, "pytree like the operator's input"),
        (lambda: annotate(_matrix(A), weight=-np.ones(5)), ValueError, "must be positive, its smallest entry is -1"),
        (lambda: annotate(_matrix(A), spectral_bound=-1.0), ValueError, "not be negative, got -1.0"),
        (lambda: annotate(_matrix(A), spectral_bound=np.ones(2)), ValueError, "one real number"),
    ],
)
def test_bad_annotations_are_told(make, error, message):
    with pytest.raises(error, match=message):
        make()
