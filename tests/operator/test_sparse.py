"""The sparse operator: makers, order of the values, duplicates, derivatives, cost."""

import itertools

import equinox as eqx
import jax
import jax.experimental.sparse as jsparse
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings, strategies as st

from krylovpde.operator import SparseOperator, is_self_adjoint, self_adjoint_tag
from krylovpde.operator._pattern import Diagonals
from tests.helpers import variants

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("layout", ["csr", "csc", "coo", "lil", "dia"])
def test_from_scipy_keeps_the_csr_order(layout):
    matrix = sp.random(6, 4, 0.5, random_state=1).asformat(layout)
    operator = SparseOperator.from_scipy(matrix)
    np.testing.assert_array_equal(operator.values, matrix.tocsr().data)
    x = RNG.normal(size=4)
    np.testing.assert_allclose(operator.mv(jnp.asarray(x)), matrix @ x, rtol=1e-13)


def test_from_coo_keeps_the_order_and_adds_duplicates():
    operator = SparseOperator.from_coo([1, 0, 1, 1], [0, 2, 0, 1], [1.0, 2.0, 3.0, 4.0], (2, 3))
    np.testing.assert_array_equal(operator.values, [1.0, 2.0, 3.0, 4.0])
    np.testing.assert_array_equal(operator.as_matrix(), [[0, 0, 2], [4, 4, 0]])
    np.testing.assert_array_equal(operator.mv(jnp.asarray([1.0, 10.0, 100.0])), [200.0, 44.0])
    np.testing.assert_array_equal(operator.T.mv(jnp.asarray([1.0, 10.0])), [40.0, 40.0, 2.0])


def test_from_bcoo_keeps_the_order_and_ignores_padding():
    dense = np.where(RNG.random((5, 3)) < 0.5, RNG.normal(size=(5, 3)), 0.0)
    matrix = jsparse.BCOO.fromdense(jnp.asarray(dense), nse=12)  # more slots than entries
    operator = SparseOperator.from_bcoo(matrix)
    assert operator.values.shape == (12,)
    np.testing.assert_allclose(operator.mv(jnp.arange(3.0)), dense @ np.arange(3.0), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(operator.T.mv(jnp.arange(5.0)), dense.T @ np.arange(5.0), rtol=1e-13, atol=1e-15)
    assert np.isfinite(operator.spectral_bound)


def test_integers_and_complex_numbers():
    assert SparseOperator.from_coo([0], [0], [2], (1, 1)).values.dtype == jnp.float64
    operator = SparseOperator.from_coo([0, 1], [1, 0], [1j, -1j], (2, 2), tags=self_adjoint_tag)
    assert is_self_adjoint(operator)  # Hermitian
    np.testing.assert_array_equal(operator.mv(jnp.asarray([1.0, 2.0])), [2j, -1j])  # a real state becomes complex
    np.testing.assert_array_equal(operator.T.as_matrix(), [[0, -1j], [1j, 0]])  # plain, not conjugated


@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (1, 1)])
def test_empty_matrices(shape):
    operator = SparseOperator.from_scipy(sp.csr_matrix(shape))
    np.testing.assert_array_equal(operator.mv(jnp.ones(shape[1])), np.zeros(shape[0]))
    assert operator.spectral_bound == 0.0


def _matrix(name):
    """One for each form of the product, told by the number of groups of rows."""
    if name == "diagonals":  # of a periodic grid
        numbers = RNG.normal(size=(20, 3))
        shifted = [sp.csr_matrix(np.roll(np.diag(numbers[:, k]), k - 1, axis=1)) for k in range(3)]
        return sum(shifted), None
    if name == "rows":
        return sp.random(12, 12, 0.2, random_state=3), 1
    if name == "scan":  # rows longer than the unrolled form
        return sp.random(50, 70, 0.3, random_state=4), 1
    if name == "groups":  # many short rows and some of twenty
        counts = np.where(RNG.random(3000) < 0.1, 20, 2)
        rows = np.repeat(np.arange(3000), counts)
        return sp.coo_matrix((RNG.normal(size=rows.size), (rows, RNG.integers(3000, size=rows.size)))), 2
    matrix = sp.lil_matrix((40, 40))
    matrix[0, :], matrix[:, 5] = 1.0, -2.0
    matrix.setdiag(3.0)
    return matrix, 1


