"""Profile likelihoods: exact for a line, asymmetric for a curve, open where the data do not bound."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.stats import chi2

from krylovpde.inverse import (
    GaussNewton,
    InversionWarning,
    LeastSquares,
    Positive,
    fit,
    linearised_uncertainty,
    profile_likelihood,
)


class Line(eqx.Module):
    intercept: jax.Array
    slope: Positive

    def __call__(self):
        return self.intercept + self.slope.value * jnp.linspace(0.0, 1.0, 12)


_OPTIMISER = GaussNewton(rtol=1e-12)


@pytest.fixture(scope="module")
def line():
    """Loss and estimate."""
    data = Line(jnp.asarray(1.0), Positive.from_value(2.0))() + 0.1 * jr.normal(jr.key(4), (12,))
    loss = LeastSquares(lambda m: m(), data, 0.05)
    start = Line(jnp.asarray(0.5), Positive.from_value(1.0))
    return loss, fit(loss, start, _OPTIMISER, progress=None).model


@pytest.mark.parametrize("known", [True, False])
def test_a_line_has_the_intervals_of_its_standard_errors(known, line):
    loss, model = line
    errors = linearised_uncertainty(loss, model, known_sigma=known)
    slope, error = float(model.slope.value), float(errors.standard_errors.slope)
    values = slope + error * np.linspace(-3, 3, 7)
    found = profile_likelihood(loss, model, lambda m: m.slope, values[::-1], _OPTIMISER, known_sigma=known)
    np.testing.assert_allclose(found.values, values)
    # Linear in the slope and in the other number: the statistic is a parabola, and the estimate at its bottom.
    np.testing.assert_allclose(found.statistic, ((values - slope) / error) ** 2, atol=1e-5)
    for level in (0.68, 0.95):
        width = np.sqrt(chi2.ppf(level, 1)) * error
        np.testing.assert_allclose(found.interval(level), [slope - width, slope + width], rtol=1e-5)
    assert float(found.models[0].slope.value) == pytest.approx(values[0])
    assert float(found.models[0].intercept) > float(model.intercept)  # less slope is made good by a higher line


def test_a_side_that_the_data_do_not_bound_is_open():
    """`1 / (1 + x)` at large `x`: a sign, but no size."""
    loss = LeastSquares(lambda x: 1 / (1 + x) * jnp.ones(1), 0.05 * jnp.ones(1), 0.05)
    found = profile_likelihood(
        loss, jnp.asarray(19.0), lambda x: x, [2.0, 4.0, 8.0, 16.0, 30.0, 1e3, 1e6], None, known_sigma=True
    )
    low, high = found.interval()
    assert 2.0 < low < 8.0
    assert high == np.inf
    assert found.statistic[-1] == pytest.approx(1.0, rel=1e-3)


@pytest.mark.bad_input
def test_bad_input(line):
    loss, model = line
    with pytest.raises(ValueError, match="parameter must select one number, and values be finite"):
        profile_likelihood(loss, model, lambda m: m.slope, [np.nan], _OPTIMISER)
    with pytest.raises(ValueError, match=r"got a parameter of shape \(12,\)"):
        profile_likelihood(LeastSquares(lambda x: x, jnp.ones(12), 1.0), jnp.ones(12), lambda x: x, [1.0], _OPTIMISER)
    with pytest.raises(ValueError, match="whole parametrisation or leaf"):
        profile_likelihood(LeastSquares(lambda x: x, jnp.ones(12), 1.0), jnp.ones(12), lambda x: x[0], [1.0], None)
    with pytest.raises(ValueError, match="profile_likelihood: 1 data for 1 parameters"):
        profile_likelihood(LeastSquares(lambda x: x[None], jnp.ones(1), 1.0), jnp.ones(()), lambda x: x, [1.0], None)
    elsewhere = eqx.tree_at(lambda m: m.intercept, model, jnp.asarray(0.7))
    with pytest.warns(InversionWarning, match="the loss is below that of the estimate"):
        profile_likelihood(loss, elsewhere, lambda m: m.slope, [2.1], _OPTIMISER, known_sigma=True)
