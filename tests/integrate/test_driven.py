"""Sources `f(x) w(t)`: values and every derivative against exact exponentials of the piecewise polynomial problem."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.verify import taylor_test
from tests.helpers import dense, random_like, relative_error

RTOL = 1e-9
CLOSE = 1e-7
GRID = kp.Grid.from_edges([np.linspace(0.0, 1.0, 10) ** 1.2])
SAMPLES = np.asarray([0.05, 0.1, 0.1, 0.22, 0.3])
TIMES = np.asarray([0.04, 0.1, 0.17, 0.45])
SENSORS = kp.Sensors(GRID, [[0.2], [0.65]])


def parameters(kind: str):
    """Coefficient, position, signal, start, and the profile of a second source."""
    rng = np.random.default_rng(5)
    start = rng.standard_normal(GRID.shape)
    coefficient = jnp.asarray(rng.uniform(0.5, 1.5, GRID.shape))
    if kind == "advection":
        coefficient = coefficient, jnp.asarray(rng.uniform(-4.0, 12.0, GRID.shape))
    return (
        coefficient,
        jnp.asarray([0.42]),
        jnp.asarray(rng.standard_normal(SAMPLES.size)),
        kp.WaveState(jnp.asarray(start), jnp.asarray(start[::-1].copy())) if kind == "wave" else jnp.asarray(start),
        jnp.asarray(rng.standard_normal(GRID.shape)),
    )


def equation(kind: str, arguments):
    c, position, values, _, *profile = arguments
    sources = [kp.PointSource(GRID, position, kp.Sampled(SAMPLES, values))]
    if profile:
        steps = kp.Sampled(SAMPLES[1:3] * [1.0, 2.0], values[:2], kind="previous")
        sources += [0.3, kp.Source(profile[0], steps)]
    if kind == "advection":
        return kp.AdvectionDiffusion(GRID, c[0], (c[1],), source=sources, boundary=kp.Dirichlet(1.0))
    return kp.Wave(GRID, c, source=sources) if kind == "wave" else kp.Diffusion(GRID, c, source=sources)


def prediction(kind: str, arguments, observe=SENSORS):
    # Short tables are one program; which method serves which equation is tested beside the methods.
    method = kp.Faber(max_degree=512) if kind == "advection" else None
    posed = equation(kind, arguments)
    return kp.solve(posed, arguments[3], TIMES, observe=observe, method=method, rtol=RTOL).value


def reference(kind: str, arguments):
    """One exponential for each stretch between jumps, kinks and output times: `z' = G z` with `w, w'` in the state."""
    posed, start, waves = equation(kind, arguments), arguments[3], kind == "wave"
    matrix, size = dense(posed.operator()), GRID.shape[0]
    zero, unit = jnp.zeros_like(matrix), jnp.eye(size)
    body = jnp.block([[zero, unit], [matrix, zero]]) if waves else matrix
    state = jnp.concatenate([start.displacement, start.velocity]) if waves else start
    driving, rows = posed.driving(), len(body)
    edges = np.unique(np.concatenate([[0.0], SAMPLES, 2.0 * SAMPLES[2:3], TIMES]))
    observed = []
    for low, high in itertools.pairwise(edges):
        generator = jnp.zeros((rows + 3, rows + 3)).at[:rows, :rows].set(body).at[-2, -1].set(1.0)
        # The total force and its slope on this stretch, where every signal is a straight line.
        places = (jnp.asarray(low + 0.25 * (high - low)), jnp.asarray(low + 0.75 * (high - low)))
        first, second = (sum(f * w(place) for f, w in driving) for place in places)
        slope = 2.0 * (second - first) / (high - low)
        steady = posed.forcing()
        force = first - 0.25 * (high - low) * slope + (0.0 if steady is None else steady)
        generator = generator.at[rows - size : rows, -3].set(force).at[rows - size : rows, -2].set(slope)
        chain = jnp.asarray([1.0, 0.0, 1.0])
        state = (jax.scipy.linalg.expm(generator * (high - low)) @ jnp.concatenate([state, chain]))[:rows]
        if np.any(np.isclose(high, TIMES)):
            observed.append(SENSORS.mv(state[:size]))
    return jnp.stack(observed)


def objective(predict, kind):
    """A number, and the prediction it is made of."""
    weights = jnp.asarray(np.random.default_rng(7).standard_normal((TIMES.size, 2)))

    def value(arguments):
        seen = predict(kind, arguments)  # once: each solve is compiled
        return jnp.sum(weights * seen + 0.5 * seen**2), seen

    return value


def alone(predict, kind):
    """The number alone."""
    return lambda arguments: objective(predict, kind)(arguments)[0]


def gradient(predict, kind):
    """Of the objective, compiled."""
    return jax.jit(jax.grad(objective(predict, kind), has_aux=True))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wave", "diffusion", "advection"])
def test_values_and_gradients(kind):
    arguments = parameters(kind)
    mine, seen = gradient(prediction, kind)(arguments)
    theirs, exact = gradient(reference, kind)(arguments)
    assert relative_error(seen, exact) < CLOSE
    for own, other in zip(mine, theirs, strict=True):
        assert relative_error(own, other) < CLOSE
    assert relative_error(mine, theirs) > 0.0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wave", "diffusion", "advection"])
def test_states_are_what_sensors_see(kind):
    arguments = parameters(kind)
    assert relative_error(prediction(kind, arguments), reference(kind, arguments)) < CLOSE
    state = prediction(kind, arguments, observe=None)
    seen = jax.vmap(SENSORS.mv)(state.displacement if kind == "wave" else state)
    assert relative_error(seen, reference(kind, arguments)) < CLOSE


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["diffusion", "advection"])
def test_second_derivatives(kind, key):
    # One source, one component of the state: the program for a second derivative is long.
    arguments = parameters(kind)[:4]
    direction = random_like(key, arguments)
    mine = jax.jit(functools.partial(_along_gradient, alone(prediction, kind)))(arguments, direction)
    theirs = jax.jit(functools.partial(_along_gradient, alone(reference, kind)))(arguments, direction)
    assert relative_error(mine, theirs) < CLOSE


def _along(function, arguments, direction):
    return jax.jvp(function, (arguments,), (direction,))[1]


def _along_gradient(function, arguments, direction):
    return jax.jvp(jax.grad(function), (arguments,), (direction,))[1]


@pytest.mark.slow
@pytest.mark.parametrize("i", [0, 1, 2])
def test_each_argument_alone_in_both_modes(i, key):
    # Symbolic zeros take other branches of the rules than tangents that are there.
    arguments = parameters("wave")[:4]
    direction = random_like(key, arguments)
    exact, _ = gradient(reference, "wave")(arguments)

    def of_one(x):
        return alone(prediction, "wave")((*arguments[:i], x, *arguments[i + 1 :]))

    assert relative_error(jax.jit(jax.grad(of_one))(arguments[i]), exact[i]) < CLOSE
    slope = jax.jit(functools.partial(_along, of_one))(arguments[i], direction[i])
    expected = float(jnp.vdot(exact[i], direction[i]))
    assert abs(float(slope) - expected) < CLOSE * abs(expected)


@pytest.mark.slow
def test_a_function_of_time_keeps_the_gradient_of_what_it_closes_over(key):
    grid = kp.Grid(shape=(20,), lower=(0.0,), upper=(1.0,))
    sensors = kp.Sensors(grid, [[0.7]])
    rest = kp.WaveState(jnp.zeros(grid.shape), jnp.zeros(grid.shape))

    def loss(arguments):
        frequency, shift = arguments

        def ricker(t):
            a = (np.pi * frequency * (t - shift)) ** 2
            return (1.0 - 2.0 * a) * jnp.exp(-a)

        source = kp.PointSource(grid, 0.3, ricker)
        return jnp.sum(kp.solve(kp.Wave(grid, 1.0, source=source), rest, TIMES, observe=sensors, rtol=1e-11).value ** 2)

    result = taylor_test(jax.jit(loss), (jnp.asarray(5.0), jnp.asarray(0.1)), key=key)
    assert result.passed, result


@pytest.mark.slow
def test_a_wave_on_a_line_is_dalemberts():
    """`u_tt = u_xx + δ(x) w(t)`: `u = ½ ∫_0^(t - |x|) w`, before anything comes back from the walls."""
    grid = kp.Grid(shape=(1200,), lower=(-3.0,), upper=(3.0,))
    rest = kp.WaveState(jnp.zeros(grid.shape), jnp.zeros(grid.shape))
    pulse = lambda t: jnp.exp(-(((t - 0.8) / 0.2) ** 2))  # noqa: E731
    times, place = np.array([0.9, 1.5, 2.2]), 0.7
    equation = kp.Wave(grid, 1.0, source=kp.PointSource(grid, 0.0, pulse))
    seen = kp.solve(equation, rest, times, observe=kp.Sensors(grid, [[place]])).value[:, 0]
    fine = np.linspace(0.0, 3.0, 20001)
    whole = np.concatenate([[0.0], np.cumsum(np.exp(-(((fine[:-1] - 0.8) / 0.2) ** 2))) * (fine[1] - fine[0])])
    exact = 0.5 * np.interp(times - place, fine, whole)
    np.testing.assert_allclose(seen, exact, atol=2e-4 * exact.max())


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_many_times_are_read_from_one_recurrence(dtype):
    grid = kp.Grid(shape=(24, 20), lower=(0.0, 0.0), upper=(1.0, 1.0))
    rest = kp.WaveState(jnp.zeros(grid.shape, dtype), jnp.zeros(grid.shape, dtype))
    times = np.linspace(0.0, 0.5, 40)
    values = np.sin(30 * times) * np.exp(-5 * times)
    sensors = kp.Sensors(grid, [[0.2, 0.3], [0.7, 0.9]])
    source = kp.PointSource(grid, [0.4, 0.6], kp.Sampled(times, values))
    speed = jnp.ones(grid.shape, dtype)

    def predict(speed, times):
        return kp.solve(kp.Wave(grid, speed, source=source), rest, times, observe=sensors)

    def energy(times, speed):
        seen = predict(speed, times).value
        return jnp.sum(seen**2), seen

    together = predict(speed, times)
    assert int(together.stats.num_steps) == 1
    tolerance = 1e-8 if dtype == jnp.float64 else 3e-4
    differentiated = jax.jit(jax.grad(energy, argnums=1, has_aux=True))
    parts = [differentiated(part, speed) for part in np.split(times, 5)]
    slope, seen = differentiated(times, speed)
    assert relative_error(seen, together.value) < tolerance
    assert relative_error(together.value, jnp.concatenate([values for _, values in parts])) < tolerance
    slopes = [part for part, _ in parts]
    assert relative_error(slope, sum(slopes[1:], slopes[0])) < 10 * tolerance


@pytest.mark.slow
def test_a_batch_of_sources_is_one_solve_each():
    arguments = parameters("wave")[:4]
    positions = jnp.asarray([[0.2], [0.5], [0.8]])

    def predict(position):
        return prediction("wave", (arguments[0], position, *arguments[2:]))

    batch = jax.jit(jax.vmap(predict))(positions)
    singles = jnp.stack([predict(position) for position in positions])
    assert relative_error(batch, singles) < 1e-12


@pytest.mark.slow
def test_failures_are_told():
    grid = kp.Grid(shape=(8,), lower=(0.0,), upper=(1.0,))
    start = jnp.zeros(grid.shape)
    wild = kp.Diffusion(grid, 1.0, source=kp.Source(1.0, lambda t: jnp.sin(1e5 * t)))
    solution = kp.solve(wild, start, 1.0, throw=False)
    assert solution.result == kp.RESULTS.tolerance_not_reached
    broken = kp.Diffusion(grid, 1.0, source=kp.Source(1.0, lambda t: t * jnp.nan))
    assert kp.solve(broken, start, 1.0, throw=False).result != kp.RESULTS.successful
    source = kp.Source(1.0, lambda t: t)
    with pytest.raises(ValueError, match=r"Lanczos.*Chebyshev"):
        kp.solve(kp.Diffusion(grid, 1.0, source=source), start, 1.0, method=kp.Lanczos())
