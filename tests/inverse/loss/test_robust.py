"""Huber and Student's t: their measures, residuals that are smooth through zero, calibration, and what they are for."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optimistix as optx
import pytest
from scipy import stats

from krylovpde.inverse import Huber, LeastSquares, StudentT, fit
from tests.helpers import variants


def _identity(model):
    return model


def _huber_rho(r, k):
    return np.where(np.abs(r) <= k, r**2 / 2, k * np.abs(r) - k**2 / 2)


def _student_rho(r, nu):
    return 0.5 * (nu + 1) * np.log1p(r**2 / nu)


_CASES = [
    (lambda data, sigma: Huber(_identity, data, sigma, 1.345), lambda r: _huber_rho(r, 1.345)),
    (lambda data, sigma: StudentT(_identity, data, sigma, 4.0), lambda r: _student_rho(r, 4.0)),
]
_IDS = ["huber", "student"]


@pytest.mark.parametrize(("make", "rho"), _CASES, ids=_IDS)
def test_half_the_squared_residual_is_the_measure(make, rho, key):
    r = np.concatenate([np.linspace(-30, 30, 41), [1e-3, -1e-3, 0.1, 1e-9, 0.0]])
    sigma = np.linspace(0.5, 2.0, r.size)
    data = np.asarray(jr.normal(key, r.shape))
    loss, prediction = make(data, sigma), jnp.asarray(data + sigma * r)
    r = (np.asarray(prediction) - data) / sigma
    np.testing.assert_allclose(0.5 * np.asarray(loss.residual(prediction)) ** 2, rho(r), rtol=1e-12)
    np.testing.assert_array_equal(np.sign(loss.residual(prediction)), np.sign(r))
    np.testing.assert_allclose(loss(prediction), np.sum(rho(r)), rtol=1e-12)


@pytest.mark.parametrize(("make", "rho"), _CASES, ids=_IDS)
def test_first_and_second_derivatives_through_zero(make, rho):
    loss = make(np.zeros(()), 1.0)
    # 0.019 and 0.021 in r²/ν lie beside the end of the series, 1.3 and 1.4 beside Huber's threshold.
    points = np.array([0.0, 1e-8, 0.05, np.sqrt(4 * 0.019), np.sqrt(4 * 0.021), -0.3, 1.3, 1.4, 20.0])

    @jax.jit
    @jax.vmap
    def derivatives(r):
        return jax.grad(loss)(r), jax.grad(jax.grad(loss))(r), jax.grad(loss.residual)(r)

    slope, curvature, stretch = derivatives(jnp.asarray(points))
    at_zero = 1.0 if make is _CASES[0][0] else 5 / 4  # (nu + 1) / nu
    assert slope[0] == 0.0
    np.testing.assert_allclose([curvature[0], stretch[0]], [at_zero, np.sqrt(at_zero)], rtol=1e-14)
    step = 1e-4
    np.testing.assert_allclose(slope, (rho(points + step) - rho(points - step)) / (2 * step), rtol=1e-6, atol=1e-11)
    second = (rho(points + step) - 2 * rho(points) + rho(points - step)) / step**2
    np.testing.assert_allclose(curvature, second, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("make", "rho"), _CASES, ids=_IDS)
def test_left_out_data_reach_neither_value_nor_derivative(make, rho):
    data, sigma = np.array([0.0, np.nan, 1.0]), np.array([1.0, np.inf, 2.0])
    loss, model = make(data, sigma), jnp.asarray([0.5, 7.0, 9.0])
    assert loss.num_data == 2
    np.testing.assert_allclose(loss(model), rho(0.5) + rho(4.0), rtol=1e-12)
    gradient, curvature = jax.jit(lambda m: jax.jvp(jax.grad(loss), (m,), (jnp.ones(3),)))(model)
    assert bool(jnp.all(jnp.isfinite(gradient) & jnp.isfinite(curvature)))
    assert gradient[1] == curvature[1] == 0.0


def test_the_expected_values_are_those_of_the_noise(key):
    """Against integrals by quadrature, and the misfit of the truth is one."""
    huber = Huber(_identity, np.zeros(20000), 0.3)
    student = StudentT(_identity, np.zeros(20000), 0.3, dof=3.0)
    mean_huber = stats.norm.expect(lambda r: _huber_rho(r, 1.345))
    mean_student = stats.t(3.0).expect(lambda r: _student_rho(r, 3.0))
    np.testing.assert_allclose(huber.expected_value / 20000, mean_huber, rtol=1e-8)
    np.testing.assert_allclose(student.expected_value / 20000, mean_student, rtol=1e-6)
    gaussian = 0.3 * jr.normal(key, (20000,))
    heavy = 0.3 * jr.t(key, 3.0, (20000,))
    assert huber.reduced_misfit(gaussian, huber(gaussian)) == pytest.approx(1.0, abs=0.05)
    assert student.reduced_misfit(heavy, student(heavy)) == pytest.approx(1.0, abs=0.05)


def test_limits_are_least_squares(key):
    data = jr.normal(key, (30,))
    model = jnp.zeros(30)
    squares = LeastSquares(_identity, data, 1.0)
    np.testing.assert_allclose(Huber(_identity, data, 1.0, 100.0)(model), squares(model), rtol=1e-12)
    np.testing.assert_allclose(StudentT(_identity, data, 1.0, 1e9)(model), squares(model), rtol=1e-7)
    total = Huber(_identity, data, 1.0) + squares
    expected = total.terms[0].expected_value + 15.0
    np.testing.assert_allclose(total.reduced_misfit(model, total(model)), total(model) / expected, rtol=1e-12)


_ROBUST = [(_CASES[0][0], 0.25), (_CASES[1][0], 0.1)]


@pytest.mark.standard_promotion
@pytest.mark.parametrize(("make", "bias"), variants(_ROBUST, quick=_ROBUST[1:]), ids=_IDS)
def test_levenberg_marquardt_is_not_pulled_by_outliers(make, bias, key):
    noise = 0.1 * jr.normal(key, (50,))
    data = (2.0 + noise).at[:5].add(8.0)  # the mean of the data is off by 0.8

    def level(model):
        return model * jnp.ones(50)

    loss = type(make(data, 0.1))(level, data, 0.1)
    result = fit(loss, jnp.asarray(1.0), optx.LevenbergMarquardt(1e-9, 1e-9), max_iterations=50, progress=None)
    assert abs(jax.grad(loss)(result.model)) < 1e-5
    assert abs(result.model - 2.0) < bias * 0.8


@pytest.mark.parametrize("kind", [Huber, StudentT])
def test_single_precision_stays_single(kind):
    loss, model = kind(_identity, np.zeros(3), 0.1), jnp.asarray([0.0, 1e-3, 5.0], jnp.float32)
    value, gradient = jax.jit(jax.value_and_grad(loss))(model)
    assert value.dtype == gradient.dtype == jnp.float32
    assert bool(jnp.all(jnp.isfinite(gradient)))


def test_a_new_threshold_does_not_recompile():
    traces = []

    def predict(model):
        traces.append(None)
        return model

    value = jax.jit(lambda threshold, model: Huber(predict, jnp.zeros(3), 1.0, threshold)(model))
    first, second = value(1.0, 5 * jnp.ones(3)), value(2.0, 5 * jnp.ones(3))
    assert len(traces) == 1
    np.testing.assert_allclose([first, second], [3 * 4.5, 3 * 8.0])


@pytest.mark.bad_input
def test_bad_input():
    with pytest.raises(ValueError, match=r"`Huber\(threshold\)` must be one positive number, got 0"):
        Huber(_identity, np.zeros(3), 1.0, 0.0)
    with pytest.raises(ValueError, match=r"`StudentT\(dof\)` must be one positive number, got -1"):
        StudentT(_identity, np.zeros(3), 1.0, -1.0)
    with pytest.raises(TypeError, match="Huber is for real data"):
        Huber(_identity, np.zeros(3, complex), 1.0)
    with pytest.raises(ValueError, match=r"StudentT: predict\(model\) has the shape \(2,\)"):
        StudentT(_identity, np.zeros(3), 1.0)(jnp.zeros(2))
