"""`kp.solve` against dense exponentials of the augmented first-order form, for every equation and observation."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
import scipy.linalg

import krylovpde as kp
from tests.helpers import relative_error, variants

N = 16
LINE = kp.Grid(shape=(N,), lower=(0.0,), upper=(1.0,))
X = np.asarray(LINE.coordinates[0])
KAPPA = jnp.asarray(1.0 + 0.5 * np.sin(2 * np.pi * X))
START = jnp.asarray(np.exp(-(((X - 0.4) / 0.15) ** 2)))
TIMES = np.array([0.0, 0.01, 0.01, 0.1])


class Reaction(kp.AbstractEquation):
    """A user's equation of first order: its own operator, and a constant forcing."""

    rate: Any
    inflow: Any

    def operator(self):
        def apply(u):
            return -self.rate * u + 30.0 * (jnp.roll(u, 1) - u)

        return lx.FunctionLinearOperator(apply, jax.ShapeDtypeStruct((N,), jnp.float64))

    def forcing(self):
        return self.inflow * jnp.ones(N)


class Chain(kp.AbstractEquation):
    """A user's equation of second order: masses and springs with different masses, pushed by a constant force."""

    order = 2
    stiffness: Any
    force: Any

    def operator(self):
        mass = jnp.linspace(1.0, 3.0, N)

        def apply(u):
            return jnp.diff(jnp.pad(self.stiffness * jnp.diff(jnp.pad(u, (1, 0))), (0, 1))) / mass

        operator = lx.FunctionLinearOperator(apply, jax.ShapeDtypeStruct((N,), jnp.float64))
        return kp.annotate(operator, tags=kp.self_adjoint_tag, weight=mass)

    def forcing(self):
        return self.force * jnp.linspace(0.0, 1.0, N)


def mixed(lower, upper):
    return kp.Boundary(lower=lower, upper=upper)


# name -> (parameters -> equation, parameters); the parameters are what derivatives are asked for.
EQUATIONS = {
    "diffusion": (lambda p: kp.Diffusion(LINE, p), KAPPA),
    "diffusion with a source": (lambda p: kp.Diffusion(LINE, KAPPA, source=p, capacity=2.0), KAPPA),
    "dirichlet": (
        lambda p: kp.Diffusion(LINE, KAPPA, boundary=mixed(kp.Dirichlet(p[0]), kp.Dirichlet(p[1]))),
        jnp.asarray([1.0, -0.5]),
    ),
    "neumann and robin": (
        lambda p: kp.Diffusion(LINE, KAPPA, boundary=mixed(kp.Neumann(p[0]), kp.Robin(2.0, 1.0, p[1]))),
        jnp.asarray([0.7, 3.0]),
    ),
    "advection": (
        lambda p: kp.AdvectionDiffusion(
            LINE, 0.5 * KAPPA, 8.0 * p, boundary=mixed(kp.Dirichlet(1.0), kp.Neumann()), source=0.3
        ),
        KAPPA,
    ),
    "radial": (
        lambda p: kp.Diffusion(kp.RadialGrid(np.linspace(0.1, 1.1, N + 1), dimension=2), p, boundary=kp.Dirichlet(0.3)),
        KAPPA,
    ),
    "wave": (lambda p: kp.Wave(LINE, 5.0 * p, boundary=kp.Dirichlet()), KAPPA),
    "driven wave": (
        lambda p: kp.Wave(LINE, 5.0 * KAPPA, boundary=mixed(kp.Dirichlet(p[0]), kp.Neumann(0.2)), source=p[1]),
        jnp.asarray([0.4, 2.0]),
    ),
    "linear": (
        lambda p: kp.Linear(lx.MatrixLinearOperator(jnp.diag(-p) + 9.0 * jnp.diag(jnp.ones(N - 1), 1)), source=0.1),
        KAPPA,
    ),
    "user's first order": (lambda p: Reaction(p[0], p[1]), jnp.asarray([2.0, 5.0])),
    "user's second order": (lambda p: Chain(400.0 * p, 30.0), KAPPA),
}
# The others differ from these in their coefficients and walls alone, or in a matrix in the place of a class.
DIFFERENT = ["neumann and robin", "advection", "radial", "driven wave", "user's second order"]
every_equation = pytest.mark.parametrize("name", variants(EQUATIONS, quick=DIFFERENT))


