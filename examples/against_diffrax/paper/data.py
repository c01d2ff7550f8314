"""Random fields, and pairs of initial and final states."""

from typing import NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import softplus
from jaxtyping import Array

import krylovpde as kp

from .precision import double
from .stencils import Case

RANK = 32  # of the square root of the covariance, as published
REFERENCE_STEPS = 128  # of Dopri8 per unit of time, as published


class Data(NamedTuple):
    """In single precision: coefficient, `(pairs, size, size)` states at the start and at the end."""

    coefficient: Array
    start: kp.WaveState
    end: kp.WaveState

    def part(self, pairs: slice) -> "Data":
        """Some of the pairs."""
        start, end = (kp.WaveState(s.displacement[pairs], s.velocity[pairs]) for s in (self.start, self.end))
        return Data(self.coefficient, start, end)


def fields(key: Array, count: int, size: int, length_scale: float, variance: float) -> np.ndarray:
    """Gaussian random fields of an RBF covariance, sampled in double precision; the numbers in single."""
    nodes = np.linspace(0.0, 1.0, size)
    with double():
        noise = jax.random.normal(key, (count, size, size), jnp.float64)
        covariance = kp.functions.RBFCovariance((nodes, nodes), length_scale, variance)

        def sample(noise: Array) -> Array:
            # A fixed rank: what is not reached stays out of the field. The estimate is 3e-4 to 8e-3 of its length.
            return kp.functions.sqrt_multiply(covariance, noise, max_dimension=RANK, rtol=1e-10, throw=False).value

        return np.asarray(jax.lax.map(sample, noise)).astype(np.float32)


def coefficient_field(seed: int, size: int) -> np.ndarray:
    """Their `p`: of either sign, about 0.007."""
    return fields(jax.random.key(seed), 1, size, float(softplus(-0.75)), float(softplus(-10.0)))[0]


def initial_states(seed: int, count: int, size: int) -> kp.WaveState:
    """Independent fields for displacement and velocity."""
    both = fields(jax.random.key(1000 + seed), 2 * count, size, float(softplus(0.0)), float(softplus(0.0)))
    return kp.WaveState(both[:count], both[count:])


def make_data(case: Case, seed: int, pairs: int) -> Data:
    """Coefficient, starts, and targets by Dopri8 in double precision."""
    coefficient = coefficient_field(seed, case.size)
    start = initial_states(seed, pairs, case.size)
    with double():
        p = jnp.asarray(coefficient, jnp.float64)
        solve = jax.jit(lambda state: reference_solve(case, p, state))
        ends = [solve(kp.WaveState(*(jnp.asarray(x[i], jnp.float64) for x in parts(start)))) for i in range(pairs)]
        stacked = [np.stack([np.asarray(parts(end)[k], np.float32) for end in ends]) for k in range(2)]
    single = [jnp.asarray(x, jnp.float32) for x in (coefficient, *parts(start), *stacked)]
    return Data(single[0], kp.WaveState(*single[1:3]), kp.WaveState(*single[3:]))


def reference_solve(case: Case, coefficient: Array, state: kp.WaveState) -> kp.WaveState:
    """Dopri8 in fixed steps, in the precision of its arguments."""
    steps = int(np.ceil(REFERENCE_STEPS * max(case.horizon, 1.0)))
    zero, end = (jnp.asarray(t, coefficient.dtype) for t in (0.0, case.horizon))
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, u, squared: case.equation(squared).vector_field(t, u)),
        diffrax.Dopri8(),
        zero,
        end,
        end / steps,
        state,
        args=coefficient**2,
        max_steps=steps + 2,
    )
    return jax.tree.map(lambda leaf: leaf[0], solution.ys)


def parts(state: kp.WaveState) -> tuple[Array, Array]:
    """Displacement and velocity."""
    return state.displacement, state.velocity
