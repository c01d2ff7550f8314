"""Experiments are `kp.solve` of what a model makes, one or several, and losses of them have right gradients."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.inverse import Experiment, Experiments, LeastSquares, Positive, equation_of
from tests.helpers import relative_error

_GRID = kp.Grid(shape=(24,), lower=(0.0,), upper=(1.0,))
_SENSORS = kp.Sensors(_GRID, np.array([[0.2], [0.5], [0.9]]))
_TIMES = np.array([0.01, 0.02])


class Rod(eqx.Module):
    """One diffusivity; the amplitude of the initial state is unknown too."""

    diffusivity: Positive
    amplitude: jax.Array

    def equation(self):
        return kp.Diffusion(_GRID, self.diffusivity.value)

    def initial(self):
        return self.amplitude * _bump(0.3)


def _bump(centre):
    return jnp.exp(-(((_GRID.coordinates[0] - centre) / 0.15) ** 2))


@pytest.fixture
def rod():
    return Rod(Positive.from_value(0.7), jnp.asarray(1.0))


def test_an_experiment_is_a_solve(rod):
    experiment = Experiment(_bump(0.3), _TIMES, _SENSORS, options={"rtol": 1e-8})
    expected = kp.solve(rod.equation(), _bump(0.3), _TIMES, observe=_SENSORS, rtol=1e-8)
    np.testing.assert_array_equal(experiment(rod), expected.value)
    solution = experiment.solve(rod)
    assert solution.stats.applications == expected.stats.applications
    np.testing.assert_array_equal(experiment(rod.equation()), expected.value)  # an equation is a model


def test_the_start_time_and_the_options_are_used(rod):
    later = Experiment(_bump(0.3), _TIMES + 5.0, _SENSORS, t0=5.0)
    now = Experiment(_bump(0.3), _TIMES, _SENSORS)
    np.testing.assert_allclose(later(rod), now(rod), rtol=1e-5)
    dense = Experiment(_bump(0.3), _TIMES, _SENSORS, options={"method": kp.Dense()})
    assert dense.solve(rod).stats.method == "Dense"
    np.testing.assert_allclose(dense(rod), now(rod), rtol=1e-5)


def test_several_experiments_are_the_single_ones_stacked(rod):
    initial = jnp.stack([_bump(0.3), _bump(0.6), _bump(0.8)])
    experiments = Experiments(Experiment(initial, _TIMES, _SENSORS))
    assert experiments.num_runs == 3
    together = experiments(rod)
    assert together.shape == (3, 2, 3)
    for index in range(3):
        np.testing.assert_allclose(together[index], experiments[index](rod), rtol=1e-12)
    assert experiments.solve(rod).stats.applications.shape == (3,)


def test_the_gradient_of_a_loss_of_experiments(rod):
    """Against central differences, in both unknowns: through the solve and through the initial state."""
    initial = jnp.stack([_bump(0.3), _bump(0.6)])
    several = Experiments(Experiment(initial, _TIMES, _SENSORS, options={"rtol": 1e-10}))
    single = Experiment(Rod.initial, _TIMES, _SENSORS, options={"rtol": 1e-10})

    def predict(model):
        return several(model), single(model)

    loss = LeastSquares(predict, jax.tree_util.tree_map(jnp.zeros_like, predict(rod)), 0.1)
    gradient = jax.grad(loss)(rod)
    value = eqx.filter_jit(loss)
    for where in (lambda m: m.diffusivity.raw, lambda m: m.amplitude):
        step = 1e-5
        up, down = (value(eqx.tree_at(where, rod, where(rod) + sign * step)) for sign in (1, -1))
        np.testing.assert_allclose(where(gradient), (up - down) / (2 * step), rtol=1e-6)


def test_new_data_and_models_do_not_recompile(rod):
    value = eqx.filter_jit(lambda loss, model: loss(model))
    experiment = Experiment(_bump(0.3), _TIMES, _SENSORS)
    losses = [LeastSquares(experiment, np.full((2, 3), level), 0.1 + level) for level in (0.0, 1.0)]
    value(losses[0], rod)
    other = eqx.tree_at(lambda m: m.amplitude, rod, jnp.asarray(2.0))
    assert value(losses[1], other) != value(losses[0], rod)
    assert value._cached._cache_size() == 1  # pyright: ignore[reportFunctionMemberAccess]


def test_waves_are_observed_by_their_displacement():
    grid = kp.Grid(shape=(16, 16), lower=(0.0, 0.0), upper=(1.0, 1.0))
    x, y = grid.coordinates
    pulse = jnp.asarray(np.exp(-((x - 0.5) ** 2 + (y - 0.4) ** 2) / 0.02))
    sensors = kp.Sensors(grid, np.array([[0.2, 0.3], [0.7, 0.7]]))
    experiment = Experiment(kp.WaveState(pulse, jnp.zeros_like(pulse)), [0.0, 0.2], sensors)
    prediction = experiment(kp.Wave(grid, 1.3))
    assert prediction.shape == (2, 2)
    assert relative_error(prediction[0], sensors.mv(pulse)) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [None, 1, 2, 3, 4])
def test_shots_in_batches_are_the_single_ones(batch_size):
    grid = kp.Grid(shape=(12, 10), lower=(0.0, 0.0), upper=(1.0, 1.0))
    wavelet = kp.Sampled(np.linspace(0.0, 0.3, 7), np.sin(np.arange(7.0)))
    positions = jnp.asarray([[0.2, 0.3], [0.5, 0.5], [0.8, 0.4]])
    shots = eqx.filter_vmap(lambda x: kp.PointSource(grid, x, wavelet))(positions)
    rest = kp.WaveState(*(jnp.zeros((3, *grid.shape)) for _ in range(2)))
    times = jnp.linspace(0.0, 0.4, 5)
    sensors = kp.Sensors(grid, np.array([[0.2, 0.3], [0.7, 0.7]]))
    experiments = Experiments(Experiment(rest, times, sensors, source=shots), batch_size=batch_size)
    beam = 0.3  # the equation's own, for every shot

    def loss(speed):
        return jnp.sum(experiments(kp.Wave(grid, speed, source=beam)) ** 2)

    def one(speed, x):
        posed = kp.Wave(grid, speed, source=[beam, kp.PointSource(grid, x, wavelet)])
        start = kp.WaveState(jnp.zeros(grid.shape), jnp.zeros(grid.shape))
        return jnp.sum(kp.solve(posed, start, times, observe=sensors).value ** 2)

    speed = jnp.asarray(np.random.default_rng(0).uniform(0.8, 1.2, grid.shape))
    value, gradient = jax.jit(jax.value_and_grad(loss))(speed)
    single = jax.jit(jax.value_and_grad(one))
    expected, exact = (sum(parts) for parts in zip(*(single(speed, x) for x in positions), strict=True))
    assert abs(value - expected) < 1e-9 * expected
    assert relative_error(gradient, exact) < 1e-9
    np.testing.assert_array_equal(experiments[1].source.position, positions[1])


@pytest.mark.bad_input
def test_bad_input(rod):
    with pytest.raises(ValueError, match="batch_size"):
        Experiments(Experiment(Rod.initial, _TIMES), batch_size=0)
    with pytest.raises(TypeError, match=r"kp\.PointSource"):
        Experiment(_bump(0.3), _TIMES, source=1.0)(rod)
    with pytest.raises(TypeError, match="The model is a Positive, which has no method `equation"):
        equation_of(rod.diffusivity)
    with pytest.raises(TypeError, match="must be the stacked initial states"):
        Experiments(Experiment(Rod.initial, _TIMES))
