"""Assembled pairs: against dense references, orders 1 and 2, all methods, derivatives, finite elements."""

import diffrax
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.linalg import eigh

import krylovpde as kp
from krylovpde.operator import spectral_interval

RNG = np.random.default_rng(4)
SIZE = 9
# Positive off-diagonal entries as well, as obtuse triangles have them.
EDGES = np.array([(i, j) for i in range(SIZE) for j in range(i) if i - j == 1 or RNG.random() < 0.3])
WEIGHTS = np.where(np.arange(len(EDGES)) % 5 == 4, -0.05, 1.0 + RNG.random(len(EDGES)))
MASS = 0.1 + RNG.random(SIZE)
LOAD = RNG.normal(size=SIZE)
START = jnp.asarray(RNG.normal(size=SIZE))
ROWS = np.concatenate([EDGES[:, 0], EDGES[:, 1], EDGES[:, 0], EDGES[:, 1], [0]])
COLUMNS = np.concatenate([EDGES[:, 1], EDGES[:, 0], EDGES[:, 0], EDGES[:, 1], [0]])
SIGNS = np.concatenate([-np.ones(2 * len(EDGES)), np.ones(2 * len(EDGES)), [1.0]])


def stiffness(weights):
    """A network held at node 0; an entry for each edge and end, which add up."""
    values = jnp.asarray(SIGNS) * jnp.append(jnp.tile(weights, 4), 1.0)
    return kp.SparseOperator.from_coo(ROWS, COLUMNS, values, (SIZE, SIZE))


MATRIX = np.asarray(stiffness(jnp.asarray(WEIGHTS)).as_matrix())
VALUES, VECTORS = eigh(MATRIX, np.diag(MASS))
REST = np.linalg.solve(MATRIX, LOAD)


def function(f, v):
    """`f(M⁻¹K) v`, from the generalised eigenvalues."""
    return VECTORS @ (f(VALUES) * (VECTORS.T @ (MASS * v)))


def decayed(t):
    return REST + function(lambda z: np.exp(-t * z), np.asarray(START) - REST)


KINDS = {
    "sparse": lambda: stiffness(jnp.asarray(WEIGHTS)),
    "scipy": lambda: sp.csr_array(MATRIX),
    "dense": lambda: lx.MatrixLinearOperator(jnp.asarray(MATRIX)),
    "function": lambda: lx.FunctionLinearOperator(lambda v: jnp.asarray(MATRIX) @ v, jax.eval_shape(lambda: START)),
}


@pytest.mark.slow
def test_the_pair_is_what_it_should_be(key):
    assert VALUES[0] > 0
    for name, make in KINDS.items():
        operator = kp.Assembled(make(), MASS).operator()
        assert kp.verify.structure_test(operator, key=key).passed
        assert kp.verify.dot_test(operator, key=key).passed
        interval = spectral_interval(operator)
        if name == "function":
            assert interval is None
            continue
        assert -interval[0] >= VALUES[-1]
        assert interval[1] == 0.0
    # Sweeps take something off the row sums.
    sparse = kp.Assembled(stiffness(jnp.asarray(WEIGHTS)), MASS).operator()
    assert float(sparse.spectral_bound) < 0.97 * (np.abs(MATRIX).sum(1) / MASS).max()
    np.testing.assert_allclose(lx.diagonal(sparse), -np.diagonal(MATRIX) / MASS, rtol=1e-13)


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        pytest.param("scipy", None, marks=pytest.mark.slow),
        ("function", None),
        pytest.param("sparse", kp.Chebyshev(), marks=pytest.mark.slow),
        pytest.param("dense", kp.Chebyshev(), marks=pytest.mark.slow),
        pytest.param("sparse", kp.ShiftInvert(), marks=pytest.mark.slow),
    ],
)
def test_first_order(kind, method):
    equation = kp.Assembled(KINDS[kind](), MASS, source=LOAD)
    solution = kp.solve(equation, START, [0.1, 0.8], method=method, rtol=1e-9)
    assert solution.stats.method == ("Lanczos" if method is None else method.name)
    np.testing.assert_allclose(solution.value, np.stack([decayed(0.1), decayed(0.8)]), atol=1e-8)