FORMS = ["diagonals", "rows", "scan", "groups", "segments"]


@pytest.mark.parametrize("name", FORMS)
def test_derivatives_in_values_and_vector(name):
    matrix, groups = _matrix(name)
    operator = SparseOperator.from_scipy(matrix)
    assert isinstance(operator.forward, Diagonals) == (groups is None)
    assert groups is None or len(operator.forward.groups) == groups
    assert operator.segment_entries == ((40, 40) if name == "segments" else (0, 0))
    csr = sp.csr_matrix(matrix)
    rows = np.repeat(np.arange(csr.shape[0]), np.diff(csr.indptr))
    x, y = RNG.normal(size=csr.shape[1]), RNG.normal(size=csr.shape[0])

    @jax.jit
    def product(op, x):
        return jnp.vdot(jnp.asarray(y), op.mv(x))

    np.testing.assert_allclose(product(operator, jnp.asarray(x)), y @ (csr @ x), rtol=1e-12)
    by_operator, by_vector = jax.jit(jax.grad(product, argnums=(0, 1), allow_int=True))(operator, jnp.asarray(x))
    np.testing.assert_allclose(by_operator.values, y[rows] * x[csr.indices], rtol=1e-12)  # in the caller's order
    np.testing.assert_allclose(by_vector, csr.T @ y, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(operator.T.mv(jnp.asarray(y)), csr.T @ y, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("dtype", "name"),
    variants(
        itertools.product(["float32", "complex128"], FORMS),
        quick=list(zip(["float32", "complex128", "complex128", "float32", "float32"], FORMS, strict=True)),
    ),
)
def test_forms_in_every_mode_and_dtype(name, dtype):
    """Tangents, batches, `jax.linear_transpose` and second derivatives, against the dense matrix."""
    matrix = sp.csr_matrix(_matrix(name)[0])
    matrix = (matrix + 1j * matrix if dtype == "complex128" else matrix).astype(dtype)
    operator, dense = SparseOperator.from_scipy(matrix), matrix.toarray()
    x = jnp.asarray(RNG.normal(size=(2, matrix.shape[1])), dtype)
    change = jnp.asarray(RNG.normal(size=matrix.nnz), dtype)
    turned = sp.csr_matrix((np.asarray(change), matrix.indices, matrix.indptr), matrix.shape).toarray()

    def moved(s, x):
        return eqx.tree_at(lambda op: op.values, operator, operator.values + s * change).mv(x)

    @jax.jit
    def results(x):
        zero = jnp.zeros((), dtype)
        value, tangent = jax.jvp(moved, (zero, x[0]), (jnp.ones((), dtype), x[1]))
        slope = jax.grad(lambda s: jnp.sum(jnp.abs(moved(s.astype(dtype), x[0])) ** 2))
        curvature = jax.grad(slope)(jnp.real(zero))
        (transposed,) = jax.linear_transpose(operator.mv, x[0])(value)
        return jax.vmap(operator.mv)(x), value, tangent, curvature, transposed

    first, second = np.asarray(x)
    image, both = dense @ first, dense @ second + turned @ first
    curvature = 2 * np.sum(np.abs(turned @ first) ** 2)
    expected = (np.stack([image, dense @ second]), image, both, curvature, dense.T @ image)
    for result, known in zip(results(x), expected, strict=True):
        scale = np.max(np.abs(known))
        np.testing.assert_allclose(np.asarray(result) / scale, known / scale, rtol=0, atol=50 * np.finfo(dtype).eps)


def test_what_is_not_finite_stays_in_its_rows():
    """Padding of short rows must not read a number of another row."""
    rows, columns = [0, 0, 1, 2, 2, 2, 3], [0, 3, 1, 0, 2, 4, 4]
    operator = SparseOperator.from_coo(rows, columns, np.ones(7), (5, 5))
    image = operator.mv(jnp.asarray([np.inf, 1.0, 1.0, 1.0, 1.0]))
    np.testing.assert_array_equal(np.isfinite(image), [False, True, False, True, True])


def test_a_matrix_that_is_mostly_long_rows_is_told():
    dense_rows = sp.vstack([sp.csr_matrix(np.ones((5, 5000))), sp.csr_matrix(sp.identity(5000))[5:]])
    with pytest.warns(UserWarning, match="25000 of 29995 entries are in rows or columns"):
        operator = SparseOperator.from_scipy(dense_rows)
    assert operator.segment_entries == (25000, 0)
    x = RNG.normal(size=5000)
    np.testing.assert_allclose(operator.mv(jnp.asarray(x)), dense_rows @ x, rtol=1e-11, atol=1e-11)


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 20), st.integers(0, 2**16))
def test_any_pattern(num_rows, num_columns, count, seed):
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(num_rows, size=count), rng.integers(num_columns, size=count)
    values, x = rng.normal(size=count), rng.normal(size=num_columns)
    operator = SparseOperator.from_coo(rows, columns, values, (num_rows, num_columns))
    dense = np.zeros((num_rows, num_columns))
    np.add.at(dense, (rows, columns), values)
    with jax.disable_jit():  # every example has new shapes: nothing to gain from compiling
        np.testing.assert_allclose(operator.mv(jnp.asarray(x)), dense @ x, rtol=1e-11, atol=1e-12)
    bound = float(operator.spectral_bound)
    assert bound >= np.linalg.norm(dense, 2) * (1 - 1e-12)


