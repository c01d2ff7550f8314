"""The Taylor test passes right derivatives, and fails each kind of wrong one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from krylovpde.verify import taylor_test

_POINT = {"a": jnp.linspace(1.0, 2.0, 20), "b": jnp.asarray(0.7)}


def _scalar(point):
    return jnp.sum(jnp.sin(point["a"] * point["b"]) ** 2) + point["b"] ** 3


def _wrong_in_reverse(function, factor: float):
    """The same function with a gradient that is too large by a factor."""

    @jax.custom_vjp
    def wrapped(point):
        return function(point)

    def forward(point):
        return jax.vjp(function, point)

    def backward(pullback, cotangent):
        return jax.tree.map(lambda g: factor * g, pullback(cotangent))

    wrapped.defvjp(forward, backward)
    return wrapped


def _noisy(size: float):
    """A function that wiggles by `size` relative to its value, faster than any step: what a tolerance leaves."""

    def function(point):
        return _scalar(point) * (1 + size * jnp.sin(1e12 * jnp.sum(point["a"])))

    @jax.custom_vjp
    def wrapped(point):
        return function(point)

    wrapped.defvjp(lambda p: (function(p), p), lambda p, g: (jax.tree.map(lambda x: g * x, jax.grad(_scalar)(p)),))
    return wrapped


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_right_gradient_has_order_two(dtype, key):
    point = jax.tree.map(lambda x: x.astype(dtype), _POINT)
    report = taylor_test(_scalar, point, key=key)
    assert report.passed, str(report)
    assert 1.8 < report.order < 2.2
    assert report.steps.shape == report.remainders.shape == (report.orders.size + 1,)
    assert report.derivative_error < (1e-2 if dtype == jnp.float32 else 1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("factor", [0.0, -1.0, 0.9, 1.02])
def test_wrong_gradient_fails(factor, dtype, key):
    point = jax.tree.map(lambda x: x.astype(dtype), _POINT)
    report = taylor_test(_wrong_in_reverse(_scalar, factor), point, key=key)
    assert not report.passed, str(report)
    assert report.order < 1.8


def test_small_mistake_is_seen_down_to_the_accuracy_asked_for(key):
    slightly_wrong = _wrong_in_reverse(_scalar, 1 + 1e-5)
    assert not taylor_test(slightly_wrong, _POINT, key=key, rtol=1e-13).passed
    report = taylor_test(slightly_wrong, _POINT, key=key, rtol=1e-6)  # it cannot be seen, and the report says so
    assert report.passed
    assert report.derivative_error > 1e-5


def test_gradient_missing_one_leaf_fails(key):
    def blind(point):
        return _scalar({"a": point["a"], "b": jax.lax.stop_gradient(point["b"])})

    assert not taylor_test(blind, _POINT, key=key).passed


def test_function_known_to_a_tolerance_passes(key):
    report = taylor_test(_noisy(1e-8), _POINT, key=key)
    assert report.passed, str(report)
    assert report.floor == pytest.approx(1e-6 * float(_scalar(_POINT)), rel=1.0)
    assert not taylor_test(_noisy(1e-8), _POINT, key=key, rtol=1e-13).passed


def test_function_that_is_less_accurate_than_any_default_passes_above_its_noise(key):
    report = taylor_test(_noisy(1e-4), _POINT, key=key)
    assert report.passed, str(report)
    assert 1e-5 < report.floor / report.size < 1e-3
    assert report.derivative_error > 1e-4


def test_noise_does_not_hide_a_wrong_gradient(key):
    noisy = _noisy(1e-4)
    for size in (-0.3, 0.3):
        assert not taylor_test(
            lambda p, a=size: noisy(p) + a * jax.lax.stop_gradient(_scalar(p)), _POINT, key=key
        ).passed


def test_second_order(key):
    report = taylor_test(_scalar, _POINT, key=key, second_order=True)
    assert report.passed, str(report)
    assert report.expected_order == 3
    assert report.order > 2.8


def test_wrong_hessian_fails_though_the_gradient_is_right(key):
    @jax.custom_vjp
    def function(a):
        return jnp.sum(a**3)

    # right as a number, but only one of the two factors varies when it is differentiated again
    function.defvjp(lambda a: (function(a), a), lambda a, c: (3 * c * a * jax.lax.stop_gradient(a),))
    assert taylor_test(function, _POINT["a"], key=key).passed
    assert not taylor_test(function, _POINT["a"], key=key, second_order=True).passed


def test_pytree_outputs_test_forward_and_reverse(key):
    def function(point):
        return {"field": jnp.exp(point["a"]), "total": jnp.sum(point["a"]) * point["b"], "count": 3}

    report = taylor_test(function, _POINT, key=key)
    assert report.passed, str(report)
    assert report.adjoint_mismatch is not None
    assert report.adjoint_mismatch < 1e-13
    assert taylor_test(function, _POINT, key=key, second_order=True).passed


def test_pytree_outputs_with_a_wrong_transpose_fail(key):
    def derivative(tangent):
        # forward mode is right; the transpose of this linear map is made wrong by hand
        return jax.custom_derivatives.linear_call(lambda _, x: 2 * x, lambda _, y: 3 * y, (), tangent)

    @jax.custom_jvp
    def doubled(a):
        return 2 * a

    doubled.defjvp(lambda primals, tangents: (doubled(*primals), derivative(tangents[0])))
    report = taylor_test(lambda a: doubled(a) ** 2, _POINT["a"], key=key)
    assert not report.passed
    assert "reverse mode" in report.verdict


def test_complex_point(key):
    real, imaginary = jax.random.normal(key, (2, 10))
    report = taylor_test(lambda z: jnp.sum(jnp.abs(z**3 + 1j * z) ** 2), jax.lax.complex(real, imaginary), key=key)
    assert report.passed, str(report)
    assert report.order > 1.9


def test_linear_function_passes_without_an_order(key):
    report = taylor_test(lambda a: 3 * jnp.sum(a), _POINT["a"], key=key)
    assert report.passed
    assert np.isnan(report.order)


def test_function_that_hardly_changes_is_not_passed(key):
    report = taylor_test(lambda a: 1.0 + 1e-17 * jnp.sum(a**2), _POINT["a"], key=key)
    assert not report.passed
    assert "nothing could be measured" in report.verdict


def test_nan_does_not_pass(key):
    assert not taylor_test(lambda a: jnp.sum(jnp.log(-a)), _POINT["a"], key=key).passed


def test_modules_and_given_directions(key):
    class Model(eqx.Module):
        weight: jax.Array
        name: str = "static"
        count: int = 3

        def loss(self):
            return jnp.sum(self.weight**self.count)

    model = Model(jnp.asarray([1.0, 2.0]))
    report = taylor_test(Model.loss, model, key=key, direction=Model(jnp.asarray([1.0, 0.0])))
    assert report.passed
    step = report.steps[0]
    assert report.remainders[0] == pytest.approx((1 + step) ** 3 - 1 - 3 * step)


def test_table_is_readable(key):
    lines = str(taylor_test(_wrong_in_reverse(_scalar, 2.0), _POINT, key=key)).splitlines()
    assert lines[0].split() == ["step", "remainder", "order"]
    assert lines[-1].startswith("FAILED")
    assert len(lines) == 15


@pytest.mark.bad_input
def test_points_and_functions_without_arrays_are_refused(key):
    with pytest.raises(ValueError, match=r"`point` has no floating-point or complex array"):
        taylor_test(lambda n: n, jnp.arange(3), key=key)
    with pytest.raises(ValueError, match=r"`function` returned no floating-point or complex array"):
        taylor_test(lambda _: None, jnp.ones(3), key=key)
