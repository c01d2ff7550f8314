"""Edges of solve that once broke: mixed precision, derivatives of a failed solve."""

import jax
import jax.numpy as jnp

import krylovpde as kp
from tests.integrate.test_solve import KAPPA, LINE, START, loss_of


def test_a_wave_state_of_two_precisions():
    start = kp.WaveState(START.astype(jnp.float32), 0 * START)
    value = kp.solve(kp.Wave(LINE, 5.0), start, 0.1).value
    assert value.displacement.dtype == value.velocity.dtype


def test_a_failed_solve_has_a_finite_derivative():
    options = {"method": kp.Arnoldi(max_dimension=4), "max_steps": 2}

    def loss(k, times):
        return loss_of(kp.Diffusion(LINE, k), times, **options)

    value, gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(KAPPA, jnp.asarray([1e-4, 1.0]))
    assert bool(jnp.isinf(value))
    for leaf in gradient:
        assert bool(jnp.all(jnp.isfinite(leaf)))
