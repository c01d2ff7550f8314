"""Schrödinger's equation: against closed forms and dense exponentials, what is conserved, derivatives of every kind."""

import functools

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
import scipy.linalg

import krylovpde as kp
from krylovpde.operator import ImaginaryOperator, imaginary_interval
from tests.helpers import relative_error

RNG = np.random.default_rng(71)
GRID = kp.Grid((5, 4), (0.0, 0.0), (1.0, 1.2))
POTENTIAL = jnp.asarray(20.0 * RNG.random(GRID.shape))
START = jnp.asarray(RNG.standard_normal(GRID.shape) + 1j * RNG.standard_normal(GRID.shape))
COTANGENT = jnp.asarray(RNG.standard_normal(GRID.shape) + 1j * RNG.standard_normal(GRID.shape))
DURATION = 0.3
# One length of the cosine transform instead of two: less to compile.
METHODS = [kp.Chebyshev(max_degree=256), kp.Lanczos()]
by_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
# The rule of Lanczos itself is in the adjoints' battery, for an operator of this kind.
mostly_chebyshev = pytest.mark.parametrize(
    "method",
    [METHODS[0], pytest.param(METHODS[1], marks=pytest.mark.slow)],
    ids=lambda method: method.name,
)
BOUNDARIES = {
    "neumann": kp.Neumann(),
    "dirichlet": kp.Dirichlet(),
    "periodic": (kp.Periodic(), kp.Dirichlet()),
    "robin": kp.Boundary(lower=kp.Robin(1.0, 0.3), upper=kp.Neumann()),
    "driven walls": kp.Boundary(lower=kp.Dirichlet(0.7), upper=(kp.Neumann(2.0), kp.Robin(1.0, 0.3, -1.0))),
}


def exact(equation, start, t):
    """By the exponential of the dense matrix, the inflow through the walls in a further column."""
    matrix, forcing = np.asarray(equation.operator().as_matrix()), equation.forcing()
    generator = np.pad(matrix, (0, 1))
    if forcing is not None:
        generator[:-1, -1] = np.ravel(forcing)
    return (scipy.linalg.expm(t * generator) @ np.append(np.ravel(start), 1.0))[:-1].reshape(start.shape)


@mostly_chebyshev
@pytest.mark.parametrize(
    "boundary",
    [name if name == "driven walls" else pytest.param(name, marks=pytest.mark.slow) for name in BOUNDARIES],
)
def test_against_the_dense_exponential(boundary, method):
    """A complex and a real start, the latter becoming complex."""
    equation = kp.Schrodinger(GRID, POTENTIAL, boundary=BOUNDARIES[boundary])
    for start in (START, jnp.real(START)):
        solution = kp.solve(equation, start, jnp.array([0.1, DURATION]), method=method, rtol=1e-9)
        assert solution.value.dtype == jnp.complex128
        for time, value in zip((0.1, DURATION), solution.value, strict=True):
            assert relative_error(value, exact(equation, np.asarray(start), time)) < 1e-9


def test_boundary_values_are_those_of_the_laplacian():
    """The half before it does not enter conditions on `∂u/∂n`: `-iH` of the wave equation's operator."""
    for boundary in BOUNDARIES.values():
        ours = kp.Schrodinger(GRID, 0.0, boundary=boundary)
        wave = kp.Wave(GRID, 1.0, boundary=boundary)
        np.testing.assert_allclose(
            ours.operator().mv(START), 0.5j * np.asarray(wave.operator().mv(START)), rtol=1e-13, atol=1e-12
        )
        if wave.forcing() is not None:
            np.testing.assert_allclose(ours.forcing(), 0.5j * np.asarray(wave.forcing()), rtol=1e-13)


@pytest.mark.slow
def test_the_operator_is_what_it_says():
    graded = kp.Grid.from_edges([[0.0, 0.1, 0.25, 0.5, 0.6], [0.0, 0.5, 0.8, 1.6]])
    potential = jnp.asarray(30.0 * RNG.random(graded.shape))
    operator = kp.Schrodinger(graded, potential, boundary=BOUNDARIES["robin"]).operator()
    assert kp.is_skew_adjoint(operator)
    assert not kp.is_self_adjoint(operator)
    assert kp.verify.structure_test(operator, key=jax.random.key(1)).passed
    assert kp.verify.dot_test(operator, key=jax.random.key(2)).passed
    assert kp.is_self_adjoint(ImaginaryOperator(operator))
    variants = ((operator, 1.0), (-operator, -1.0), (2.0 * operator + operator, 3.0), (operator / 4.0, 0.25))
    for changed, factor in variants:
        values = np.linalg.eigvals(factor * np.asarray(operator.as_matrix())).imag
        interval = imaginary_interval(changed)
        assert interval is not None
        lower, upper = interval
        width = values.max() - values.min()
        assert lower <= values.min() <= lower + 0.4 * width
        assert upper - 0.4 * width <= values.max() <= upper


