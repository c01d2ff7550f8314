"""The rules for the weight agree with dense computations on a linear problem whose noise is known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
from scipy.optimize import brentq, minimize_scalar

import krylovpde as kp
from krylovpde.inverse import (
    GCV,
    AbstractLoss,
    Cooling,
    LCurve,
    LeastSquares,
    Scaled,
    Tikhonov,
    TotalVariation,
    choose_weight,
    starting_weight,
)

# optimistix mixes precisions and so fails under the strict rules that the rest of the tests run under.
pytestmark = pytest.mark.standard_promotion

_NUM_DATA, _NUM_UNKNOWNS, _NOISE = 60, 24, 0.02
_GRID = kp.Grid(shape=(_NUM_UNKNOWNS,), lower=(0.0,), upper=(1.0,))
_WEIGHTS = np.geomspace(1e-6, 1e2, 21)


class Model(eqx.Module):
    field: jax.Array
    label: str = "a string is not trainable"


def _blur() -> np.ndarray:
    """Averages of a field by Gaussians: smoothing, so that small singular values drown in the noise."""
    centres = np.linspace(0.0, 1.0, _NUM_DATA)[:, None]
    return np.exp(-0.5 * ((centres - np.asarray(_GRID.coordinates[0])) / 0.08) ** 2) / _NUM_UNKNOWNS


_MATRIX = _blur()
_TRUTH = np.sin(2 * np.pi * np.asarray(_GRID.coordinates[0])) + 2.0 * (np.asarray(_GRID.coordinates[0]) > 0.6)
_DATA = _MATRIX @ _TRUTH + _NOISE * np.random.default_rng(7).standard_normal(_NUM_DATA)
_START = Model(jnp.zeros(_NUM_UNKNOWNS))
_OPTIMISER = optx.LevenbergMarquardt(1e-12, 1e-12)


def _predict(model):
    return jnp.asarray(_MATRIX) @ model.field


def _field(model):
    return model.field


# The functions are named, so that all tests run the program compiled for the first.
_PENALTY = Tikhonov(_GRID, _field, 1.0)


def _data_loss(sigma=_NOISE):
    return LeastSquares(_predict, _DATA, np.broadcast_to(sigma, _DATA.shape))


class Dense:
    """The same problem by normal equations."""

    spacing = 1.0 / _NUM_UNKNOWNS
    jacobian = _MATRIX / _NOISE
    roughness = np.diff(np.eye(_NUM_UNKNOWNS), axis=0) / np.sqrt(spacing)

    def influence(self, weight):
        normal = self.jacobian.T @ self.jacobian + weight * self.roughness.T @ self.roughness
        return self.jacobian @ np.linalg.solve(normal, self.jacobian.T)

    def field(self, weight):
        normal = self.jacobian.T @ self.jacobian + weight * self.roughness.T @ self.roughness
        return np.linalg.solve(normal, self.jacobian.T @ (_DATA / _NOISE))

    def misfit(self, weight):
        return np.mean((self.jacobian @ self.field(weight) - _DATA / _NOISE) ** 2)

    def penalty(self, weight):
        return 0.5 * np.sum((self.roughness @ self.field(weight)) ** 2)

    def gcv(self, weight):
        return self.misfit(weight) / (1 - np.trace(self.influence(weight)) / _NUM_DATA) ** 2

    def curvature(self, log_weight, step=1e-3):
        points = [np.exp(log_weight + k * step) for k in (-1, 0, 1)]
        rho, eta = (np.log([f(w) for w in points]) for f in (self.misfit, self.penalty))
        r1, e1 = ((curve[2] - curve[0]) / (2 * step) for curve in (rho, eta))
        r2, e2 = (curve @ [1, -2, 1] / step**2 for curve in (rho, eta))
        return (r1 * e2 - r2 * e1) / np.hypot(r1, e1) ** 3


def _choose(rule, **options):
    options = {"tell": None, "max_iterations": 30} | options
    return choose_weight(options.pop("data", _data_loss()), _PENALTY, _START, _OPTIMISER, rule, **options)


def test_cooling_stops_at_the_first_weight_that_fits():
    result = _choose(Cooling(start=10.0, factor=0.2))
    expected = 10.0 * 0.2 ** np.arange(len(result.path))
    np.testing.assert_allclose(result.path.weight, expected, rtol=1e-12)
    np.testing.assert_allclose(result.path.misfit, [Dense().misfit(w) for w in expected], rtol=1e-6)
    np.testing.assert_allclose(result.path.penalty, [Dense().penalty(w) for w in expected], rtol=1e-5)
    assert result.path.misfit[-1] <= 1.0 < result.path.misfit[-2]
    assert result.weight == result.path[-1].weight
    np.testing.assert_allclose(result.model.field, Dense().field(result.weight), rtol=1e-5)
    assert not result.failed


@pytest.mark.parametrize("start", [10.0, 1e-5], ids=["from above", "from below"])
def test_refined_cooling_finds_the_discrepancy_weight(start):
    exact = np.exp(brentq(lambda x: Dense().misfit(np.exp(x)) - 1.0, np.log(1e-6), np.log(10.0)))
    result = _choose(Cooling(start, factor=0.1, tolerance=1e-5))
    assert abs(result.path.misfit[-1] - 1) <= 1e-5
    assert result.weight == pytest.approx(exact, rel=1e-3)
    assert len(result.path) < 20
    assert not result.failed


def test_cooling_says_when_the_target_cannot_be_reached():
    result = _choose(Cooling(start=1.0, factor=0.01, target=0.05, max_weights=4))
    assert result.failed
    assert len(result.path) == 4
    assert "above the target 0.05" in result.reason
    assert result.weight == result.path.weight[np.argmin(result.path.misfit)]


def test_cooling_says_when_it_starts_too_low():
    result = _choose(Cooling(start=1e-5))
    assert len(result.path) == 1
    assert "at the first weight already" in result.reason


def test_gcv_finds_the_minimum_of_its_function_and_the_noise():
    least = minimize_scalar(lambda x: np.log(Dense().gcv(np.exp(x))), bounds=np.log([1e-5, 10]), method="bounded")
    # Standard deviations that are wrong by four: the rule does not know the noise, and finds it.
    result = _choose(GCV(16 * _WEIGHTS), data=_data_loss(_NOISE / 4))
    np.testing.assert_allclose(result.path.criterion, [16 * Dense().gcv(w / 16) for w in result.path.weight], rtol=1e-5)
    assert result.weight / 16 == pytest.approx(np.exp(least.x), rel=0.05)
    assert np.sqrt(result.path.criterion[-1]) == pytest.approx(4.0, rel=0.15)
    errors = [np.linalg.norm(Dense().field(weight) - _TRUTH) for weight in np.geomspace(1e-4, 10.0, 51)]
    assert np.linalg.norm(result.model.field - _TRUTH) < 1.05 * min(errors)
    assert not result.failed


def test_random_probes_estimate_the_trace(key):
    probes = 64
    weights = np.geomspace(1e-4, 1.0, 5)
    result = _choose(GCV(weights, probes, key, rtol=1e-8))
    found = _NUM_DATA * (1 - np.sqrt(result.path.misfit / result.path.criterion))
    expected = np.array([np.trace(Dense().influence(w)) for w in result.path.weight])
    # The variance of zᵀ H z is at most 2 ‖H‖² <= 2 tr H.
    assert np.all(np.abs(found - expected) < 3 * np.sqrt(2 * expected / probes))
    assert not np.allclose(found, expected, rtol=1e-6)


def test_weights_without_a_trace_do_not_count(key):
    result = _choose(GCV(np.geomspace(1e-4, 1.0, 5), 64, key, rtol=1e-8, max_steps=1))
    assert result.failed
    assert np.all(np.isnan(result.path.criterion))
    assert "5 of 5 weights do not count: their conjugate gradients did not converge" in result.reason


def test_gcv_counts_data_that_are_there():
    sigma = np.where(np.arange(_NUM_DATA) % 3 == 0, np.inf, _NOISE)
    result = _choose(GCV(np.geomspace(1e-3, 1.0, 5)), data=_data_loss(sigma))
    kept = np.isfinite(sigma)
    jacobian, dense = _MATRIX[kept] / _NOISE, Dense()
    for weight, misfit, criterion in zip(result.path.weight, result.path.misfit, result.path.criterion, strict=True):
        normal = jacobian.T @ jacobian + weight * dense.roughness.T @ dense.roughness
        trace = np.trace(jacobian @ np.linalg.solve(normal, jacobian.T))
        assert criterion == pytest.approx(misfit / (1 - trace / kept.sum()) ** 2, rel=1e-6)


def test_the_corner_is_where_the_dense_curve_bends_most():
    logs = np.linspace(np.log(1e-2), np.log(10.0), 301)
    corner = np.exp(logs[np.argmax([Dense().curvature(x) for x in logs])])
    weights = np.geomspace(1e-3, 1e2, 21)
    result = _choose(LCurve(weights))
    assert result.weight == pytest.approx(corner, rel=0.05)
    assert result.weight not in weights
    assert not result.failed
    assert np.all(np.diff(result.path.weight[:-1]) < 0)


def test_an_end_of_the_weights_is_no_corner():
    result = _choose(LCurve(np.geomspace(1e2, 1e6, 7)))
    assert result.failed


def test_all_weights_run_one_program():
    traces = []

    def predict(model):
        traces.append(None)
        return _predict(model)

    def count(weights):
        traces.clear()
        data = LeastSquares(predict, _DATA, _NOISE)
        result = choose_weight(data, _PENALTY, _START, _OPTIMISER, LCurve(weights), tell=None, max_iterations=3)
        return len(traces), len(result.path)

    count(np.geomspace(1e-2, 1.0, 5))
    traced, fits = count(np.geomspace(1e-3, 1.0, 9))
    assert traced == fits  # `fit` looks at the shape of its loss each time


def test_the_starting_weight_balances_data_and_penalty(key):
    weight = starting_weight(_data_loss(), _PENALTY, _START, key=key)
    dense = Dense()
    _, vectors = np.linalg.eigh(dense.jacobian.T @ dense.jacobian)
    strongest = vectors[:, -1]
    expected = np.sum((dense.jacobian @ strongest) ** 2) / np.sum((dense.roughness @ strongest) ** 2)
    # A power of 4 separates the strongest directions only roughly, and the search does not ask for more.
    assert expected / 10 < weight < expected * 10
    doubled = starting_weight(_data_loss(2 * _NOISE), _PENALTY, _START, key=key)
    assert doubled == pytest.approx(weight / 4, rel=1e-6)
    assert Dense().misfit(weight) > 5.0  # the penalty rules: a start for cooling


def test_each_weight_is_told(capsys):
    told = []
    result = _choose(Cooling(start=1.0, factor=0.1), tell=told.append)
    assert tuple(told) == result.path.points
    assert len(str(result).splitlines()) == len(result.path) + 1
    assert "χ²/N" in str(result)
    _choose(Cooling(start=1e-4), tell=print)
    assert capsys.readouterr().out.startswith("weight 1.0000e-04")


def test_a_multiple_of_a_penalty():
    model = Model(jnp.asarray(_TRUTH))
    penalty = _PENALTY + Tikhonov(_GRID, lambda m: 3.0 * m.field, 1.0)
    for scaled in (2.5 * penalty, np.float64(2.5) * penalty, np.asarray(2.5) * penalty, jnp.asarray(2.5) * penalty):
        assert isinstance(scaled, Scaled)
        np.testing.assert_allclose(scaled(model), 2.5 * penalty(model), rtol=1e-14)
        squares = sum(np.sum(np.asarray(leaf) ** 2) for leaf in jax.tree_util.tree_leaves(scaled.residual(model)))
        np.testing.assert_allclose(0.5 * squares, scaled(model), rtol=1e-13)
    total = _data_loss() + 2.5 * penalty
    np.testing.assert_allclose(
        total.reduced_misfit(model, total(model)), _data_loss().reduced_misfit(model, _data_loss()(model)), rtol=1e-10
    )
    single = Model(model.field.astype(jnp.float32))
    assert (2.5 * _PENALTY)(single).dtype == jnp.float32


@pytest.mark.bad_input
def test_what_cannot_be_scaled():
    with pytest.raises(TypeError, match="what weighs data is their sigma"):
        _ = 2.0 * _data_loss()
    with pytest.raises(TypeError, match="LeastSquares compares with data"):
        _ = 2.0 * (_PENALTY + _data_loss())
    with pytest.raises(ValueError, match=r"factor must not be negative .* got -1"):
        _ = -1.0 * _PENALTY


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cooling(0.0), "start must be a positive weight, got 0"),
        (lambda: Cooling(1.0, factor=2.0), "factor must lie between 0 and 1, got 2"),
        (lambda: Cooling(1.0, target=-1.0), "target and tolerance must be positive"),
        (lambda: Cooling(1.0, max_weights=0), "max_weights must be at least 1"),
        (lambda: LCurve([1.0, 2.0]), "at least 5 different positive numbers"),
        (lambda: GCV([1.0, 2.0, 3.0, 4.0, -5.0]), "at least 5 different positive numbers"),
        (lambda: GCV(_WEIGHTS, probes=4), "need a number of at least 1 and a `key`"),
    ],
)
def test_rules_refuse_what_makes_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.bad_input
def test_the_entrance_refuses_what_makes_no_sense():
    class Slope(AbstractLoss):
        def __call__(self, model):
            return jnp.sum(model.field**2)

        def residual(self, model):
            return jnp.sqrt(2.0) * model.field

        def reduced_misfit(self, model, value):
            return None

    with pytest.raises(TypeError, match="rule must be Cooling"):
        _choose(Cooling)
    with pytest.raises(TypeError, match="penalty a function"):
        choose_weight(_data_loss(), _field, _START, _OPTIMISER, Cooling(1.0))
    with pytest.raises(ValueError, match="does not know its misfit"):
        _choose(Cooling(1.0), data=Slope())
    with pytest.raises(ValueError, match="a checkpoint belongs to one fit"):
        _choose(Cooling(1.0), checkpoint="fit.npz")
    with pytest.raises(ValueError, match="has no data"):
        _choose(GCV(_WEIGHTS), data=Slope())
    rough = TotalVariation(_GRID, _field, 1.0, edge=1.0)
    with pytest.raises(TypeError, match="TotalVariation is not a sum of squares"):
        choose_weight(_data_loss(), rough, _START, _OPTIMISER, GCV(_WEIGHTS), tell=None)
