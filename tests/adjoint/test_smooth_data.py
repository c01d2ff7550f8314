"""Smooth data, where derivatives through a Krylov iteration are wrong by any factor: ours are right to tolerance."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import krylovpde as kp
from tests.helpers import relative_error

from .problems import HEAT_TIME, heat_data, heat_operator, spectral_gradient


def heat(options, k):
    _, v, g = heat_data(k.dtype)
    return jnp.vdot(g, kp.expm_multiply(heat_operator(k), v, HEAT_TIME, **options).value)


@functools.cache
def heat_reference():
    k, v, g = heat_data()
    return spectral_gradient(lambda k, u: heat_operator(k).mv(u), k, v, g, HEAT_TIME)


def test_the_reference_is_the_derivative_of_the_dense_exponential():
    dense = jax.jit(jax.grad(functools.partial(heat, {"method": kp.Dense()})))(heat_data()[0])
    assert relative_error(heat_reference(), dense) < 1e-11


@pytest.mark.parametrize("rtol", [1e-8, *(pytest.param(rtol, marks=pytest.mark.slow) for rtol in (1e-4, 1e-6))])
def test_gradient_in_double_precision(rtol):
    gradient = jax.jit(jax.grad(functools.partial(heat, {"rtol": rtol})))(heat_data()[0])
    assert relative_error(gradient, heat_reference()) <= 20 * rtol


@pytest.mark.slow
def test_gradient_in_single_precision():
    gradient = jax.jit(jax.grad(functools.partial(heat, {"rtol": 1e-5})))(heat_data(np.float32)[0])
    assert gradient.dtype == jnp.float32
    assert relative_error(gradient, heat_reference()) <= 2e-4


@pytest.mark.slow
def test_gradient_by_arnoldi():
    options = {"rtol": 1e-6, "method": kp.Arnoldi()}
    gradient = jax.jit(jax.grad(functools.partial(heat, options)))(heat_data()[0])
    assert relative_error(gradient, heat_reference()) <= 20 * 1e-6


@pytest.mark.parametrize("family", [kp.Lanczos, pytest.param(kp.Arnoldi, marks=pytest.mark.slow)])
def test_the_iterations_own_adjoint_misses_it(family):
    # Its value is right to the tolerance and it is the exact derivative of the iteration. That is not enough.
    k, v, _ = heat_data()
    options = {"rtol": 1e-4, "method": family(max_dimension=25), "adjoint": kp.IterationAdjoint()}
    value, gradient = jax.jit(jax.value_and_grad(functools.partial(heat, options)))(k)
    dense = heat({"method": kp.Dense()}, k)
    assert abs(value - dense) <= 1e-4 * float(jnp.linalg.norm(v))
    assert relative_error(gradient, heat_reference()) > 0.1
    options["adjoint"] = kp.DirectAdjoint()
    direct_value, direct = jax.jit(jax.value_and_grad(functools.partial(heat, options)))(k)
    assert abs(value - direct_value) <= 1e-12 * abs(value)
    assert relative_error(gradient, direct) < 1e-3  # conditioning of the derivative, which is 1e3 times too large


@pytest.mark.parametrize("rtol", [pytest.param(1e-4, marks=pytest.mark.slow), 1e-6])
def test_forward_mode_in_a_rough_direction(rtol, key):
    k, _, _ = heat_data()
    direction = jax.random.normal(key, k.shape)

    def slope(options):
        def output(k):
            return kp.expm_multiply(heat_operator(k), heat_data()[1], HEAT_TIME, **options).value

        return jax.jit(lambda k, d: jax.jvp(output, (k,), (d,))[1])(k, direction)

    assert relative_error(slope({"rtol": rtol}), slope({"method": kp.Dense()})) <= 100 * rtol


@pytest.mark.slow
@pytest.mark.parametrize("rtol", [1e-6, pytest.param(1e-4, marks=pytest.mark.slow)])
def test_hessian_vector_product_in_a_rough_direction(rtol, key):
    k, _, _ = heat_data()
    direction = jax.random.normal(key, k.shape)

    def product(options):
        gradient = jax.grad(functools.partial(heat, options))
        return jax.jit(lambda k, d: jax.jvp(gradient, (k,), (d,))[1])(k, direction)

    assert relative_error(product({"rtol": rtol}), product({"method": kp.Dense()})) <= 100 * rtol
