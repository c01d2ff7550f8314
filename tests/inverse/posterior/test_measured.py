"""Measured data: a very wide prior gives the standard errors, correlations and intervals of classical regressions."""

import os
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.inverse import (
    Gaussian,
    GaussNewton,
    LeastSquares,
    laplace_posterior,
    linearised_uncertainty,
    profile_likelihood,
)

_ROOT = Path(__file__).parents[3]
_DATA = Path(os.environ.get("KRYLOVPDE_DATA") or _ROOT.parent / "shared" / "data")


def _needs(*path):
    """Skips where a file of the measured data is not there."""
    return pytest.mark.skipif(not _DATA.joinpath(*path).is_file(), reason=f"no {path[-1]} in {_DATA.name}/")


@pytest.fixture
def _examples(monkeypatch):
    """The examples can be imported, as they import each other."""
    monkeypatch.syspath_prepend(str(_ROOT / "examples"))


def _regression(posterior):
    """Standard errors and correlations of the free numbers, with the noise's size from the residuals."""
    covariance = posterior.calibrated(prior=False).covariance
    errors = np.sqrt(np.diag(covariance))
    return errors, covariance / np.outer(errors, errors)


@pytest.mark.slow
@pytest.mark.usefixtures("_examples")
@_needs("column_tracer_cxtfit", "fig7_3a_step_breakthrough.csv")
def test_column_tracer(key):
    import column_tracer as example  # pyright: ignore[reportMissingImports]

    curves = example.read(_DATA)
    length = max(curves) + example.TAIL
    grid = kp.Grid((round(length / 0.08),), 0.0, length)
    for number, (depth, (times, measured)) in enumerate(curves.items()):
        column = example.Column(kp.Sensors(grid, list(curves)), jnp.asarray(number), jnp.asarray(times))
        classical = example.fit(column, depth, measured)
        best = jnp.asarray([classical.velocity, classical.dispersion])
        loss = LeastSquares(column, jnp.asarray(measured), 0.01)
        posterior = laplace_posterior(loss, Gaussian(lambda parameters: parameters, 1e3), best, rank=2, key=key)
        errors, correlation = _regression(posterior)
        np.testing.assert_allclose(errors, [classical.velocity_error, classical.dispersion_error], rtol=0.05)
        linearised = linearised_uncertainty(loss, best)
        np.testing.assert_allclose(errors, linearised.standard_errors, rtol=0.05)
        np.testing.assert_allclose(correlation, linearised.correlation, atol=0.05 * abs(linearised.correlation[0, 1]))
        print(f"depth {depth}: v ± {errors[0]:.5f}, D ± {errors[1]:.5f}, correlation {correlation[0, 1]:.4f}")


@pytest.mark.slow
@pytest.mark.usefixtures("_examples")
@_needs("pumping_tests", "piezometer_h30.txt")
def test_oude_korendijk(key):
    import pumping_tests as example  # pyright: ignore[reportMissingImports]

    test = example.KORENDIJK
    times, measured = example.read(_DATA, test)
    grid = kp.RadialGrid(np.geomspace(0.05, 2e4, 201))
    unknown = {letter: kp.inverse.Positive.from_value(value) for letter, value in test.start.items()}
    run = kp.inverse.Experiment(jnp.zeros(grid.shape), times, kp.Sensors(grid, [[r] for r in test.files]))
    aquifer = example.Aquifer(unknown, grid, test.discharge, test.thickness)
    classical = example.fit(run, measured, example.SIGMA, aquifer)
    loss = LeastSquares(run, measured, np.where(np.isnan(measured), np.inf, example.SIGMA))
    prior = Gaussian(lambda m: (m.unknown["S"].raw, m.unknown["k"].raw), 1e3)
    posterior = laplace_posterior(loss, prior, classical.model, rank=2, key=key)
    errors, correlation = _regression(posterior)
    # The example lists the unknowns as JAX sorts them, and its errors are those of logarithms.
    np.testing.assert_allclose(errors, classical.errors, rtol=0.05)
    np.testing.assert_allclose(correlation[0, 1], classical.correlations[0, 1], rtol=0.05)
    linearised = linearised_uncertainty(loss, classical.model)
    np.testing.assert_allclose(np.sqrt(np.diag(linearised.covariance)), errors, rtol=0.05)
    values = posterior.calibrated(prior=False).predict(lambda m: m.unknown["k"].value)
    np.testing.assert_allclose(values.standard_deviation, linearised.standard_errors.unknown["k"], rtol=0.05)
    away = float(values.standard_deviation) * np.array([-3, -2, -1, 1, 2, 3])
    profile = profile_likelihood(
        loss, classical.model, lambda m: m.unknown["k"], float(values.mean) + away, GaussNewton()
    )
    # Nearly a parabola: the profile's interval differs from the normal one by less than a tenth of its width.
    width = values.upper - values.lower
    np.testing.assert_allclose(profile.interval(), [values.lower, values.upper], atol=0.1 * float(width))
    print(f"k in [{values.lower:.2f}, {values.upper:.2f}], by its profile {profile.interval()}")
    print(f"S, k ± {100 * errors} %, correlation {correlation[0, 1]:.4f}, k {values.mean:.3f}")


@pytest.mark.slow
@pytest.mark.usefixtures("_examples")
@_needs("glacier_ice_temperature", "borehole_248_wide.csv")
def test_ice(key):
    import glacier as example  # pyright: ignore[reportMissingImports]

    ice, run, data = example.case(*example.read(_DATA, 3), 0.5, 0.1, ())
    only = eqx.tree_at(lambda ice: ice.diffusivity, jax.tree.map(lambda _: False, ice), replace=True)
    classical = example.fit(run, data, example.SIGMA, ice, trainable=only)
    loss = LeastSquares(run, data, example.SIGMA)
    prior = Gaussian(lambda ice: ice.diffusivity.raw, 10.0)
    posterior = laplace_posterior(loss, prior, classical.model, rank=1, key=key, trainable=only)
    found = posterior.calibrated(prior=False).predict(lambda ice: example.TO_SI * ice.diffusivity.value[0])
    value = example.TO_SI * float(classical.model.diffusivity.value[0])
    np.testing.assert_allclose(found.standard_deviation, value * classical.errors[0], rtol=0.05)
    assert 0.98 < float(found.lower) < float(found.mean) < float(found.upper) < 1.06
    profile = profile_likelihood(
        loss,
        classical.model,
        lambda ice: ice.diffusivity,
        (float(found.mean) + 2.5 * float(found.standard_deviation) * np.linspace(-1, 1, 5)) / example.TO_SI,
        GaussNewton(),
        trainable=only,
    )
    low, high = (example.TO_SI * end for end in profile.interval())
    np.testing.assert_allclose([low, high], [found.lower, found.upper], rtol=1e-3)
    print(f"diffusivity {found.mean:.4f} in [{found.lower:.4f}, {found.upper:.4f}], profile [{low:.4f}, {high:.4f}]")