@pytest.mark.slow
def test_second_order():
    equation = kp.Assembled(stiffness(jnp.asarray(WEIGHTS)), MASS, source=LOAD, order=2)
    state = kp.WaveState(START, jnp.zeros(SIZE))
    solution = kp.solve(equation, state, 1.3, rtol=1e-9)
    assert solution.stats.method == "Chebyshev"
    away = np.asarray(START) - REST
    np.testing.assert_allclose(
        solution.value.displacement, REST + function(lambda z: np.cos(1.3 * np.sqrt(z)), away), atol=1e-8
    )
    rate = equation.vector_field(0.0, kp.WaveState(START, START + 1.0))
    np.testing.assert_array_equal(rate.displacement, START + 1.0)
    np.testing.assert_allclose(rate.velocity, (LOAD - MATRIX @ np.asarray(START)) / MASS, rtol=1e-12)


@pytest.mark.slow
def test_loads_that_vary_in_time():
    source = [kp.Source(jnp.asarray(LOAD), lambda t: jnp.sin(3.0 * t)), 0.5]
    equation = kp.Assembled(stiffness(jnp.asarray(WEIGHTS)), MASS, source=source)
    assert equation.source is equation.linear.source
    term = diffrax.ODETerm(equation.vector_field)
    with jax.numpy_dtype_promotion("standard"):
        theirs = diffrax.diffeqsolve(term, diffrax.Dopri8(), 0.0, 0.5, 0.01, START).ys[0]
    np.testing.assert_allclose(kp.solve(equation, START, 0.5, rtol=1e-9).value, theirs, atol=1e-7)


def seen(point):
    """Values, mass and load, through a steady state and a march."""
    weights, mass, load = point
    pair = stiffness(weights)
    rest = kp.steady_state(kp.Assembled(pair, mass, source=load), rtol=1e-12)
    final = kp.solve(kp.Assembled(pair, mass, source=2.0 * load), rest, 0.4, rtol=1e-10).value
    return jnp.vdot(jnp.asarray(np.cos(3.0 * np.arange(SIZE))), final)


def reference(point):
    weights, mass, load = point
    matrix = stiffness(weights).as_matrix()
    rest = jnp.linalg.solve(matrix, load)
    decay = jax.scipy.linalg.expm(-0.4 * matrix / mass[:, None])
    return jnp.vdot(jnp.asarray(np.cos(3.0 * np.arange(SIZE))), 2.0 * rest - decay @ rest)


POINT = (jnp.asarray(WEIGHTS), jnp.asarray(MASS), jnp.asarray(LOAD))


def test_gradients():
    """Against a dense reference."""
    value, gradient = jax.jit(jax.value_and_grad(seen))(POINT)
    expected, wanted = jax.jit(jax.value_and_grad(reference))(POINT)
    assert value == pytest.approx(float(expected), rel=1e-8)
    for found, exact in zip(gradient, wanted, strict=True):
        np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_forward_mode(key):
    """In a rough direction."""
    keys = jax.random.split(key, 3)
    direction = tuple(jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, POINT, strict=True))
    tangent, expected = (
        jax.jit(lambda p, d, f=f: jax.jvp(f, (p,), (d,))[1])(POINT, direction) for f in (seen, reference)
    )
    assert tangent == pytest.approx(float(expected), rel=1e-7)


@pytest.mark.slow
def test_single_precision():
    equation = kp.Assembled(sp.csr_array(MATRIX.astype(np.float32)), MASS, source=LOAD)
    solution = kp.solve(equation, START.astype(jnp.float32), 0.8)
    assert solution.value.dtype == jnp.float32
    np.testing.assert_allclose(solution.value, decayed(0.8), atol=3e-4)
    assert equation.operator().spectral_bound.dtype == jnp.float32


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: kp.Assembled(sp.eye(3).tocsr(), sp.csr_array(np.ones((3, 3)))), ValueError, "consistent.*Lump it"),
        (lambda: kp.Assembled(sp.eye(3).tocsr(), np.ones((3, 3))), ValueError, "lumped"),
        (lambda: kp.Assembled(sp.eye(3).tocsr(), np.zeros(3)), ValueError, "positive"),
        (lambda: kp.Assembled(sp.csr_array(np.triu(np.ones((3, 3)))), np.ones(3)), ValueError, "symmetric"),
        (lambda: kp.Assembled(np.eye(3), np.ones(3)), TypeError, "lineax"),
        (lambda: kp.Assembled(sp.eye(3).tocsr(), np.ones(3), order=3), ValueError, "1 or 2"),
        (lambda: kp.Assembled(sp.eye(3).tocsr(), (np.ones(3),)), ValueError, "pytree"),
    ],
)
def test_bad_input_is_told(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_diagonal_matrix_is_a_mass():
    equation = kp.Assembled(sp.csr_array(MATRIX), sp.diags(MASS).tocsr())
    np.testing.assert_array_equal(equation.mass, MASS)
    assert equation.stiffness.values.size == np.count_nonzero(MATRIX)