@pytest.mark.slow
def test_the_interval_is_used():
    """Without it, from the bound alone, the polynomial covers twice as much."""
    grid = kp.Grid((24, 24), (-6.0, -6.0), (6.0, 6.0))
    x, y = grid.coordinates
    operator = kp.Schrodinger(grid, 0.5 * (x**2 + y**2)).operator()
    function = lx.FunctionLinearOperator(operator.mv, operator.in_structure())
    bounded = kp.annotate(
        function, tags=kp.skew_adjoint_tag, weight=operator.weight, spectral_bound=operator.spectral_bound
    )
    start = jnp.asarray(np.exp(-0.5 * ((x - 1.0) ** 2 + y**2)))
    narrow, wide = (kp.expm_multiply(a, start, 10.0, method=kp.Chebyshev(), rtol=1e-8) for a in (operator, bounded))
    assert relative_error(narrow.value, wide.value) < 1e-8
    assert int(narrow.stats.applications) < 0.6 * int(wide.stats.applications)


@pytest.mark.slow
def test_the_choice():
    equation = kp.Schrodinger(GRID, POTENTIAL)
    assert kp.solve(equation, START, DURATION).stats.method == "Chebyshev"
    assert kp.expm_multiply(equation.operator(), START, -DURATION).stats.method == "Chebyshev"
    absorbing = kp.Schrodinger(GRID, np.asarray(POTENTIAL) - 2.0j)
    solution = kp.solve(absorbing, START, DURATION, rtol=1e-9)
    assert solution.stats.method == "Arnoldi"
    expected = np.exp(-2.0 * DURATION) * exact(equation, np.asarray(START), DURATION)
    assert relative_error(solution.value, expected) < 1e-9


# ---- the coherent state of a harmonic oscillator: ψ = exp(-(x - a)²/2 + i p (x - a) + iγ) π^(-1/4), E = ½ x²


def coherent(x, t, centre=1.5):
    """Released at rest at `centre`: `a = centre cos t`, `p = -centre sin t`, `γ = -t/2 - (pa)/2` in the mean."""
    a, p = centre * np.cos(t), -centre * np.sin(t)
    phase = p * (x - a) + 0.5 * p * a - 0.5 * t
    return np.pi**-0.25 * np.exp(-0.5 * (x - a) ** 2 + 1j * phase)


