"""Experiments hold their data: masks, standard deviations, synthetic data, and sets of unequal runs."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.inverse import Experiment, Experiments, ExperimentSet, LeastSquares
from tests.helpers import relative_error

_GRID = kp.Grid(shape=(12,), lower=(0.0,), upper=(1.0,))
_TIMES = np.array([0.01, 0.02, 0.05])
_OPTIONS = {"method": kp.Dense(), "rtol": 1e-10}  # quick to compile


class Rod(eqx.Module):
    """One diffusivity."""

    diffusivity: jax.Array

    def equation(self):
        return kp.Diffusion(_GRID, self.diffusivity)


@pytest.fixture
def rod():
    return Rod(jnp.asarray(0.7))


def _bump(centre):
    return jnp.exp(-(((_GRID.coordinates[0] - centre) / 0.15) ** 2))


def _run(centre, times, points, **rest):
    return Experiment(_bump(centre), np.asarray(times), kp.Sensors(_GRID, points), options=_OPTIONS, **rest)


def test_the_mask_is_folded_into_sigma():
    data = np.array([[1.0, np.nan], [2.0, 3.0], [4.0, 5.0]], np.float32)
    mask = np.array([[True, False], [True, True], [True, True]])
    run = _run(0.3, _TIMES, [0.2, 0.5], data=data, sigma=np.float32([0.1, 0.2]), mask=mask)
    found, sigma = run.measurements
    np.testing.assert_array_equal(found, data)
    np.testing.assert_array_equal(sigma, np.float32([[0.1, np.inf], [0.1, 0.2], [0.1, 0.2]]))
    assert sigma.dtype == found.dtype == jnp.float32
    _, ones = dataclasses.replace(run, sigma=None, mask=None).measurements
    np.testing.assert_array_equal(ones, np.ones((3, 2)))


def test_data_are_pytrees_too():
    tree = {"a": np.zeros((3, 2)), "b": np.zeros(3)}
    run = Experiment(_bump(0.3), _TIMES, data=tree, sigma={"a": 0.1, "b": 0.2}, mask=np.array(True))
    _, sigma = run.measurements
    np.testing.assert_array_equal(sigma["a"], np.full((3, 2), 0.1))
    np.testing.assert_array_equal(sigma["b"], np.full(3, 0.2))


def test_synthetic_data_have_the_noise_that_they_say(rod, key):
    points = np.linspace(0.0, 1.0, 40)
    run = _run(0.3, np.linspace(0.01, 0.2, 50), points)
    clean = run(rod)
    for arguments, expected in (
        ({"noise": 0.03}, 0.03),
        ({"fraction": 0.1}, 0.1 * float(jnp.sqrt(jnp.mean(clean**2)))),
    ):
        made = run.synthesise(rod, **arguments, key=key)
        data, sigma = made.measurements
        np.testing.assert_allclose(sigma, expected, rtol=1e-12)
        # 2000 numbers: their standard deviation is known to 1.6 % (one standard error), their mean to 2.2 %.
        assert float(jnp.std(data - clean)) == pytest.approx(expected, rel=0.06)
        assert abs(float(jnp.mean(data - clean))) < 0.08 * expected
        assert made.made_on == _GRID
    again = run.synthesise(rod, noise=0.03, key=key)
    np.testing.assert_array_equal(again.data, run.synthesise(rod, noise=0.03, key=key).data)
    assert not np.allclose(again.data, run.synthesise(rod, noise=0.03, key=jax.random.split(key)[0]).data)


def test_stacked_experiments_have_data_and_give_them_back(rod, key):
    states, sensors = jnp.stack([_bump(0.3), _bump(0.6)]), kp.Sensors(_GRID, [0.2, 0.5])
    stacked = Experiments(Experiment(states, _TIMES, sensors, options=_OPTIONS))
    made = stacked.synthesise(rod, noise=0.1, key=key)
    data, sigma = made.measurements
    assert data.shape == sigma.shape == (2, 3, 2)
    np.testing.assert_array_equal(made[1].data, data[1])
    assert made[1].made_on == made.experiment.made_on == _GRID
    np.testing.assert_array_equal(stacked.with_measurements_of(made).measurements[0], data)


def _unequal(with_data=True):
    """Times, starts, sensors and their numbers differ; the last observes an average, the one before whole states."""
    random = np.random.default_rng(0)
    runs = [
        _run(0.3, [0.01, 0.02, 0.05], [0.2, 0.5]),
        _run(0.6, [0.13], [0.9, 0.4, 0.1], t0=0.1),
        _run(0.8, [0.02, 0.03, 0.04, 0.1], [0.7]),
        Experiment(_bump(0.5), jnp.asarray([0.01, 0.04]), options=_OPTIONS),
        Experiment(_bump(0.2), jnp.asarray(0.03), kp.Averages.over_boxes(_GRID, [0.1], [0.4]), options=_OPTIONS),
    ]
    if not with_data:
        return runs
    shapes = [(3, 2), (1, 3), (4, 1), (2, 12), (1,)]
    return [run.with_data(random.normal(size=shape), 0.5) for run, shape in zip(runs, shapes, strict=True)]


@pytest.mark.parametrize("batch_size", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_a_set_of_unequal_runs_is_a_loop_over_them(rod, batch_size):
    runs = _unequal()
    runs[2] = dataclasses.replace(runs[2], mask=np.array([[True], [False], [True], [True]]))
    together = ExperimentSet(runs, batch_size=batch_size)
    assert len(together.groups) == 3  # the first three share a program
    assert together.num_runs == len(together) == 5
    data, sigma = together.measurements

    def loss(model):
        prediction = together(model)
        return LeastSquares(lambda _: prediction, data, sigma)(model), together.unpad(prediction)

    def looped(model):
        predictions = [run(model) for run in runs]
        losses = [
            LeastSquares(lambda _, p=p: p, *run.measurements)(model) for p, run in zip(predictions, runs, strict=True)
        ]
        return sum(losses), predictions

    (value, parts), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(rod)
    (expected, single), exact = jax.jit(jax.value_and_grad(looped, has_aux=True))(rod)
    np.testing.assert_allclose(value, expected, rtol=1e-10)
    np.testing.assert_allclose(gradient.diffusivity, exact.diffusivity, rtol=1e-8)
    for part, alone, measured in zip(parts, single, together.unpad(data), strict=True):
        assert part.shape == measured.shape
        assert relative_error(part, alone) < 1e-9
    assert float(LeastSquares(together, data, sigma).num_data) == sum(run.data.size for run in runs) - 1
    for number, run in enumerate(runs):
        back = together[number]
        np.testing.assert_array_equal(back.times, run.times)
        np.testing.assert_array_equal(back.data, run.data)
        np.testing.assert_array_equal(back.measurements[1], run.measurements[1])
        assert back.observe == run.observe
        assert float(back.t0) == run.t0


def test_equal_runs_share_what_is_the_same():
    runs = [_run(centre, _TIMES, [0.2, 0.5]) for centre in (0.3, 0.6, 0.7)]
    (group,) = ExperimentSet(runs).groups
    assert group.experiment.times.shape == (3,)
    assert jnp.shape(group.experiment.initial) == (3, 12)
    assert group.experiment.observe == runs[0].observe
    with pytest.raises(ValueError, match="have no data"):
        _ = ExperimentSet(runs).measurements


@pytest.mark.slow
def test_sources_may_differ_and_a_set_is_synthesised(rod, key):
    def run(strength, points, times):
        source = kp.Source(strength * _bump(0.5), 1.0)
        return Experiment(jnp.zeros(12), times, kp.Sensors(_GRID, points), source=source, options=_OPTIONS)

    runs = [run(1.0, [0.3], _TIMES), run(3.0, [0.3, 0.6], _TIMES[:2]), run(3.0, [0.3, 0.6], _TIMES[:2])]
    together = ExperimentSet(runs)
    (group,) = together.groups
    assert group.members == (0, 1, 2)
    clean = together.unpad(eqx.filter_jit(together)(rod))
    assert relative_error(clean[1], runs[1](rod)) < 1e-9
    assert relative_error(clean[0][:2], clean[1][:, :1] / 3) < 1e-9
    made = together.synthesise(rod, noise=1e-3, key=key)
    for number, exact in enumerate(clean):
        assert made[number].data.shape == exact.shape
        assert 0.0 < np.abs(made[number].data - exact).max() < 6e-3
        assert made[number].made_on == _GRID
    assert not np.allclose(made[1].data, made[2].data)  # replicates with noise of their own
    assert made.groups[0].measurements[0].shape == (3, 3, 2)
    again = together.with_measurements_of(made)
    np.testing.assert_array_equal(again.measurements[0][0], made.measurements[0][0])


@pytest.mark.bad_input
def test_bad_input(rod, key):
    good = _run(0.3, _TIMES, [0.2, 0.5])
    data = np.zeros((3, 2))
    with pytest.raises(ValueError, match="`sigma` but no `data`"):
        dataclasses.replace(good, sigma=0.1)
    with pytest.raises(ValueError, match=r"`mask` of shape \(4,\) does not broadcast to data of shape \(3, 2\)"):
        good.with_data(data, mask=np.ones(4, bool))
    with pytest.raises(ValueError, match="`sigma` must be positive, but its least entry is -1"):
        good.with_data(data, -1.0)
    with pytest.raises(TypeError, match="must be booleans"):
        good.with_data(data, mask=np.ones((3, 2)))
    with pytest.raises(ValueError, match="`sigma` must be one array or a pytree like the data"):
        good.with_data({"a": data}, {"b": 1.0})
    with pytest.raises(ValueError, match="has no data"):
        _ = good.measurements
    with pytest.raises(ValueError, match="either `noise`"):
        good.synthesise(rod, key=key)
    with pytest.raises(ValueError, match="must be positive, got 0"):
        good.synthesise(rod, noise=0.0, key=key)
    with pytest.raises(ValueError, match="at least one"):
        ExperimentSet([])
    with pytest.raises(TypeError, match="number 1 is a Rod"):
        ExperimentSet([good, rod])
    with pytest.raises(ValueError, match=r"experiments \[0\] have no data"):
        ExperimentSet([good, good.with_data(data)])
    with pytest.raises(ValueError, match=r"experiment 0 has data of shape \(2, 2\), but predicts \(3, 2\)"):
        ExperimentSet([good.with_data(data[:2])])
    with pytest.raises(ValueError, match="batch_size"):
        ExperimentSet([good], batch_size=0)
