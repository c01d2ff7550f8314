"""The report of residuals: its numbers are those of NumPy, and what it says of them is right."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.inverse import LeastSquares, Tikhonov, residual_report

_RUNS, _TIMES, _SENSORS = 3, 40, 4


class Offset(eqx.Module):
    offset: jax.Array


def _predict(model):
    t = jnp.linspace(0.0, 1.0, _TIMES)[None, :, None]
    return jnp.broadcast_to(jnp.sin(6.0 * t) + model.offset, (_RUNS, _TIMES, _SENSORS))


_MODEL = Offset(jnp.asarray(0.0))


def _noise(key, sigma=0.1, shape=(_RUNS, _TIMES, _SENSORS)):
    return sigma * np.asarray(jr.normal(key, shape))


@pytest.fixture
def loss(key):
    return LeastSquares(_predict, np.asarray(_predict(_MODEL)) - _noise(key), 0.1)


def test_the_truth_is_in_the_expected_range(loss, key):
    report = residual_report(loss, _MODEL)
    noise = _noise(key) / 0.1
    assert report.misfit == pytest.approx(np.mean(noise**2), rel=1e-10)
    assert report.num_data == _RUNS * _TIMES * _SENSORS
    low, high = report.expected
    assert low < 1 < high
    # Three standard deviations of χ²/N, nearly: its distribution is close to a normal one.
    assert high - 1 == pytest.approx(2.576 * np.sqrt(2 / report.num_data), rel=0.1)
    assert low < report.misfit < high
    assert "fitted as well as they are known" in report.verdict
    assert "alike" not in report.verdict


@pytest.mark.parametrize(("axis", "over"), [("sensor", (0, 1)), ("time", (0, 2)), ("run", (1, 2))])
def test_statistics_by_each_axis(loss, key, axis, over):
    summary = residual_report(loss, Offset(jnp.asarray(0.05))).by(axis)
    difference = _noise(key) + 0.05
    np.testing.assert_allclose(summary.misfit, np.mean((difference / 0.1) ** 2, axis=over), rtol=1e-10)
    np.testing.assert_allclose(summary.bias, np.mean(difference, axis=over), rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(summary.rms, np.sqrt(np.mean(difference**2, axis=over)), rtol=1e-10)
    np.testing.assert_allclose(summary.largest, np.max(np.abs(difference / 0.1), axis=over), rtol=1e-10)
    assert summary.label[1] == f"{axis} 1"
    assert np.all(summary.count == difference.size / len(summary.label))


def test_neighbours_in_time_are_compared(key):
    walk = np.cumsum(_noise(key), axis=1)
    report = residual_report(LeastSquares(_predict, np.asarray(_predict(_MODEL)) - walk, 0.1), _MODEL)
    first, second = walk[:, 1:], walk[:, :-1]
    products, squares = np.sum(first * second, axis=(0, 1)), 0.5 * np.sum(first**2 + second**2, axis=(0, 1))
    np.testing.assert_allclose(report.by("sensor").autocorrelation, products / squares, rtol=1e-10)
    assert np.all(np.isnan(report.by("time").autocorrelation))
    assert "neighbours in time are alike" in report.verdict
    assert "not explained" in report.verdict


def test_few_neighbours_say_nothing():
    loss = LeastSquares(lambda model: model.offset * jnp.ones((3, 2)), np.array([[1.0, -1.0]] * 3), 1.0)
    assert residual_report(loss, _MODEL).by("sensor").autocorrelation == pytest.approx([1.0, 1.0])
    assert "alike" not in residual_report(loss, _MODEL).verdict


def test_left_out_data_count_nowhere(key):
    data, sigma = np.asarray(_predict(_MODEL)) - _noise(key), np.full((_RUNS, _TIMES, _SENSORS), 0.1)
    data[:, :, 2] = np.nan
    sigma[:, :, 2] = np.inf
    data[0, 5, 0], sigma[0, 5, 0] = 1e6, np.inf
    report = residual_report(LeastSquares(_predict, data, sigma), _MODEL)
    summary = report.by("sensor")
    assert report.num_data == 3 * _RUNS * _TIMES - 1
    np.testing.assert_array_equal(summary.count, [119, 120, 0, 120])
    assert np.isnan(summary.misfit[2])
    assert np.isnan(summary.largest[2])
    assert summary.largest[0] < 5
    left = np.ones((_RUNS, _TIMES), bool)
    left[0, 5] = False
    assert summary.misfit[0] == pytest.approx(np.mean((_noise(key)[:, :, 0][left] / 0.1) ** 2))


def test_too_good_a_fit_is_told(loss):
    report = residual_report(eqx.tree_at(lambda tree: tree.sigma, loss, 0.2 * jnp.ones(loss.data.shape)), _MODEL)
    assert report.misfit < report.expected[0]
    assert "better than they are known" in report.verdict
    assert "sensor 3" in str(report)
    assert str(report).count("  low") == _SENSORS


def test_one_bad_sensor_is_marked(key):
    noise = _noise(key)
    noise[:, :, 1] *= 3
    report = residual_report(LeastSquares(_predict, np.asarray(_predict(_MODEL)) - noise, 0.1), _MODEL)
    marked = [line for line in report.table().splitlines() if line.endswith("high")]
    assert len(marked) == 1
    assert marked[0].startswith("sensor 1 ")


def test_fitted_parameters_lower_the_expected_range(loss):
    without, with_some = (residual_report(loss, _MODEL, num_parameters=p).expected for p in (0.0, 48.0))
    assert np.mean(with_some) == pytest.approx(0.9, abs=0.01)
    assert with_some[1] < without[1]


def test_terms_leaves_and_labels_have_names():
    def two(model):
        return {"a": _predict(model)[0], "b": _predict(model)[0, :, 0]}

    data = {"a": np.asarray(two(_MODEL)["a"]) - 0.5, "b": np.zeros(_TIMES)}
    loss = LeastSquares(two, data, {"a": 0.1, "b": 1.0})
    report = residual_report(loss, _MODEL, labels={"sensor": ["P1", "P2", "P3", "P4"]})
    assert [part.name for part in report.parts] == ["['a']", "['b']"]
    assert report.by("sensor").label[0] == "['a'] P1"
    assert len(report.by("time").label) == 2 * _TIMES
    np.testing.assert_allclose(report.by("sensor").misfit, 25.0)
    value = float(loss(_MODEL))
    assert report.misfit == pytest.approx(float(loss.reduced_misfit(_MODEL, jnp.asarray(value))), rel=1e-12)
    both = residual_report(loss + LeastSquares(two, data, {"a": 0.1, "b": 1.0}), _MODEL)
    assert len(both.parts) == 4
    assert both.parts[2].name == "term 1 ['a']"
    assert "more" in both.table("time")


def test_penalties_are_left_out_and_the_solve_is_done_once(loss):
    grid = kp.Grid(shape=(3,), lower=(0.0,), upper=(1.0,))
    penalty = Tikhonov(grid, lambda model: model.offset * jnp.ones(3), 1.0)
    calls = []

    def predict(model):
        calls.append(None)
        return _predict(model)

    counting = LeastSquares(predict, loss.data, 0.1)
    report = residual_report(counting + penalty, _MODEL)
    assert report.misfit == pytest.approx(residual_report(loss, _MODEL).misfit, rel=1e-14)
    assert len(calls) == 1


def test_complex_data_have_two_parts_each(key):
    noise = (_noise(key, shape=(_TIMES, 2, 2)) @ np.array([1, 1j])) / np.sqrt(2)
    loss = LeastSquares(lambda model: model.offset * jnp.ones((_TIMES, 2), complex), noise, 0.1)
    report = residual_report(loss, _MODEL)
    assert report.misfit == pytest.approx(np.mean(np.abs(noise / 0.1) ** 2))
    assert report.expected[1] - 1 == pytest.approx(2.576 * np.sqrt(1 / 80), rel=0.15)
    np.testing.assert_allclose(report.by("sensor").bias, np.abs(np.mean(-noise, axis=0)))


@pytest.mark.bad_input
def test_what_cannot_be_reported(loss):
    grid = kp.Grid(shape=(3,), lower=(0.0,), upper=(1.0,))
    with pytest.raises(TypeError, match="Tikhonov has no data"):
        residual_report(Tikhonov(grid, lambda model: model.offset, 1.0), _MODEL)
    with pytest.raises(ValueError, match=r"have 3 axes, but `axes` names \('time',\)"):
        residual_report(loss, _MODEL, axes=("time",))
    with pytest.raises(ValueError, match="none called 'shot'"):
        residual_report(loss, _MODEL).by("shot")
    with pytest.raises(ValueError, match="2 labels for the 4 entries of the axis 'sensor'"):
        residual_report(loss, _MODEL, labels={"sensor": ["a", "b"]}).by("sensor")
    four = LeastSquares(lambda model: model.offset * jnp.ones((2, 2, 2, 2)), np.zeros((2, 2, 2, 2)), 1.0)
    with pytest.raises(ValueError, match="have 4 axes, but none has a name"):
        residual_report(four, _MODEL)
