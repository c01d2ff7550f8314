"""Work and failures of the backward pass on a grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import krylovpde as kp


@pytest.mark.slow
def test_a_value_and_gradient_takes_three_times_the_applications_at_most():
    size = 64
    grid = kp.Grid(shape=(size,), lower=(0.0,), upper=(1.0,))
    x = np.asarray(grid.coordinates[0])
    v, g = jnp.asarray(np.exp(-(((x - 0.3) / 0.1) ** 2))), jnp.asarray(np.exp(-(((x - 0.6) / 0.1) ** 2)))
    velocity = (jnp.full(size, 20.0),)
    operators = [
        kp.Diffusion(grid, 1.0 + 0.5 * x).operator(),
        kp.AdvectionDiffusion(grid, 1.0 + 0.5 * x, velocity).operator(),
    ]
    for operator in operators:
        forward = kp.expm_multiply(operator, v, 0.01)
        backward = kp.pullback(operator, v, 0.01, g)
        total = int(backward.stats.applications) + int(backward.stats.transpose_applications)
        assert total <= 3 * int(forward.stats.applications)


@pytest.mark.slow
def test_a_backward_pass_that_alone_fails_is_told():
    # v is an eigenvector, whose space has one dimension; g is rough, and its space of three is not enough in one step.
    grid = kp.Grid(shape=(64,), lower=(0.0,), upper=(1.0,))
    x = np.asarray(grid.coordinates[0])
    k, v = jnp.ones(64), jnp.asarray(np.cos(np.pi * 3 * x))
    g = jnp.asarray(np.random.default_rng(0).standard_normal(64))
    options = {"method": kp.Lanczos(max_dimension=3), "max_steps": 1}
    t = 1.0

    def loss(k, throw):
        return jnp.sum(g * kp.expm_multiply(kp.Diffusion(grid, k).operator(), v, t, throw=throw, **options).value)

    solution = kp.pullback(kp.Diffusion(grid, k).operator(), v, t, g, throw=False, **options)
    value = kp.expm_multiply(kp.Diffusion(grid, k).operator(), v, t, throw=False, **options)
    assert value.result == kp.RESULTS.successful
    assert solution.result != kp.RESULTS.successful
    assert bool(jnp.all(jnp.isnan(jax.jit(jax.grad(lambda k: loss(k, False)))(k))))
    with pytest.raises(Exception, match="krylovpde"):
        jax.block_until_ready(jax.jit(jax.grad(lambda k: loss(k, True)))(k))
