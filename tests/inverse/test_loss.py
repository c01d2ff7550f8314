"""Losses: their value, residual, misfit, what is left out, and what is refused."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from krylovpde.inverse import AbstractLoss, LeastSquares, Total


class Line(eqx.Module):
    slope: jax.Array
    offset: jax.Array


_X = np.linspace(0.0, 1.0, 6)


def _predict(model):
    return model.slope * _X + model.offset


@pytest.fixture
def model():
    return Line(jnp.asarray(2.0), jnp.asarray(-1.0))


class Ridge(AbstractLoss):
    """½ weight slope²."""

    weight: float = eqx.field(static=True)

    def __call__(self, model):
        return 0.5 * self.weight * model.slope**2

    def residual(self, model):
        return jnp.sqrt(self.weight) * model.slope

    def reduced_misfit(self, model, value):
        return None


def test_value_is_half_the_weighted_sum_of_squares(model, key):
    data, sigma = jr.normal(key, (6,)), jnp.linspace(0.5, 2.0, 6)
    loss = LeastSquares(_predict, data, sigma)
    residual = (_predict(model) - data) / sigma
    np.testing.assert_allclose(loss.residual(model), residual, rtol=1e-14)
    np.testing.assert_allclose(loss(model), 0.5 * np.sum(np.asarray(residual) ** 2), rtol=1e-14)
    np.testing.assert_allclose(loss.reduced_misfit(model, loss(model)), np.mean(np.asarray(residual) ** 2), rtol=1e-14)


def test_gradient_is_that_of_the_normal_equations(model, key):
    data = jr.normal(key, (6,))
    gradient = jax.grad(LeastSquares(_predict, data, 0.1))(model)
    residual = (np.asarray(_predict(model)) - np.asarray(data)) / 0.1
    np.testing.assert_allclose(gradient.slope, np.sum(residual * _X) / 0.1, rtol=1e-12)
    np.testing.assert_allclose(gradient.offset, np.sum(residual) / 0.1, rtol=1e-12)


def test_misfit_of_the_truth_is_one(model, key):
    def many(m):
        return m.slope * jnp.ones(4000)

    data = many(model) + 0.3 * jr.normal(key, (4000,))
    loss = LeastSquares(many, data, 0.3)
    assert loss.reduced_misfit(model, loss(model)) == pytest.approx(1.0, abs=0.1)


def test_infinite_sigma_leaves_a_datum_out_even_if_it_is_nan(model):
    data = np.array(_predict(model)) + 1.0
    data[2] = np.nan
    sigma = np.full(6, 0.5)
    sigma[2] = np.inf
    loss = LeastSquares(_predict, data, sigma)
    assert loss.num_data == 5
    assert loss(model) == pytest.approx(0.5 * 5 * 4.0)
    assert loss.reduced_misfit(model, loss(model)) == pytest.approx(4.0)
    gradient = jax.grad(loss)(model)
    kept = np.delete(_X, 2)
    assert gradient.slope == pytest.approx(-4.0 * kept.sum())


def test_data_may_be_a_pytree_with_its_own_sigmas(model):
    def both(m):
        return {"line": _predict(m), "slope": m.slope}

    data = {"line": np.zeros(6), "slope": np.array(1.0)}
    loss = LeastSquares(both, data, {"line": 2.0, "slope": np.array(0.1)})
    expected = 0.5 * (np.sum((np.asarray(_predict(model)) / 2) ** 2) + 10.0**2)
    np.testing.assert_allclose(loss(model), expected, rtol=1e-14)
    assert loss.num_data == 7


def test_complex_predictions_count_their_modulus(model):
    loss = LeastSquares(lambda m: m.slope * jnp.exp(1j * _X), np.zeros(6, complex), 1.0)
    assert loss(model) == pytest.approx(0.5 * 6 * 4.0)
    assert not jnp.iscomplexobj(loss(model))


def test_the_prediction_decides_the_precision(model):
    single = jax.tree_util.tree_map(lambda leaf: leaf.astype(jnp.float32), model)
    loss = LeastSquares(lambda m: m.slope * jnp.ones(3, jnp.float32), np.zeros(3), 0.1)
    assert loss(single).dtype == jnp.float32
    assert LeastSquares(lambda m: m.slope * jnp.ones(3), np.zeros(3, int), 1)(model) == pytest.approx(6.0)


def test_losses_add(model):
    data = LeastSquares(_predict, np.zeros(6), 0.5)
    total = data + Ridge(3.0) + Ridge(1.0)
    assert isinstance(total, Total)
    assert len(total.terms) == 3
    np.testing.assert_allclose(total(model), data(model) + 0.5 * 4.0 * 4.0, rtol=1e-14)
    squares = sum(np.sum(np.asarray(leaf) ** 2) for leaf in jax.tree_util.tree_leaves(total.residual(model)))
    np.testing.assert_allclose(total(model), 0.5 * squares, rtol=1e-14)


def test_misfit_of_a_sum_is_that_of_its_data(model):
    data = LeastSquares(_predict, np.zeros(6), 0.5)
    total = data + Ridge(3.0)
    np.testing.assert_allclose(
        total.reduced_misfit(model, total(model)), data.reduced_misfit(model, data(model)), rtol=1e-12
    )
    assert (Ridge(3.0) + Ridge(1.0)).reduced_misfit(model, jnp.asarray(1.0)) is None


def test_a_loss_is_a_pytree_and_new_data_do_not_recompile(model):
    traces = []

    def predict(m):
        traces.append(None)
        return _predict(m)

    value = eqx.filter_jit(lambda loss, m: loss(m))
    first = value(LeastSquares(predict, np.zeros(6), 1.0), model)
    second = value(LeastSquares(predict, np.ones(6), 2.0), model)
    assert len(traces) == 1
    assert first != second


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("data", "sigma", "message"),
    [
        (np.zeros(6), 0.0, "sigma must be positive, but its least entry is 0"),
        (np.zeros(6), np.ones(5), r"sigma of shape \(5,\) does not broadcast to data of shape \(6,\)"),
        (np.full(6, np.nan), 1.0, "6 of 6 data are not finite"),
        (np.zeros(6), {"a": 1.0}, "sigma has the structure"),
    ],
)
def test_bad_data_are_refused(data, sigma, message):
    with pytest.raises(ValueError, match=message):
        LeastSquares(_predict, data, sigma)


@pytest.mark.bad_input
def test_predictions_of_another_shape_are_refused(model):
    with pytest.raises(ValueError, match=r"has the shape \(6,\) where data have \(1, 6\)"):
        LeastSquares(_predict, np.zeros((1, 6)), 1.0)(model)
    with pytest.raises(ValueError, match="has the structure"):
        LeastSquares(_predict, {"a": np.zeros(6)}, 1.0)(model)
