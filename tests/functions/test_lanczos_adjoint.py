"""The derivative of the Lanczos iteration beside the two-sided rule: why the second is used.

`<g, log(A) v>` for an operator of diffusion, in the direction of a rough change of its diffusivity.
"""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.functions import log_multiply
from tests.helpers import dense

GRID = kp.Grid((24,), (0.0,), (1.0,))
X = GRID.coordinates[0]


def operator_of(diffusivity):
    """`1 - div(k grad)`, positive definite."""
    identity = lx.IdentityLinearOperator(jax.ShapeDtypeStruct((24,), np.float64))
    return identity - kp.Diffusion(GRID, diffusivity).operator()


def iteration(diffusivity, vector, cotangent, steps):
    """`‖v‖ Q log(T) e_1` with Lanczos' own adjoint."""
    found = kp.lanczos(operator_of(diffusivity), vector, steps)
    off = jnp.diag(found.offdiagonal, 1)
    values, vectors = jnp.linalg.eigh(jnp.diag(found.diagonal) + off + off.T)
    return found.norm * jnp.vdot(cotangent, found.basis.T @ ((vectors * jnp.log(values)) @ vectors[0]))


def two_sided(diffusivity, vector, cotangent):
    return jnp.vdot(cotangent, log_multiply(operator_of(diffusivity), vector, rtol=1e-9).value)


def exact(diffusivity, vector, cotangent):
    matrix, half = dense(operator_of(diffusivity)), np.sqrt(GRID.cell_volumes)
    values, vectors = jnp.linalg.eigh(matrix * half[:, None] / half)
    return jnp.vdot(cotangent / half, (vectors * jnp.log(values)) @ (vectors.T @ (half * vector)))


@pytest.mark.parametrize("rough", [True, False])
def test_iteration_and_two_sided(rough, key):
    """Smooth data, here three modes: three steps know the value to all digits, and the derivative not at all."""
    keys = jax.random.split(key, 3)
    # Modes of the operator where the diffusivity is constant.
    vector, cotangent = (jnp.asarray(sum(np.cos(np.pi * k * X) for k in modes)) for modes in ((1, 2, 3), (1, 2, 4)))
    steps = 3
    if rough:
        vector, cotangent, steps = jax.random.normal(keys[0], (24,)), jax.random.normal(keys[1], (24,)), 24
    diffusivity = jnp.full((24,), 0.5)
    direction = jax.random.normal(keys[2], (24,))
    slope = jnp.vdot(direction, jax.jit(jax.grad(exact))(diffusivity, vector, cotangent))
    value = exact(diffusivity, vector, cotangent)
    by_iteration, found = jax.value_and_grad(iteration)(diffusivity, vector, cotangent, steps)
    assert by_iteration == pytest.approx(float(value), rel=1e-8)
    two = jnp.vdot(direction, jax.grad(two_sided)(diffusivity, vector, cotangent))
    assert two == pytest.approx(float(slope), rel=1e-6)
    error = abs(float(jnp.vdot(direction, found) - slope)) / abs(float(slope))
    assert error < 1e-6 if rough else error > 0.01