def initial(order):
    return START if order == 1 else kp.WaveState(START, jnp.asarray(np.sin(3 * X)) * 4.0)


def matrix_of(equation):
    """The dense operator, column by column, through nothing but `mv`."""
    return jax.vmap(equation.operator().mv, in_axes=1, out_axes=1)(jnp.eye(N))


def dense(equation, start, times):
    """The states from SciPy's (or, differentiated, JAX's) exponential of the first-order form with its forcing."""
    matrix, forcing = matrix_of(equation), equation.forcing()
    forcing = jnp.zeros(N) if forcing is None else forcing
    if equation.order == 1:
        generator = jnp.zeros((N + 1, N + 1)).at[:N, :N].set(matrix).at[:N, N].set(forcing)
        vector = jnp.append(start, 1.0)
    else:
        generator = jnp.zeros((2 * N + 1, 2 * N + 1)).at[:N, N : 2 * N].set(jnp.eye(N))
        generator = generator.at[N : 2 * N, :N].set(matrix).at[N : 2 * N, 2 * N].set(forcing)
        vector = jnp.concatenate([start.displacement, start.velocity, jnp.ones(1)])
    states = [jax.scipy.linalg.expm(t * generator, max_squarings=40) @ vector for t in times]
    if equation.order == 1:
        return jnp.stack([state[:N] for state in states])
    return kp.WaveState(jnp.stack([s[:N] for s in states]), jnp.stack([s[N : 2 * N] for s in states]))


def parts(state):
    return [state] if isinstance(state, jax.Array) else [state.displacement, state.velocity]


@every_equation
def test_values_are_those_of_the_dense_exponential(name):
    make, parameters = EQUATIONS[name]
    equation = make(parameters)
    start = initial(equation.order)
    solution = kp.solve(equation, start, TIMES)
    reference = dense(equation, start, TIMES)
    operator_weight = kp.weight(equation.operator())
    root = jnp.ones(N) if operator_weight is None else jnp.sqrt(jnp.asarray(operator_weight))
    for value, expected, begin in zip(parts(solution.value), parts(reference), parts(start), strict=True):
        for one, other in zip(value, expected, strict=True):
            size = max(float(jnp.linalg.norm(root * other)), float(jnp.linalg.norm(root * begin)))
            assert float(jnp.linalg.norm(root * (one - other))) <= 10 * 1e-6 * size
    assert bool(solution.successful)


# The user's first order and plain diffusion would add nothing.
DIFFERENTIATED = [name for name in EQUATIONS if name not in ("diffusion", "user's first order")]


@pytest.mark.parametrize("name", variants(DIFFERENTIATED, quick=["wave"]))
def test_gradients_are_those_of_the_dense_exponential(name):
    make, parameters = EQUATIONS[name]
    weights = np.random.default_rng(3).standard_normal((2, len(TIMES), N))

    def loss(states):
        return sum(jnp.sum(jnp.asarray(w) * part) for w, part in zip(weights, parts(states), strict=False))

    def ours(parameters, start):
        return loss(kp.solve(make(parameters), start, TIMES, rtol=1e-8).value)

    def theirs(parameters, start):
        return loss(dense(make(parameters), start, TIMES))

    start = initial(make(parameters).order)
    mine = jax.jit(jax.grad(ours, argnums=(0, 1)))(parameters, start)
    reference = jax.jit(jax.grad(theirs, argnums=(0, 1)))(parameters, start)
    assert relative_error(mine[0], reference[0]) < 1e-6
    assert relative_error(mine[1], reference[1]) < 1e-6