def test_patterns_are_arguments_and_new_values_do_not_recompile():
    matrix = sp.random(30, 30, 0.1, random_state=0, format="csr")
    traces = []

    @jax.jit
    def apply(op, x):
        traces.append(1)
        return op.mv(x)

    for factor in (1.0, 2.0):
        operator = SparseOperator.from_scipy(factor * matrix)
        np.testing.assert_allclose(apply(operator, jnp.ones(30)), factor * matrix @ np.ones(30))
    assert len(traces) == 1


def test_values_may_be_traced_when_made():
    matrix = sp.random(8, 8, 0.3, random_state=0, format="coo")

    @jax.grad
    def gradient(values):
        return jnp.sum(SparseOperator.from_coo(matrix.row, matrix.col, values, (8, 8)).mv(jnp.arange(8.0)))

    np.testing.assert_allclose(gradient(jnp.asarray(matrix.data)), matrix.col)


def test_cost_grows_with_the_entries_not_with_the_matrix():
    n = 4000
    matrix = sp.diags([np.ones(n - 1), -2 * np.ones(n), np.ones(n - 1)], [-1, 0, 1], format="csr")
    operator = SparseOperator.from_scipy(matrix)

    def loss(op, x):
        return jnp.sum(op.mv(x) ** 2 + op.T.mv(x))

    for function in (loss, jax.grad(loss, allow_int=True)):
        analysis = jax.jit(function).lower(operator, jnp.ones(n)).compile().memory_analysis()
        assert analysis is not None
        assert analysis.temp_size_in_bytes < 40 * n * 8
        assert analysis.generated_code_size_in_bytes < 10 * n * 8  # the pattern is no constant of the program


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SparseOperator.from_scipy(np.eye(3)), TypeError, "SciPy sparse matrix, got ndarray"),
        (lambda: SparseOperator.from_coo([0], [3], [1.0], (2, 2)), ValueError, "columns contains 3, outside"),
        (lambda: SparseOperator.from_coo([-1], [0], [1.0], (2, 2)), ValueError, "rows contains -1"),
        (lambda: SparseOperator.from_coo([0, 1], [0], [1.0], (2, 2)), ValueError, "lists of one length"),
        (lambda: SparseOperator.from_coo([0.5], [0], [1.0], (2, 2)), ValueError, "must be integers"),
        (lambda: SparseOperator.from_coo([0], [0], [1.0], (2, 3), tags=self_adjoint_tag), ValueError, "square"),
        (lambda: SparseOperator.from_coo([0], [0], [1.0], (2, 2), tags="x"), ValueError, "knows kp.self_adjoint_tag"),
        (
            lambda: jax.jit(lambda i: SparseOperator.from_coo(i, i, i, (2, 2)).values)(jnp.arange(2)),
            TypeError,
            "indices are traced",
        ),
        (lambda: SparseOperator.from_coo([0], [0], [1.0], (2, 2)).mv(jnp.ones(3)), ValueError, r"shape \(2,\), got"),
        (
            lambda: SparseOperator.from_bcoo(jsparse.BCOO.fromdense(jnp.ones((2, 2, 2)), n_batch=1)),
            ValueError,
            "without batch",
        ),
    ],
)
def test_bad_input_is_told(make, error, message):
    with pytest.raises(error, match=message):
        make()
