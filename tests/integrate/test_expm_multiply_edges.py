"""A silent miss of expm_multiply that was found and closed."""

import jax.numpy as jnp
import lineax as lx
import numpy as np
import scipy.linalg

import krylovpde as kp

FACTOR = 10.0


def test_a_small_stiff_system_in_single_precision():
    # Arnoldi breaks down exactly, so its error estimate is zero: the rounding of exp(tH) is the error that is left.
    matrix = 1e5 * (np.roll(np.eye(16), 1, 0) - np.roll(np.eye(16), -1, 0)) / 2
    vector = np.random.default_rng(0).standard_normal(16)
    solution = kp.expm_multiply(
        lx.MatrixLinearOperator(jnp.asarray(matrix, jnp.float32)), jnp.asarray(vector, jnp.float32), 1.0, throw=False
    )
    reference = scipy.linalg.expm(matrix) @ vector
    error = np.linalg.norm(np.asarray(solution.value) - reference) / np.linalg.norm(vector)
    assert error <= FACTOR * 1e-4 or not bool(solution.result == kp.RESULTS.successful)