@pytest.mark.parametrize("dimension", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_coherent_state_to_second_order(dimension):
    """At three times on three grids: the error of the discretisation is of second order."""
    times, counts, errors = jnp.array([0.7, 2.0]), (48, 72, 108), []
    for count in counts:
        grid = kp.Grid((count,) * dimension, (-7.0,) * dimension, (7.0,) * dimension)
        potential = 0.5 * sum(x**2 for x in grid.coordinates)
        states = [np.prod([coherent(x, t) for x in grid.coordinates], axis=0) for t in (0.0, *np.asarray(times))]
        value = kp.solve(kp.Schrodinger(grid, potential), jnp.asarray(states[0]), times, rtol=1e-8).value
        errors.append(max(float(grid.norm(jnp.asarray(u - w))) for u, w in zip(value, states[1:], strict=True)))
    order = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert order == pytest.approx(2.0, abs=0.1), errors


# ---- conservation


@pytest.mark.parametrize(
    ("method", "rtol", "step", "count"),
    [
        pytest.param(kp.Lanczos(), 1e-2, 0.3, 520, marks=pytest.mark.slow),
        pytest.param(kp.Lanczos(), 1e-10, 1.0, 180, marks=pytest.mark.slow),
        (METHODS[0], 1e-13, 1.0, 110),
    ],
    ids=["lanczos loose", "lanczos tight", "chebyshev"],
)
def test_norm_and_energy_are_conserved(method, rtol, step, count):
    """Drift at most 1e-12 over ten thousand applications."""
    grid = kp.Grid((96,), (-6.0,), (6.0,))
    equation = kp.Schrodinger(grid, 0.5 * grid.coordinates[0] ** 2 + np.cos(3.0 * grid.coordinates[0]))
    operator = equation.operator()
    start = jnp.asarray(coherent(grid.coordinates[0], 0.0))

    def advance(u, _):
        solution = kp.solve(equation, u, step, method=method, rtol=rtol)
        conserved = grid.norm(solution.value), jnp.real(1j * grid.inner(solution.value, operator.mv(solution.value)))
        return solution.value, (*conserved, solution.stats.applications)

    _, (norms, energies, applications) = jax.jit(lambda u: jax.lax.scan(advance, u, None, length=count))(start)
    norm, energy = grid.norm(start), jnp.real(1j * grid.inner(start, operator.mv(start)))
    assert int(applications.sum()) >= 10_000
    assert float(jnp.max(jnp.abs(norms / norm - 1.0))) <= 1e-12
    assert float(jnp.max(jnp.abs(energies / energy - 1.0))) <= 1e-12


# ---- derivatives, in JAX's convention: grad f = ∂f/∂x - i ∂f/∂y


def objective(arguments, method=METHODS[0], adjoint=None):
    potential, start, t = arguments
    value = kp.solve(kp.Schrodinger(GRID, potential), start, t, method=method, adjoint=adjoint, rtol=1e-10).value
    return jnp.real(jnp.sum(COTANGENT * value)) + jnp.sum(jnp.abs(value) ** 4)


@functools.cache
def dense(order):
    """The same through `jax.scipy.linalg.expm` of the dense matrix: gradient, or its product with a direction."""

    def function(arguments):
        potential, start, t = arguments
        kinetic = kp.Schrodinger(GRID, 0.0).operator().as_matrix()
        matrix = kinetic - 1j * jnp.diag(potential.ravel()).astype(kinetic.dtype)
        value = (jax.scipy.linalg.expm(t.astype(matrix.dtype) * matrix) @ start.ravel()).reshape(GRID.shape)
        return jnp.real(jnp.sum(COTANGENT * value)) + jnp.sum(jnp.abs(value) ** 4)

    if order == 1:
        return jax.jit(jax.grad(function))(POINT)
    return jax.jit(lambda x, d: jax.jvp(jax.grad(function), (x,), (d,))[1])(POINT, DIRECTION)


POINT = (POTENTIAL, START, jnp.asarray(DURATION))
DIRECTION = (
    jnp.asarray(RNG.standard_normal(GRID.shape)),
    jnp.asarray(RNG.standard_normal(GRID.shape) + 1j * RNG.standard_normal(GRID.shape)),
    jnp.asarray(0.7),
)


def paired(gradient, direction):
    """The change along a direction: `Re Σ g d`, without a conjugate."""
    return sum(jnp.real(jnp.sum(g * d)) for g, d in zip(gradient, direction, strict=True))


@pytest.mark.parametrize("method", [METHODS[0], pytest.param(kp.Lanczos(), marks=pytest.mark.slow)])
def test_gradients(method):
    """Against dense exponentials, finite differences and forward mode: potential, complex start, duration."""
    function = functools.partial(objective, method=method)
    value, gradient = jax.jit(jax.value_and_grad(function))(POINT)
    assert gradient[0].dtype == jnp.float64
    for mine, theirs in zip(gradient, dense(1), strict=True):
        assert relative_error(mine, theirs) < 1e-8
        assert not np.array_equal(mine, theirs)
    tangent = jax.jit(lambda x, d: jax.jvp(function, (x,), (d,)))(POINT, DIRECTION)
    np.testing.assert_allclose(tangent[0], value, rtol=1e-9)
    np.testing.assert_allclose(tangent[1], paired(gradient, DIRECTION), rtol=1e-8)
    step, moved = 1e-5, []
    for sign in (1, -1):
        moved.append(function(tuple(x + sign * step * d for x, d in zip(POINT, DIRECTION, strict=True))))
    np.testing.assert_allclose((moved[0] - moved[1]) / (2 * step), tangent[1], rtol=1e-7)


@pytest.mark.slow
@mostly_chebyshev
def test_second_derivatives(method):
    """A Hessian-vector product in a rough direction."""
    function = functools.partial(objective, method=method)
    product = jax.jit(lambda x, d: jax.jvp(jax.grad(function), (x,), (d,))[1])(POINT, DIRECTION)
    for mine, theirs in zip(product, dense(2), strict=True):
        assert relative_error(mine, theirs) < 1e-7


@pytest.mark.slow
@mostly_chebyshev
def test_a_batch_is_its_lanes(method):
    gradient = jax.jit(jax.grad(functools.partial(objective, method=method)))
    points = [POINT, tuple(0.5 * x for x in POINT)]
    batch = jax.jit(jax.vmap(jax.grad(functools.partial(objective, method=method))))(
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *points)
    )
    for lane, point in enumerate(points):
        assert relative_error(jax.tree.map(lambda leaf, lane=lane: leaf[lane], batch), gradient(point)) < 1e-9