def test_the_steady_state_meets_its_boundary_values():
    # Exact, discretisation included: linear profiles between Dirichlet values are reproduced by finite volumes.
    equation = kp.Diffusion(LINE, 1.0, boundary=mixed(kp.Dirichlet(1.0), kp.Dirichlet(3.0)))
    state = kp.solve(equation, START, 10.0, rtol=1e-8).value
    assert np.allclose(state, 1.0 + 2.0 * X, atol=1e-6)


def test_times_are_absolute():
    equation = kp.Diffusion(LINE, KAPPA, source=1.0)
    shifted = kp.solve(equation, START, 5.0 + TIMES, t0=5.0)
    assert np.allclose(shifted.value, kp.solve(equation, START, TIMES).value, atol=1e-12)
    assert np.allclose(shifted.times, 5.0 + TIMES)
    single = kp.solve(equation, START, 0.1)
    assert single.value.shape == (N,)
    assert single.times.shape == ()
    assert np.allclose(single.value, shifted.value[-1], atol=1e-12)


SENSORS = kp.Sensors(LINE, np.array([[0.2], [0.55], [0.9]]))


def test_observations_are_those_of_the_states():
    equation = kp.Diffusion(LINE, KAPPA, source=1.0)
    states = kp.solve(equation, START, TIMES).value
    seen = kp.solve(equation, START, TIMES, observe=SENSORS).value
    assert seen.shape == (len(TIMES), 3)
    assert np.allclose(seen, jax.vmap(SENSORS.mv)(states), atol=1e-12)
    row = lx.MatrixLinearOperator(jnp.asarray(np.random.default_rng(0).standard_normal((2, N))))
    assert np.allclose(kp.solve(equation, START, TIMES, observe=row).value, jax.vmap(row.mv)(states), atol=1e-12)
    pair = kp.solve(equation, START, TIMES, observe=lambda t, u: {"mean": t + jnp.mean(u), "end": u[-1]}).value
    assert np.allclose(pair["mean"], TIMES + np.mean(states, axis=1), atol=1e-12)
    assert np.allclose(pair["end"], states[:, -1], atol=1e-12)


@pytest.mark.slow
def test_observations_of_waves():
    equation = kp.Wave(LINE, 5.0)
    states = kp.solve(equation, initial(2), TIMES).value
    assert np.allclose(
        kp.solve(equation, initial(2), TIMES, observe=SENSORS).value,
        jax.vmap(SENSORS.mv)(states.displacement),
        atol=1e-12,
    )
    like = jax.ShapeDtypeStruct((N,), jnp.float64)
    energy = lx.FunctionLinearOperator(lambda s: s.displacement[:2] - s.velocity[:2], kp.WaveState(like, like))
    value = kp.solve(equation, initial(2), TIMES, observe=energy).value
    assert np.allclose(value, states.displacement[:, :2] - states.velocity[:, :2], atol=1e-12)


def test_observations_keep_the_gradient_of_what_they_close_over():
    equation = kp.Diffusion(LINE, KAPPA)
    states = np.asarray(kp.solve(equation, START, TIMES).value)

    def total(gain, how):
        if how == "function":
            observe = lambda _, u: gain * u  # noqa: E731
        else:
            observe = lx.FunctionLinearOperator(lambda u: gain * u, jax.ShapeDtypeStruct((N,), jnp.float64))
        return jnp.sum(kp.solve(equation, START, TIMES, observe=observe).value)

    gain = jnp.asarray(1.0 + X)
    for how in ("function", "operator"):
        gradient = jax.jit(jax.grad(functools.partial(total, how=how)))(gain)
        assert relative_error(gradient, jnp.asarray(states.sum(axis=0))) < 1e-5


