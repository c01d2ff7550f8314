"""The named problems: data from a finer grid, an honest account of their error, and a field that can be found."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import optax
import pytest

import krylovpde as kp
from problems import diffusivity_problem, wave_speed_problem
from problems._field_problem import interpolate
from problems.diffusivity import true_diffusivity
from problems.wave_speed import SPEED_LIMITS, true_speed
from tests.helpers import relative_error

_MAKE = {
    "wave speed": lambda **options: wave_speed_problem(
        24, num_shots=2, sensors_per_side=5, num_times=3, duration=0.3, **options
    ),
    "diffusivity": lambda **options: diffusivity_problem(
        16, spots_per_side=2, sensors_per_side=6, num_times=2, **options
    ),
}


@pytest.fixture(scope="module", params=_MAKE)
def problem(request):
    return _MAKE[request.param]()


def _true_model(problem):
    name = "speed" if hasattr(problem.start, "speed") else "diffusivity"
    return type(problem.start)(**{name: problem.truth, "grid": problem.grid})


def _rms(values):
    return float(jnp.sqrt(jnp.mean(values**2)))


def test_shapes_and_precision(problem):
    runs, times, sensors = problem.data.shape
    assert runs == len(problem.sources)
    assert sensors == len(problem.sensors)
    assert times == problem.experiments.experiment.times.size
    assert problem.data.dtype == jnp.result_type(float)
    assert problem.truth.shape == problem.grid.shape == problem.start.field.shape
    assert problem.finer_grid.shape == tuple(2 * n for n in problem.grid.shape)


def test_the_truth_misses_the_data_by_noise_and_mesh_error(problem):
    """The mesh error is estimated without the truth, and the sum of both is right within a factor of two."""
    missed = _rms(problem.forward(_true_model(problem)) - problem.data)
    assert 0.5 * float(problem.sigma) < missed < 2 * float(problem.sigma)
    assert float(problem.sigma) == pytest.approx(np.hypot(float(problem.noise), float(problem.mesh_error)), rel=1e-6)


@pytest.mark.slow
def test_the_loss_at_the_start_and_its_gradient(problem, key):
    """The start is worse than the error bars, and the loss falls against its gradient as fast as that says."""
    loss, start = problem.loss(), problem.start
    value_and_grad = eqx.filter_jit(eqx.filter_value_and_grad(lambda model: loss(model)))
    value, gradient = value_and_grad(start)
    assert loss.reduced_misfit(start, value) > 1.5
    assert 0.01 < float(problem.relative_error(start)) < 1.0
    direction = jtu.tree_map(lambda leaf: 0.1 * jr.normal(key, leaf.shape, leaf.dtype), start)
    slope = sum(float(jnp.sum(g * d)) for g, d in zip(*map(jtu.tree_leaves, (gradient, direction)), strict=True))
    up, down = (
        float(value_and_grad(jtu.tree_map(lambda p, d, step=step: p + step * d, start, direction))[0])
        for step in (1e-3, -1e-3)
    )
    assert slope == pytest.approx((up - down) / 2e-3, rel=1e-3)


def test_at_a_known_model_the_corrected_data_are_met_exactly():
    """Data of the finer grid plus the mesh error at the same model are the coarse grid's prediction of it."""
    problem = _MAKE["diffusivity"]()
    model = _true_model(problem)
    data = problem.finer(model.on(problem.finer_grid))
    problem = eqx.tree_at(lambda p: p.data, problem, data)
    assert _rms(problem.forward(model) - data) > 0.1 * float(problem.mesh_error)
    corrected = problem.corrected(model)
    target = data + corrected.correction
    assert _rms(problem.forward(model) - target) < 1e-12
    np.testing.assert_array_equal(corrected.loss().data, target)
    assert float(corrected.mesh_error) < 1e-12  # nothing is left, says the secant


def test_the_noise_comes_from_the_seed():
    first, again, other = (_MAKE["diffusivity"](seed=seed).data for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    quiet = _MAKE["diffusivity"](noise_level=0.0)
    noise = np.asarray(first - quiet.data)
    assert noise.std() == pytest.approx(float(_MAKE["diffusivity"]().noise), rel=0.15)


@pytest.mark.slow
@pytest.mark.standard_promotion
def test_a_few_iterations_bring_the_field_nearer():
    problem = _MAKE["diffusivity"]()
    result = kp.inverse.fit(
        problem.loss(), problem.start, optax.lbfgs(), stop=kp.inverse.Discrepancy(), max_iterations=10, progress=None
    )
    assert not result.failed
    assert result.history.misfit[-1] < 0.2 * result.history.misfit[0]
    assert problem.relative_error(result.model) < 0.8 * problem.relative_error(problem.start)


def test_the_true_fields_are_within_what_the_problems_say():
    grid = kp.Grid(shape=(64, 64), lower=(0.0, 0.0), upper=(1.0, 1.0))
    speed, diffusivity = true_speed(grid), true_diffusivity(grid)
    assert SPEED_LIMITS[0] < float(speed.min()) < 1.7
    assert 2.25 < float(speed.max()) < SPEED_LIMITS[1]
    assert 3 < float(diffusivity.max() / diffusivity.min()) < 10


def test_interpolation_between_grids_is_of_second_order():
    coarse, fine = (kp.Grid(shape=(n, n), lower=(0.0, 0.0), upper=(1.0, 1.0)) for n in (64, 128))
    assert relative_error(interpolate(true_speed(coarse), coarse, fine), true_speed(fine)) < 5e-3
