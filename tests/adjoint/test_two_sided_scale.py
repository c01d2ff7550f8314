"""The scale of a loss and of a tangent must not matter."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import krylovpde as kp
from tests.adjoint.problems import TIMES, cotangent, point, self_adjoint
from tests.helpers import relative_error


@pytest.mark.slow
def test_the_gradient_does_not_depend_on_the_units_of_the_loss():
    p, v, _ = point("self-adjoint")

    @functools.partial(jax.jit, static_argnames=("rtol", "atol"))
    def gradient(factor, rtol, atol=0.0):
        def loss(p):
            value = kp.expm_multiply(self_adjoint(p), v, TIMES, rtol=rtol, atol=atol).value
            return factor * jnp.sum(cotangent(v) * value)

        return jax.grad(loss)(p)

    for options in ({"rtol": 1e-6}, {"rtol": 1e-6, "atol": 1e-4}):
        plain = gradient(1.0, **options)
        for factor in (1e-12, 1e9):
            assert relative_error(gradient(factor, **options) / factor, plain) < 1e-6
    # An absolute tolerance is in the units of the state: the cotangents of a loss in other units do not see it.
    assert relative_error(gradient(1e-12, rtol=1e-6, atol=1e-4) * 1e12, gradient(1.0, rtol=1e-9)) < 1e-3


@pytest.mark.slow
def test_a_parameter_far_from_the_data_has_a_tangent(key):
    # dA v is 1e-63 of dA u at the end: the size of a tangent cannot be told from its beginning.
    grid = kp.Grid(shape=(64,), lower=(0.0,), upper=(1.0,))
    x = np.asarray(grid.coordinates[0])
    v = jnp.asarray(np.exp(-(((x - 0.2) / 0.03) ** 2)))
    direction = jnp.asarray(np.where(x > 0.75, 1.0, 0.0)) * jax.random.normal(key, (64,))

    def slope(options, scale):
        def output(k):
            return kp.expm_multiply(kp.Diffusion(grid, k).operator(), v, 0.05, **options).value

        return jax.jit(lambda d: jax.jvp(output, (jnp.ones(64),), (d,))[1])(scale * direction)

    dense = slope({"method": kp.Dense()}, 1.0)
    assert relative_error(slope({"rtol": 1e-6}, 1.0), dense) <= 100 * 1e-6
    assert relative_error(slope({"rtol": 1e-6}, 1e-8) * 1e8, dense) <= 100 * 1e-6