@pytest.mark.slow
def test_gradients_through_sensors():
    weights = jnp.asarray(np.random.default_rng(4).standard_normal((len(TIMES), 3)))

    def ours(k):
        return jnp.sum(weights * kp.solve(kp.Diffusion(LINE, k), START, TIMES, observe=SENSORS, rtol=1e-8).value)

    def theirs(k):
        return jnp.sum(weights * jax.vmap(SENSORS.mv)(dense(kp.Diffusion(LINE, k), START, TIMES)))

    assert relative_error(jax.jit(jax.grad(ours))(KAPPA), jax.grad(theirs)(KAPPA)) < 1e-6


@pytest.mark.slow
def test_gradient_with_respect_to_times():
    def ours(times, t0):
        return jnp.sum(kp.solve(kp.Diffusion(LINE, KAPPA, source=1.0), START, times, t0=t0, rtol=1e-9).value[1:] ** 2)

    times, t0 = jnp.asarray([0.0, 0.02, 0.07]), jnp.asarray(-0.01)
    gradient = jax.jit(jax.grad(ours, argnums=(0, 1)))(times, t0)
    equation = kp.Diffusion(LINE, KAPPA, source=1.0)
    states = dense(equation, START, times - t0)
    speeds = jax.vmap(lambda u: equation.vector_field(0.0, u))(states)
    expected = 2 * jnp.sum(states * speeds, axis=1).at[0].set(0.0)
    assert relative_error(gradient[0], expected) < 1e-6
    assert abs(float(gradient[1] + jnp.sum(expected))) < 1e-5 * abs(float(jnp.sum(expected)))


def test_a_batch_of_models_equals_a_loop():
    def run(k, start):
        return kp.solve(kp.Diffusion(LINE, k), start, TIMES, observe=SENSORS, throw=False).value

    ks, starts = jnp.stack([KAPPA, 5.0 * KAPPA]), jnp.stack([START, START[::-1]])
    batch = jax.jit(jax.vmap(run))(ks, starts)
    for one, k, start in zip(batch, ks, starts, strict=True):
        assert np.allclose(one, run(k, start), atol=1e-10)


def test_nothing_is_compiled_twice_when_numbers_change():
    count = []

    def listen(event, *_, **__):
        if "backend_compile" in event:
            count.append(event)

    def equation(scale):
        boundary = mixed(kp.Dirichlet(scale), kp.Robin(1.0, 2.0, scale))
        return kp.Diffusion(LINE, scale * KAPPA, boundary=boundary, source=scale)

    first, second = equation(1.0), equation(2.5)
    times = [jnp.asarray([0.1, 0.2]), jnp.asarray([0.15, 0.15])]
    kp.solve(first, START, times[0], observe=SENSORS, throw=False)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        kp.solve(second, 2.0 * START, times[1], observe=SENSORS, throw=False)
        assert count == []
    finally:
        jax.monitoring.clear_event_listeners()


def test_single_precision_stays():
    equation = kp.Diffusion(LINE, KAPPA, boundary=kp.Dirichlet(0.5), source=1.0)
    start = START.astype(jnp.float32)
    solution = kp.solve(equation, start, [0.01, 0.02])
    assert solution.value.dtype == jnp.float32
    assert relative_error(solution.value, dense(equation, START, [0.01, 0.02])) < 1e-3
    wave = kp.solve(kp.Wave(LINE, 5.0), kp.WaveState(start, 0 * start), 0.1)
    assert wave.value.velocity.dtype == jnp.float32


# ---- failures


def loss_of(equation, times, **options):
    solution = kp.solve(equation, START, times, throw=False, **options)
    return jnp.where(solution.result == kp.RESULTS.successful, jnp.sum(solution.value**2), jnp.inf)


@pytest.mark.slow
def test_a_failed_solve_raises_also_where_only_the_backward_pass_is_left():
    options = {"method": kp.Arnoldi(max_dimension=4), "max_steps": 2}

    def linear(k):
        return jnp.sum(kp.solve(kp.Diffusion(LINE, k), START, 1.0, **options).value)

    with pytest.raises(Exception, match="max_steps"):
        linear(KAPPA)
    with pytest.raises(Exception, match="max_steps"):
        jax.block_until_ready(jax.jit(jax.grad(linear))(KAPPA))


