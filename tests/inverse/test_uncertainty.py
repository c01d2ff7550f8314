"""Standard errors at an estimate: textbook formulas, the delta method, limits, and what data do not determine."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.inverse import Box, LeastSquares, Positive, Tikhonov, linearised_uncertainty


class Line(eqx.Module):
    intercept: jax.Array
    slope: Positive
    curvature: Box

    def __call__(self):
        x = jnp.linspace(0.0, 1.0, 12)
        return self.intercept + self.slope.value * x + self.curvature.value * x**2


_X = np.linspace(0.0, 1.0, 12)
_BASIS = np.stack([np.ones(12), _X, _X**2], axis=1)


def _line(curvature=0.5):
    return Line(jnp.asarray(1.0), Positive.from_value(2.0), Box(curvature, -2.0, 2.0))


def _loss(key, sigma=0.1, noise=0.1):
    return LeastSquares(lambda model: model(), _line()() + noise * jr.normal(key, (12,)), sigma)


@pytest.mark.parametrize("known", [True, False])
def test_a_line_has_the_textbook_errors(known, key):
    loss = _loss(key)
    found = linearised_uncertainty(loss, _line(), known_sigma=known)
    variance = 1.0 if known else float(2 * loss(_line()) / (12 - 3))
    covariance = variance * 0.1**2 * np.linalg.inv(_BASIS.T @ _BASIS)
    errors = np.sqrt(np.diag(covariance))
    assert found.variance_factor == pytest.approx(variance)
    assert found.values.slope == pytest.approx(2.0)
    np.testing.assert_allclose(found.standard_errors.intercept, errors[0], rtol=1e-9)
    np.testing.assert_allclose(found.standard_errors.slope, errors[1], rtol=1e-9)
    np.testing.assert_allclose(found.standard_errors.curvature, errors[2], rtol=1e-9)
    np.testing.assert_allclose(found.correlation, covariance / np.outer(errors, errors), rtol=1e-9)
    # The logarithm's own variance is relative.
    assert found.covariance[1, 1] == pytest.approx(covariance[1, 1] / 2.0**2)
    assert found.names == ("intercept", "slope.raw", "curvature.raw")


def test_the_errors_are_those_of_repeated_experiments(key):
    """The scatter of the least-squares estimates over 2000 draws, and a sigma that is wrong by a factor of three."""
    draws = np.asarray(_line()() + 0.1 * jr.normal(key, (2000, 12)))
    estimates = draws @ np.linalg.pinv(_BASIS).T
    factors = [
        linearised_uncertainty(LeastSquares(lambda model: model(), draw, 0.3), _line()).standard_errors.slope
        for draw in draws[:8]
    ]
    assert np.sqrt(np.mean(np.square(factors))) == pytest.approx(estimates[:, 1].std(), rel=0.25)


def test_what_is_fixed_or_at_a_limit_has_no_error(key):
    free = jax.tree.map(eqx.is_inexact_array, _line())
    fixed = linearised_uncertainty(_loss(key), _line(), trainable=eqx.tree_at(lambda m: m.curvature.raw, free, False))
    assert fixed.standard_errors.curvature is None
    assert len(fixed.names) == 2
    held = linearised_uncertainty(_loss(key), _line(2.0), known_sigma=True)
    np.testing.assert_allclose(
        held.standard_errors.slope,
        linearised_uncertainty(
            _loss(key), _line(2.0), trainable=eqx.tree_at(lambda m: m.curvature.raw, free, False), known_sigma=True
        ).standard_errors.slope,
    )
    assert np.isnan(held.standard_errors.curvature)
    assert np.isnan(held.correlation[2]).all()
    assert np.isfinite(held.correlation[:2, :2]).all()


def test_a_penalty_adds_what_is_known_beforehand():
    """A field of 5 values seen through their mean alone: the penalty determines the rest, and it is no datum."""
    grid = kp.Grid((5,), 0.0, 1.0)
    loss = LeastSquares(lambda field: jnp.mean(field)[None], jnp.ones(1), 0.5) + Tikhonov(
        grid, lambda field: field, 4.0
    )
    found = linearised_uncertainty(loss, jnp.ones(5), known_sigma=True)
    assert found.standard_errors.shape == (5,)
    assert found.standard_errors[0] > found.standard_errors[2] > 0.5 - 1e-9
    with pytest.raises(ValueError, match=r"1 data for 5 parameters leave nothing"):
        linearised_uncertainty(loss, jnp.ones(5))


def test_what_data_do_not_determine_is_named():
    class Product(eqx.Module):
        a: jax.Array
        b: jax.Array
        c: jax.Array

    model = Product(jnp.asarray(2.0), jnp.asarray(3.0), jnp.asarray(1.0))
    loss = LeastSquares(lambda m: m.a * m.b + m.c * jnp.arange(4.0), jnp.zeros(4), 1.0)
    with pytest.raises(ValueError, match="a combination of a, b does not change the predictions"):
        linearised_uncertainty(loss, model)


def test_the_table_names_every_number(key):
    lines = linearised_uncertainty(_loss(key), _line()).table().splitlines()
    assert [line.split()[0] for line in lines] == [
        "intercept",
        "slope",
        "curvature",
        "correlation",
        "intercept",
        "slope.raw",
        "curvature.raw",
    ]
    assert "±" in lines[0]
