"""Mistakes that no error message tells of are found, and nothing else is."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix as optx
import pytest

import krylovpde as kp
from krylovpde.inverse import (
    Bounded,
    Experiment,
    InversionWarning,
    LeastSquares,
    Positive,
    Smoothed,
    Tikhonov,
    certify,
    value_of,
)

# optax mixes precisions and so fails under the strict rules that the rest of the tests run under.
pytestmark = pytest.mark.standard_promotion

_GRID = kp.Grid(shape=(16,), lower=(0.0,), upper=(1.0,))
_SENSORS = kp.Sensors(_GRID, np.array([[0.3], [0.7]]))
_TIMES = np.array([0.01, 0.02])


class Rod(eqx.Module):
    diffusivity: Positive | Bounded | Smoothed | jax.Array
    label: str = "rod"

    def equation(self):
        return kp.Diffusion(_GRID, value_of(self.diffusivity))


def _initial(dtype=float):
    return 20.0 + jnp.sin(3.0 * _GRID.coordinates[0]).astype(dtype)


_ROD = Rod(Positive.from_value(0.5 * jnp.ones(16)))


def _experiment(**options):
    return Experiment(_initial(options.pop("dtype", float)), _TIMES, _SENSORS, options=options)


def _loss(sigma, experiment=None):
    return LeastSquares(experiment or _experiment(), 20.0 * np.ones((2, 2)), sigma)


def _checks(findings):
    return [finding.check for finding in findings]


def _silent(*arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return certify(*arguments, **options)


def test_a_sound_inversion_passes():
    penalty = Tikhonov(_GRID, lambda model: model.diffusivity.value, 1.0)
    assert _silent(_loss(0.01) + penalty, _ROD, optax.adam(0.1)) == []
    assert _silent(lambda model: jnp.sum(model.diffusivity.raw**2), _ROD) == []


@pytest.mark.parametrize(
    ("sigma", "options", "needed"),
    [
        (1e-5, {}, "'rtol': 5e-08"),
        (1e-3, {"rtol": 1e-3}, "'rtol': 5e-06"),
        (1e-3, {"dtype": jnp.float32}, "'rtol': 5e-06"),
        (1e-6, {"dtype": jnp.float32}, "double precision"),
    ],
)
def test_a_tolerance_above_the_noise_is_found(sigma, options, needed):
    with pytest.warns(InversionWarning, match="tolerance: rtol = "):
        findings = certify(_loss(sigma, _experiment(**options)), _ROD)
    assert _checks(findings) == ["tolerance"]
    assert needed in findings[0].message


def test_a_tolerance_below_the_noise_is_not():
    assert _silent(_loss(1e-5, _experiment(rtol=1e-8)), _ROD) == []
    assert _silent(_loss(1e-2, _experiment(dtype=jnp.float32)), _ROD) == []


def test_left_out_data_have_no_say():
    sigma = np.array([[1e-9, 0.1], [0.1, np.inf]])
    assert _silent(LeastSquares(_experiment(), np.array([[20.0, 20.0], [20.0, np.nan]]), sigma), _ROD) == []
    sigma = np.array([[1e-9, np.inf], [np.inf, np.inf]])
    with pytest.warns(InversionWarning):
        certify(LeastSquares(_experiment(), 20.0 * np.ones((2, 2)), sigma), _ROD)


def test_each_array_of_data_is_looked_at():
    experiment = Experiment(_initial(), _TIMES, lambda _, u: {"all": u, "mean": jnp.mean(u)})
    data = {"all": 20.0 * np.ones((2, 16)), "mean": 20.0 * np.ones(2)}
    with pytest.warns(InversionWarning, match=r"at \['mean'\]"):
        findings = certify(LeastSquares(experiment, data, {"all": 0.1, "mean": 1e-6}), _ROD)
    assert len(findings) == 1


class Synthetic(eqx.Module):
    """A prediction with an experiment inside, which says on which grid its data were made."""

    experiment: Experiment

    def __call__(self, model):
        return self.experiment(model)


@pytest.mark.parametrize(("shape", "expected"), [((16,), ["inverse crime"]), ((32,), [])])
def test_data_from_the_same_grid_are_found(shape, expected):
    grid = kp.Grid(shape=shape, lower=(0.0,), upper=(1.0,))
    experiment = _experiment()
    experiment = Experiment(experiment.initial, _TIMES, _SENSORS, made_on=grid)
    if expected:
        with pytest.warns(InversionWarning, match="inverse crime: data were made on the inversion's own grid"):
            findings = certify(_loss(0.01, Synthetic(experiment)), _ROD)
    else:
        findings = _silent(_loss(0.01, experiment), _ROD)
    assert _checks(findings) == expected


_SPEED = Rod(jnp.full(16, 1500.0))


@pytest.mark.parametrize(
    "optimiser",
    [
        optax.adam(1e-3),
        optax.adamw(1e-3, weight_decay=0.0),
        optax.lion(1e-3),
        optax.rmsprop(1e-4),
        optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3)),
        optax.adam(optax.exponential_decay(0.1, 1, 0.9)),
    ],
    ids=["adam", "adamw", "lion", "rmsprop", "clipped", "decaying"],
)
def test_a_rate_that_moves_nothing_is_found(optimiser):
    with pytest.warns(InversionWarning, match=r"model\.diffusivity, of root mean square 1.5e\+03"):
        findings = certify(_loss(0.01), _SPEED, optimiser)
    assert _checks(findings) == ["rate"]
    assert findings[0].path == "model.diffusivity"


def test_the_suggested_rate_is_enough():
    with pytest.warns(InversionWarning, match=r"by at most 0.001 in an iteration and 0.1 in 100, 0.007 % of it"):
        (finding,) = certify(_loss(0.01), _SPEED, optax.adam(1e-3))
    factor = float(finding.message.split("learning rate ")[1].split(" times")[0])
    assert factor == pytest.approx(0.3 * 1500 / 0.1, rel=0.2)
    assert _silent(_loss(0.01), _SPEED, optax.adam(1e-3 * factor)) == []
    assert _silent(_loss(0.01), _SPEED, optax.adam(1e-3), max_iterations=20_000) == []


@pytest.mark.parametrize(
    "optimiser",
    [optax.sgd(1e-9), optax.sgd(1e-9, momentum=0.9), optax.lbfgs(), optax.polyak_sgd(), optx.BFGS(1e-3, 1e-3)],
    ids=["sgd", "momentum", "lbfgs", "polyak", "optimistix"],
)
def test_steps_that_depend_on_the_gradient_are_not_judged(optimiser):
    assert _silent(_loss(0.01), _SPEED, optimiser) == []


def test_each_parameter_is_judged_by_its_own_optimiser():
    rates = {"fast": optax.adam(100.0), "slow": optax.adam(1e-3), "plain": optax.sgd(1e-9)}
    model = {name: jnp.full(2, 1500.0) for name in rates}
    optimiser = optax.multi_transform(rates, {name: name for name in rates})
    with pytest.warns(InversionWarning, match="rate"):
        findings = certify(lambda model: model, model, optimiser)
    assert [finding.path for finding in findings] == ["model['slow']"]


def test_parametrisations_are_seen_through():
    adam = optax.adam(1e-3)
    # A step of 1e-3 of a logarithm is a per mille of any value.
    assert _silent(_loss(0.01), Rod(Positive.from_value(jnp.full(16, 1500.0))), adam) == []
    saturated = Rod(Bounded.from_value(jnp.full(16, 1500.0), 0.0, 1500.0 * (1 + 1e-7)))
    with pytest.warns(InversionWarning, match=r"model\.diffusivity"):
        certify(_loss(0.01), saturated, adam)


@pytest.mark.slow
def test_nested_parametrisations_are_seen_through():
    smoothed = Smoothed(Positive.from_value(jnp.full(16, 1500.0)), _GRID, 0.1)
    assert _silent(_loss(0.01), Rod(smoothed), optax.adam(1e-3)) == []


def test_only_free_parameters_with_a_scale_are_judged():
    adam = optax.adam(1e-3)
    assert _silent(_loss(0.01), Rod(jnp.zeros(16)), adam) == []
    model, free = {"speed": _SPEED.diffusivity, "gain": jnp.ones(2)}, {"speed": False, "gain": True}
    assert _silent(lambda m: m, model, adam, trainable=free) == []
    single = Rod(jnp.full(16, 1500.0, jnp.float32))
    with pytest.warns(InversionWarning, match="rate"):
        certify(_loss(0.01), single, optax.adam(1e-5))  # 1500 + 1e-5 is 1500 in single precision


@pytest.mark.parametrize(
    "parameter",
    [
        pytest.param(lambda: Positive.from_value(0.5 * jnp.ones(16)), id="positive"),
        pytest.param(lambda: Bounded.from_value(0.5 * jnp.ones(16), 0.1, 2.0), id="bounded", marks=pytest.mark.slow),
        pytest.param(
            lambda: Smoothed(Positive.from_value(0.5 * jnp.ones(16)), _GRID, 0.1),
            id="smoothed",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_taylor_test_takes_losses_and_models(parameter, key):
    penalty = Tikhonov(_GRID, lambda model: model.diffusivity.value, 1e-3)
    loss = _loss(0.1, _experiment(rtol=1e-9)) + 0.1 * penalty
    report = kp.verify.taylor_test(loss, Rod(parameter()), key=key)
    assert report.passed, str(report)