# ---- how users are told no


class Nonlinear(kp.AbstractEquation):
    def operator(self):
        return lx.IdentityLinearOperator(jax.ShapeDtypeStruct((N,), jnp.float64))

    def nonlinear(self, t, u):
        return u**2


class Varying(Nonlinear):
    source: Any = eqx.field(static=True, default=jnp.sin)

    nonlinear = kp.AbstractEquation.nonlinear


def rectangle():
    return lx.MatrixLinearOperator(jnp.ones((N, N + 1)))


DIFFUSION = kp.Diffusion(LINE, KAPPA)
WAVE = kp.Wave(LINE, 1.0)
SQUARE = lx.MatrixLinearOperator(jnp.eye(N))
BAD = {
    "no equation": (TypeError, "krylovpde.Linear", lambda: kp.solve(SQUARE, START, 1.0)),
    "second vector of another shape": (
        ValueError,
        r"`vectors\[1\]`",
        lambda: kp.phi_multiply(SQUARE, (START, START[:-1]), 1.0),
    ),
    "nonlinear": (TypeError, "An action goes inside", lambda: kp.solve(Nonlinear(), START, 1.0, method=kp.Dense())),
    "varying source": (ValueError, "vary in time", lambda: kp.solve(Varying(), START, 1.0)),
    "wave without velocity": (TypeError, "WaveState", lambda: kp.solve(WAVE, START, 1.0)),
    "state of another shape": (
        ValueError,
        r"`initial`.*\(16,\).*\(15,\)",
        lambda: kp.solve(DIFFUSION, START[:-1], 1.0),
    ),
    "velocity of another shape": (
        ValueError,
        "initial.velocity",
        lambda: kp.solve(WAVE, kp.WaveState(START, START[:-1]), 1.0),
    ),
    "state of another tree": (ValueError, "`initial`", lambda: kp.solve(DIFFUSION, (START, START), 1.0)),
    "state that is text": (TypeError, "`initial`", lambda: kp.solve(DIFFUSION, "u", 1.0)),
    "decreasing times": (ValueError, "must not decrease", lambda: kp.solve(DIFFUSION, START, [1.0, 0.5])),
    "times before the start": (ValueError, "before `t0`", lambda: kp.solve(DIFFUSION, START, -1.0)),
    "times that are not numbers": (ValueError, "`times`", lambda: kp.solve(DIFFUSION, START, [np.nan, 1.0])),
    "no times": (ValueError, "non-empty", lambda: kp.solve(DIFFUSION, START, [])),
    "matrix of times": (ValueError, "1-D", lambda: kp.solve(DIFFUSION, START, np.ones((2, 2)))),
    "complex times": (TypeError, "real", lambda: kp.solve(DIFFUSION, START, 1j)),
    "several starts": (ValueError, "`t0`", lambda: kp.solve(DIFFUSION, START, 1.0, t0=[0.0, 1.0])),
    "observation of another field": (
        ValueError,
        "`observe`",
        lambda: kp.solve(DIFFUSION, START, 1.0, observe=lx.MatrixLinearOperator(jnp.ones((2, 3)))),
    ),
    "observation that is a matrix": (
        TypeError,
        "`observe`",
        lambda: kp.solve(DIFFUSION, START, 1.0, observe=np.eye(N)),
    ),
    "tolerance below rounding": (ValueError, "`rtol`", lambda: kp.solve(DIFFUSION, START, 1.0, rtol=1e-16)),
    "single precision tolerance": (
        ValueError,
        "float64",
        lambda: kp.solve(DIFFUSION, START.astype(jnp.float32), 1.0, rtol=1e-8),
    ),
    "tolerance that is not a number": (ValueError, "`rtol`", lambda: kp.solve(DIFFUSION, START, 1.0, rtol=np.nan)),
    "negative tolerance": (ValueError, "`atol`", lambda: kp.solve(DIFFUSION, START, 1.0, atol=-1.0)),
    "no steps": (ValueError, "`max_steps`", lambda: kp.solve(DIFFUSION, START, 1.0, max_steps=0)),
    "method by name": (TypeError, r"Lanczos\(\)", lambda: kp.solve(DIFFUSION, START, 1.0, method="lanczos")),
    "adjoint by name": (TypeError, r"TwoSidedAdjoint\(\)", lambda: kp.solve(DIFFUSION, START, 1.0, adjoint="direct")),
    "impossible pair": (
        ValueError,
        r"TwoSidedAdjoint\(\).*Dense\(\).*DirectAdjoint\(\)",
        lambda: kp.solve(DIFFUSION, START, 1.0, method=kp.Dense(), adjoint=kp.TwoSidedAdjoint()),
    ),
    "lanczos without a tag": (
        ValueError,
        "annotate",
        lambda: kp.expm_multiply(SQUARE, START, 1.0, method=kp.Lanczos()),
    ),
    "lanczos for untagged waves": (
        ValueError,
        "self-adjoint",
        lambda: kp.solve(Chained(), kp.WaveState(START, START), 1.0, method=kp.Lanczos()),
    ),
    "dense and large": (ValueError, "Dense", lambda: kp.solve(DIFFUSION, START, 1.0, method=kp.Dense(max_size=4))),
    "one krylov vector": (ValueError, "max_dimension", lambda: kp.Arnoldi(max_dimension=1)),
    "not square": (ValueError, "square", lambda: kp.expm_multiply(rectangle(), jnp.ones(N + 1), 1.0)),
    "scipy matrix": (TypeError, "from_scipy", lambda: kp.expm_multiply(scipy_matrix(), START, 1.0)),
    "dense matrix": (TypeError, "MatrixLinearOperator", lambda: kp.expm_multiply(jnp.eye(N), START, 1.0)),
    "function": (TypeError, "FunctionLinearOperator", lambda: kp.expm_multiply(lambda x: x, START, 1.0)),
    "vector of another shape": (ValueError, "`vector`", lambda: kp.expm_multiply(SQUARE, START[:-1], 1.0)),
    "no vectors": (ValueError, "`vectors`", lambda: kp.phi_multiply(SQUARE, (), 1.0)),
    "duration that is text": (TypeError, "`t`", lambda: kp.expm_multiply(SQUARE, START, "1")),
    "traced tolerance": (
        TypeError,
        "`rtol`",
        lambda: jax.jit(lambda r: kp.expm_multiply(SQUARE, START, 1.0, rtol=r).value)(1e-6),
    ),
}


class Chained(kp.AbstractEquation):
    order = 2

    def operator(self):
        return SQUARE


def scipy_matrix():
    import scipy.sparse

    return scipy.sparse.eye(N).tocsr()


@pytest.mark.bad_input
@pytest.mark.parametrize("name", list(BAD))
def test_bad_input_is_told(name):
    error, message, call = BAD[name]
    with pytest.raises(error, match=message):
        call()


def test_dense_reference_is_scipys():
    # The reference of this file by JAX's exponential, once beside SciPy's.
    equation = EQUATIONS["driven wave"][0](jnp.asarray([0.4, 2.0]))
    generator = np.zeros((2 * N + 1, 2 * N + 1))
    generator[:N, N : 2 * N] = np.eye(N)
    generator[N : 2 * N, :N] = matrix_of(equation)
    generator[N : 2 * N, 2 * N] = equation.forcing()
    start = initial(2)
    vector = np.concatenate([start.displacement, start.velocity, [1.0]])
    state = scipy.linalg.expm(0.1 * generator) @ vector
    assert np.allclose(dense(equation, start, [0.1]).displacement[0], state[:N], atol=1e-9)
