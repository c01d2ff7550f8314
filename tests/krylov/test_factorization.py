"""`arnoldi` and `lanczos`: what they promise of their values, on every kind of operator and vector."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
import scipy.linalg

from krylovpde.krylov import arnoldi, lanczos
from krylovpde.krylov._unrolled import unrolled_arnoldi, unrolled_lanczos
from krylovpde.operator import AbstractOperator, annotate, self_adjoint_tag
from tests.helpers import relative_error, rounding, variants

from .problems import DTYPES, PROBLEMS, SHAPE, random_arguments, self_adjoint, times

every_dtype = pytest.mark.parametrize("dtype", list(DTYPES.values()), ids=list(DTYPES))
weighted_or_not = pytest.mark.parametrize("weighted", [False, True], ids=["euclidean", "weighted"])


def general(matrix, vector, weight):
    operator = lx.FunctionLinearOperator(lambda x: times(matrix, x), jax.eval_shape(lambda: vector))
    return annotate(operator, weight=weight)


def adjoint_to_itself(matrix, vector, weight):
    structure = jax.eval_shape(lambda: vector)
    operator = lx.FunctionLinearOperator(lambda x: self_adjoint(matrix, weight, x), structure)
    return annotate(operator, tags=self_adjoint_tag, weight=weight)


def columns(basis):
    """Q as a NumPy matrix."""
    return np.asarray(basis).reshape(basis.shape[0], -1).T


def tridiagonal(factors):
    off = np.asarray(factors.offdiagonal)
    return np.diag(np.asarray(factors.diagonal)) + np.diag(off, 1) + np.diag(off, -1)


def check_constraints(dense, factors, small, vector, weight, accuracy):
    """The four equations that define a factorization, in NumPy."""
    q, r, v = columns(factors.basis), np.asarray(factors.residual).ravel(), np.asarray(vector).ravel()
    mass = np.diag(np.ones(v.size) if weight is None else np.asarray(weight, np.float64).ravel())
    m = q.shape[1]
    scale = np.linalg.norm(dense, 2) * np.sqrt(np.max(mass) / np.min(np.diag(mass)))
    last = np.eye(m)[-1]
    np.testing.assert_allclose(dense @ q - q @ small - np.outer(r, last), 0.0, atol=accuracy * scale)
    np.testing.assert_allclose(q.conj().T @ mass @ q, np.eye(m), atol=accuracy)
    np.testing.assert_allclose(q.conj().T @ mass @ r, 0.0, atol=accuracy * scale)
    np.testing.assert_allclose(q[:, 0] * float(factors.norm), v, atol=accuracy * np.linalg.norm(v))
    np.testing.assert_allclose(float(factors.norm), np.sqrt((v.conj() @ mass @ v).real), rtol=accuracy)


@every_dtype
@weighted_or_not
def test_arnoldi_constraints(dtype, weighted):
    matrix, vector, weight = random_arguments(dtype, weighted=weighted)
    factors = arnoldi(general(matrix, vector, weight), vector, 4)
    small = np.asarray(factors.matrix)
    check_constraints(np.asarray(matrix), factors, small, vector, weight, rounding(np.float64))
    assert np.all(np.tril(small, -2) == 0.0)
    subdiagonal = np.diagonal(small, -1)
    assert np.all(subdiagonal.imag == 0.0)
    assert np.all(subdiagonal.real > 0.0)


@every_dtype
@weighted_or_not
@pytest.mark.parametrize("reorthogonalise", [True, False])
def test_lanczos_constraints(dtype, weighted, reorthogonalise):
    matrix, vector, weight = random_arguments(dtype, weighted=weighted)
    operator = adjoint_to_itself(matrix, vector, weight)
    factors = lanczos(operator, vector, 4, reorthogonalise=reorthogonalise)
    dense = np.asarray(matrix + matrix.conj().T) / 2
    dense = dense if weight is None else dense / np.asarray(weight).reshape(-1, 1)
    check_constraints(dense, factors, tridiagonal(factors), vector, weight, rounding(np.float64, 10))
    assert np.asarray(factors.diagonal).dtype == np.float64
    assert np.all(np.asarray(factors.offdiagonal) > 0.0)


def test_single_precision_beside_double_stays_single():
    matrix, vector, weight = random_arguments(np.float32, weighted=True)
    for operator in (general(matrix, vector, weight), lx.MatrixLinearOperator(matrix.astype(np.float64))):
        flat = vector if operator.in_structure().shape == SHAPE else vector.reshape(-1)
        factors = arnoldi(operator, flat, 4)
        assert {leaf.dtype for leaf in jax.tree.leaves(factors)} == {np.dtype(np.float32)}
    factors = arnoldi(general(matrix, vector, weight), vector, 4)
    check_constraints(np.asarray(matrix), factors, np.asarray(factors.matrix), vector, weight, rounding(np.float32))


@every_dtype
def test_values_and_types_meet_as_promised(dtype):
    """A complex vector with a real operator, a real one with a complex operator, and integers."""
    matrix, _, _ = random_arguments(dtype, weighted=False)
    other = np.complex128 if dtype == np.float64 else np.float64
    _, vector, _ = random_arguments(other, weighted=False)
    factors = arnoldi(lx.MatrixLinearOperator(matrix), vector.reshape(-1), 3)
    assert factors.basis.dtype == np.complex128
    assert factors.norm.dtype == np.float64
    check_constraints(np.asarray(matrix), factors, np.asarray(factors.matrix), vector, None, rounding(np.float64))
    whole = arnoldi(lx.MatrixLinearOperator(matrix), np.arange(6), 3)
    assert whole.basis.dtype == dtype
    check_constraints(np.asarray(matrix), whole, np.asarray(whole.matrix), np.arange(6.0), None, rounding(np.float64))


def test_a_state_of_several_fields(key):
    """The factorization of a tree of fields is that of the fields laid end to end."""
    keys = jax.random.split(key, 3)
    vector = {"a": jax.random.normal(keys[0], (3, 2)), "b": jax.random.normal(keys[1], (4,))}
    weight = {"a": jnp.full((3, 2), 2.0), "b": jnp.arange(1.0, 5.0)}
    matrix = jax.random.normal(keys[2], (10, 10))
    flatten, unflatten = jax.flatten_util.ravel_pytree(vector)

    def apply(x):
        return unflatten(matrix @ jax.flatten_util.ravel_pytree(x)[0])

    operator = annotate(lx.FunctionLinearOperator(apply, jax.eval_shape(lambda: vector)), weight=weight)
    factors = arnoldi(operator, vector, 5)
    flat_weight, _ = jax.flatten_util.ravel_pytree(weight)
    reference = arnoldi(annotate(lx.MatrixLinearOperator(matrix), weight=flat_weight), flatten, 5)
    assert relative_error(factors.matrix, reference.matrix) < rounding(np.float64)
    assert factors.basis["a"].shape == (5, 3, 2)
    rows = jax.vmap(lambda x: jax.flatten_util.ravel_pytree(x)[0])(factors.basis)
    assert relative_error(rows, reference.basis) < rounding(np.float64)


# ---- where the Krylov space ends early

KINDS = ["arnoldi", "lanczos", "lanczos, three terms"]
every_kind = pytest.mark.parametrize("kind", KINDS)
# Arnoldi has the orthogonalisation and the three terms the recurrence; Lanczos has both.
two_kinds = pytest.mark.parametrize("kind", variants(KINDS, slow=["lanczos"]))


def ended(kind, matrix, vector, num_steps):
    """Basis and small matrix of a symmetric matrix, and the gradient of `g·Q f(H) e_1 norm` for `f(H) = H² + H`."""
    cotangent = jnp.arange(1.0, vector.size + 1.0)

    def factors(matrix, vector):
        operator = lx.MatrixLinearOperator(matrix, lx.symmetric_tag)
        if kind == "arnoldi":
            result = arnoldi(operator, vector, num_steps)
            return result, result.matrix
        result = lanczos(operator, vector, num_steps, reorthogonalise="three" not in kind)
        off = result.offdiagonal
        return result, jnp.diag(result.diagonal) + jnp.diag(off, 1) + jnp.diag(off, -1)

    def loss(matrix, vector):
        result, small = factors(matrix, vector)
        first = jnp.zeros(num_steps).at[0].set(result.norm)
        return jnp.sum(cotangent * ((small @ (small @ first) + small @ first) @ result.basis))

    gradients = jax.jit(jax.grad(loss, argnums=(0, 1)))(matrix, vector)
    result, small = factors(matrix, vector)
    everything = jax.tree.leaves((result, gradients))
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in everything)
    return result, np.asarray(small), gradients


def exact_gradients(matrix, vector):
    """Those of `g·(A² + A) v` itself."""
    cotangent = jnp.arange(1.0, vector.size + 1.0)

    def loss(matrix, vector):
        return jnp.sum(cotangent * (matrix @ (matrix @ vector) + matrix @ vector))

    return jax.grad(loss, argnums=(0, 1))(matrix, vector)


@two_kinds
def test_zero_vector(kind):
    matrix = jnp.diag(jnp.arange(1.0, 5.0)) + 0.1
    result, small, gradients = ended(kind, matrix, jnp.zeros(4), 3)
    assert all(float(jnp.max(jnp.abs(leaf))) == 0.0 for leaf in jax.tree.leaves((result, gradients)))
    assert np.all(small == 0.0)


@every_kind
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_eigenvector_at_any_scale(kind, scale):
    # A breakdown is judged beside the operator's own size: scaling it changes nothing.
    matrix = scale * (jnp.eye(5) * 3.0 + jnp.diag(jnp.full(4, 1.0), 1) + jnp.diag(jnp.full(4, 1.0), -1))
    values, vectors = np.linalg.eigh(np.asarray(matrix))
    result, small, _ = ended(kind, matrix, 2.0 * jnp.asarray(vectors[:, 1]), 3)
    np.testing.assert_allclose(small, np.diag([values[1], 0.0, 0.0]), atol=1e-13 * scale)
    assert float(jnp.max(jnp.abs(result.basis[1:]))) == 0.0
    assert float(jnp.max(jnp.abs(result.residual))) == 0.0
    np.testing.assert_allclose(float(result.norm), 2.0, rtol=1e-14)


@every_kind
def test_zero_operator(kind):
    vector = jnp.arange(1.0, 5.0)
    result, small, gradients = ended(kind, jnp.zeros((4, 4)), vector, 3)
    assert np.all(small == 0.0)
    assert float(jnp.max(jnp.abs(result.residual))) == 0.0
    assert relative_error(result.basis[0] * result.norm, vector) < rounding(np.float64)
    # d(A² + A) v = dA v at A = 0: the space of one vector holds its symmetric part on that vector, which is not all of
    # it. Finite is what can be asked of a factorization that is not smooth here.
    assert float(jnp.max(jnp.abs(gradients[1]))) == 0.0


@every_kind
def test_one_unknown(kind):
    matrix, vector = jnp.asarray([[2.0]]), jnp.asarray([-3.0])
    result, small, gradients = ended(kind, matrix, vector, 3)
    np.testing.assert_array_equal(small, np.diag([2.0, 0.0, 0.0]))
    np.testing.assert_array_equal(np.asarray(result.basis), [[-1.0], [0.0], [0.0]])
    assert relative_error(gradients, exact_gradients(matrix, vector)) < rounding(np.float64)


@two_kinds
def test_more_steps_than_unknowns(kind, key):
    # Once the space is all of it, the function of the small matrix is that of the matrix; so is the gradient (for
    # Lanczos: of its symmetric part).
    keys = jax.random.split(key)
    matrix = jax.random.normal(keys[0], (4, 4))
    matrix = matrix + matrix.T
    vector = jax.random.normal(keys[1], (4,))
    result, _, gradients = ended(kind, matrix, vector, 7 if "three" not in kind else 4)
    rank = np.linalg.norm(columns(result.basis), axis=0)
    np.testing.assert_allclose(rank, np.arange(rank.size) < 4, atol=1e-12)
    exact = exact_gradients(matrix, vector)
    assert relative_error(gradients[0] + gradients[0].T, exact[0] + exact[0].T) < rounding(np.float64, 100)
    assert relative_error(gradients[1], exact[1]) < rounding(np.float64, 100)


@every_kind
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_neither_a_tiny_vector_nor_a_tiny_operator_is_zero_in_single_precision(kind, scale):
    # The squares of all of these are below the smallest, or above the largest, float32.
    matrix = np.asarray([[1.0, 2.0], [2.0, 4.0]], np.float32)
    operator = lx.MatrixLinearOperator(jnp.asarray(scale * matrix), lx.symmetric_tag)
    vector = jnp.asarray([3.0, 4.0], jnp.float32) / scale
    if kind == "arnoldi":
        factors = arnoldi(operator, vector, 2)
        small = np.asarray(factors.matrix)
    else:
        factors = lanczos(operator, vector, 2, reorthogonalise="three" not in kind)
        small = tridiagonal(factors)
    np.testing.assert_allclose(float(factors.norm) * scale, 5.0, rtol=1e-6)
    # v = (3, 4) / 5, A v = (2.2, 4.4): H_11 = 4.84, and H is similar to A, of trace 5 and determinant 0.
    np.testing.assert_allclose(small / scale, [[4.84, 0.88], [0.88, 0.16]], atol=2e-6)
    np.testing.assert_allclose(columns(factors.basis), [[0.6, -0.8], [0.8, 0.6]], atol=2e-6)


def test_nan_is_not_taken_for_a_breakdown():
    matrix = jnp.asarray([[1.0, jnp.nan], [0.0, 1.0]])
    assert bool(jnp.isnan(arnoldi(lx.MatrixLinearOperator(matrix), jnp.ones(2), 2).matrix).any())
    assert bool(jnp.isnan(arnoldi(lx.MatrixLinearOperator(jnp.eye(2)), jnp.asarray([jnp.nan, 1.0]), 2).norm))


# ---- orthogonality, and the peers


def test_orthogonality_is_lost_without_and_kept_with_reorthogonalisation():
    """A spectrum with outliers: their Ritz values converge, and copies of them appear."""
    eigenvalues = np.concatenate([np.linspace(0.0, 1.0, 56), [10.0, 20.0, 40.0, 80.0]])
    operator = annotate(lx.DiagonalLinearOperator(jnp.asarray(eigenvalues)), tags=self_adjoint_tag)
    vector = jnp.ones(60)

    def loss_of_orthogonality(factors):
        q = columns(factors.basis)
        return np.max(np.abs(q.T @ q - np.eye(q.shape[1])))

    kept, lost = (lanczos(operator, vector, 40, reorthogonalise=flag) for flag in (True, False))
    assert loss_of_orthogonality(kept) < rounding(np.float64)
    assert loss_of_orthogonality(lost) > 0.1
    # exp(-A) v does not mind: that is why the time steppers leave it out.
    for factors in (kept, lost):
        small = scipy.linalg.expm(-tridiagonal(factors))[:, 0] * float(factors.norm)
        np.testing.assert_allclose(columns(factors.basis) @ small, np.exp(-eigenvalues), atol=1e-12)

    index = np.arange(12.0)
    hilbert = lx.MatrixLinearOperator(jnp.asarray(1.0 / (index[:, None] + index[None, :] + 1.0)))
    kept, lost = (arnoldi(hilbert, jnp.ones(12), 8, reorthogonalise=flag) for flag in (True, False))
    assert loss_of_orthogonality(kept) < rounding(np.float64)
    assert loss_of_orthogonality(lost) > 1e-12


def test_loops_written_naively_agree():
    for name, unrolled in (("arnoldi", unrolled_arnoldi), ("lanczos, three terms", unrolled_lanczos)):
        problem = PROBLEMS[name](np.complex128, weighted=True, num_steps=5)
        assert unrolled is not None
        values = problem.routine(*problem.arguments), problem.unrolled(*problem.arguments)
        assert relative_error(*values) < rounding(np.float64, 100)


@pytest.mark.standard_promotion
@pytest.mark.parametrize("kind", variants(KINDS, quick=["arnoldi"]))
def test_values_and_gradients_are_those_of_matfree(kind, key):
    """Real, Euclidean, in double precision: where the peer has the same routine. It returns 1 / norm."""
    from matfree import decomp

    keys = jax.random.split(key, 6)
    matrix = jax.random.normal(keys[0], (8, 8))
    vector = jax.random.normal(keys[1], (8,))
    if kind == "arnoldi":
        peer = decomp.hessenberg(5, reortho="full")
    else:
        peer = decomp.tridiag_sym(5, reortho="none" if "three" in kind else "full", materialize=True)

    def theirs(matrix, vector):
        matrix = matrix if kind == "arnoldi" else matrix + matrix.T
        result = peer(lambda x, a: a @ x, vector, matrix)
        return result.Q_tall, result.J_small, result.residual, 1.0 / result.init_length_inv

    def ours(matrix, vector):
        if kind == "arnoldi":
            factors = arnoldi(lx.MatrixLinearOperator(matrix), vector, 5)
            return factors.basis, factors.matrix, factors.residual, factors.norm
        operator = lx.MatrixLinearOperator(matrix + matrix.T, lx.symmetric_tag)
        factors = lanczos(operator, vector, 5, reorthogonalise="three" not in kind)
        off = factors.offdiagonal
        small = jnp.diag(factors.diagonal) + jnp.diag(off, 1) + jnp.diag(off, -1)
        return factors.basis, small, factors.residual, factors.norm

    value = ours(matrix, vector)
    assert relative_error(value, theirs(matrix, vector)) < rounding(np.float64, 100)
    cotangent = [jax.random.normal(k, jnp.shape(leaf)) for k, leaf in zip(keys[2:], value, strict=True)]

    def loss(function):
        def paired(matrix, vector):
            return sum(jnp.sum(c * x) for c, x in zip(cotangent, function(matrix, vector), strict=True))

        return jax.grad(paired, argnums=(0, 1))

    assert relative_error(loss(ours)(matrix, vector), loss(theirs)(matrix, vector)) < rounding(np.float64, 1e3)


# ---- entrances


class Counted(AbstractOperator):
    """Counts how often Python looks at its `mv`: once per compilation."""

    values: jax.Array
    weight = None
    spectral_bound = None
    tags = frozenset([self_adjoint_tag])
    traced = []  # noqa: RUF012

    def mv(self, vector):
        self.traced.append(None)
        return self.values * vector

    def in_structure(self):
        return jax.eval_shape(lambda: self.values)

    def out_structure(self):
        return self.in_structure()


@pytest.mark.parametrize("reorthogonalise", [True, False])
def test_new_numbers_do_not_compile_again(reorthogonalise):
    def call(seed):
        values, vector = jax.random.normal(jax.random.key(seed), (2, 5))
        return lanczos(Counted(values), vector, 3, reorthogonalise=reorthogonalise)

    call(0)
    before = len(Counted.traced)
    first, second = call(1), call(2)
    assert len(Counted.traced) == before
    assert relative_error(first.diagonal, second.diagonal) > 0.1


@pytest.mark.parametrize("name", ["arnoldi", "lanczos, three terms"])
def test_vmap_and_jit_change_nothing(name):
    problem = PROBLEMS[name](np.float64, weighted=True)
    matrix, vector, weight = problem.arguments
    vectors = jnp.stack([vector, 0.0 * vector, vector[::-1]])
    batched = jax.jit(jax.vmap(problem.routine, in_axes=(None, 0, None)))(matrix, vectors, weight)
    singles = [problem.routine(matrix, v, weight) for v in vectors]
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *singles)
    assert relative_error(batched, expected) < rounding(np.float64, 10)


@pytest.mark.bad_input
@pytest.mark.parametrize("function", [arnoldi, lanczos])
def test_bad_input_is_named(function):
    name = function.__name__
    good = lx.MatrixLinearOperator(jnp.eye(3), lx.symmetric_tag)
    with pytest.raises(TypeError, match=rf"`{name}\(operator.*got ndarray.*MatrixLinearOperator"):
        function(np.eye(3), jnp.ones(3), 2)
    with pytest.raises(ValueError, match=rf"`{name}\(operator.*square"):
        function(lx.MatrixLinearOperator(jnp.ones((2, 3))), jnp.ones(3), 2)
    with pytest.raises(ValueError, match=rf"`{name}\(..., vector\)`.*\(4,\)"):
        function(good, jnp.ones(4), 2)
    with pytest.raises(ValueError, match=rf"`{name}\(..., num_steps\)` must be at least 1, got 0"):
        function(good, jnp.ones(3), 0)
    with pytest.raises(TypeError):
        function(good, jnp.ones(3), 2.5)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "operator",
    [
        lx.MatrixLinearOperator(jnp.eye(3)),
        lx.MatrixLinearOperator(jnp.eye(3, dtype=complex), lx.symmetric_tag),  # symmetric is not Hermitian
        annotate(lx.MatrixLinearOperator(jnp.eye(3)), weight=jnp.ones(3)),
    ],
)
def test_lanczos_refuses_what_is_not_told_to_be_self_adjoint(operator):
    with pytest.raises(ValueError, match=r"self-adjoint.*annotate\(operator, tags=krylovpde.self_adjoint_tag\)"):
        lanczos(operator, jnp.ones(3), 2)
