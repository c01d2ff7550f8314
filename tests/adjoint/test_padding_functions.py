"""Operators made of functions that pad: their zero is an array of the operator, which nobody may stumble over."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import krylovpde as kp
from tests.helpers import relative_error, variants

N = 9
VECTOR = jnp.asarray(np.cos(np.arange(N)))
SEEN = jnp.asarray(np.sin(1.0 + np.arange(N)))


def _operator(rates):
    def apply(u):
        return rates * (jnp.pad(u[1:], (0, 1)) - 2.0 * u + jnp.pad(u[:-1], (1, 0)))

    function = lx.FunctionLinearOperator(apply, jax.eval_shape(lambda: VECTOR))
    return kp.annotate(
        function, tags=kp.self_adjoint_tag, weight=1.0 / jax.lax.stop_gradient(rates), spectral_bound=8.0
    )


def _dense(rates):
    matrix = rates[:, None] * jnp.asarray(np.eye(N, k=1) - 2.0 * np.eye(N) + np.eye(N, k=-1))
    return jnp.vdot(SEEN, jax.scipy.linalg.expm(0.7 * matrix) @ VECTOR)


# Krylov's methods meet such a function, and its gradient, in the degenerate cases of the adjoints' battery.
@pytest.mark.parametrize(
    "method", variants([kp.Arnoldi(), kp.Lanczos(), kp.Chebyshev()], quick=[kp.Chebyshev()]), ids=lambda m: m.name
)
def test_gradients(method):
    rates = jnp.asarray(1.0 + 0.5 * np.cos(2.0 * np.arange(N)))

    def loss(rates):
        return jnp.vdot(SEEN, kp.expm_multiply(_operator(rates), VECTOR, 0.7, method=method, rtol=1e-9).value)

    assert relative_error(jax.jit(jax.grad(loss))(rates), jax.grad(_dense)(rates)) < 1e-7