@mostly_chebyshev
def test_single_precision(method):
    start, potential = START.astype(jnp.complex64), POTENTIAL.astype(jnp.float32)

    def function(potential, start):
        value = kp.solve(kp.Schrodinger(GRID, potential), start, DURATION, method=method).value
        assert value.dtype == jnp.complex64
        return jnp.real(jnp.sum(COTANGENT.astype(jnp.complex64) * value)) + jnp.sum(jnp.abs(value) ** 4)

    gradient = jax.jit(jax.grad(function, argnums=(0, 1)))(potential, start)
    assert gradient[0].dtype == jnp.float32
    assert gradient[1].dtype == jnp.complex64
    assert relative_error(gradient, dense(1)[:2]) < 3e-4


@pytest.mark.standard_promotion
@pytest.mark.slow
def test_gradients_against_diffrax():
    def by_diffrax(arguments):
        potential, start, t = arguments
        equation = kp.Schrodinger(GRID, potential)

        def parts(t, y, args):
            rate = equation.vector_field(t, jax.lax.complex(*y), args)
            return rate.real, rate.imag  # Diffrax warns of complex states

        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(parts),
            diffrax.Dopri8(),
            0.0,
            t,
            t / 200,
            (start.real, start.imag),
            stepsize_controller=diffrax.ConstantStepSize(),
            max_steps=204,
        )
        assert solution.ys is not None
        value = jax.lax.complex(*(part[0] for part in solution.ys))
        return jnp.real(jnp.sum(COTANGENT * value)) + jnp.sum(jnp.abs(value) ** 4)

    ours = jax.jit(jax.grad(objective))(POINT)
    theirs = jax.jit(jax.grad(by_diffrax))(POINT)
    for mine, other in zip(ours, theirs, strict=True):
        assert relative_error(mine, other) < 1e-7


@pytest.mark.slow
def test_time_series_drive_complex_fields():
    """A source that varies in time beside an interval that is not symmetric: value and gradient of the samples."""
    operator = kp.Schrodinger(GRID, POTENTIAL).operator()
    times = jnp.linspace(0.0, DURATION, 4)

    def value(samples, operator=operator):
        source = kp.Source(jnp.real(START), kp.Sampled(times, samples))
        return kp.solve(kp.Linear(operator, source), START, DURATION, method=kp.Chebyshev(), rtol=1e-9).value

    function = lx.FunctionLinearOperator(operator.mv, operator.in_structure())
    bounded = kp.annotate(
        function, tags=kp.skew_adjoint_tag, weight=operator.weight, spectral_bound=operator.spectral_bound
    )
    samples = jnp.array([1.0, -2.0, 0.5, 3.0])
    assert relative_error(value(samples), value(samples, bounded)) < 1e-8
    gradients = [
        jax.grad(lambda s, a=a: jnp.real(jnp.sum(COTANGENT * value(s, a))))(samples) for a in (operator, bounded)
    ]
    assert relative_error(*gradients) < 1e-8


@pytest.mark.bad_input
def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"Schrodinger\(potential\)"):
        kp.Schrodinger(GRID, jnp.ones(3))
    with pytest.raises(ValueError, match="boundary"):
        kp.Schrodinger(GRID, 1.0, boundary=kp.TotalFlux(0.0))
    with pytest.raises(TypeError, match="takes a Grid"):
        kp.Schrodinger((4, 4), 1.0)
    assert eqx.tree_equal(kp.Schrodinger(GRID, 1.0), kp.Schrodinger(GRID, 1.0))
