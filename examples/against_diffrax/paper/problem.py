"""One draw of the work–precision study: coefficient, state, weights, and the exact value and gradient."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import krylovpde as kp

from .data import REFERENCE_STEPS, coefficient_field, initial_states, parts
from .methods import Solve, runge_kutta
from .precision import double
from .stencils import Case


class Draw(NamedTuple):
    """In NumPy, so that any precision can take it; `solution` and `gradient` in double precision."""

    coefficient: np.ndarray
    state: kp.WaveState
    weights: kp.WaveState
    solution: np.ndarray
    gradient: np.ndarray


def functional(solve: Solve, weights: kp.WaveState, coefficient: Array, state: kp.WaveState) -> tuple[Array, Any]:
    """`J = <w, solution>`, and the solution."""
    end = solve(coefficient**2, state)
    pairs = zip(parts(weights), parts(end), strict=True)
    return sum((jnp.vdot(w, x) for w, x in pairs), start=jnp.zeros((), coefficient.dtype)), end


def value_and_gradient(solve: Solve) -> Callable[..., Any]:
    """Compiled: `(weights, coefficient, state) -> ((J, solution), ∂J/∂p)`; new numbers do not compile again."""

    def both(weights: kp.WaveState, coefficient: Array, state: kp.WaveState) -> Any:
        return jax.value_and_grad(functional, argnums=2, has_aux=True)(solve, weights, coefficient, state)

    return jax.jit(both)


def draws(case: Case, seeds: list[int]) -> list[Draw]:
    """For each seed; the reference is Dopri8 with the steps of the targets, and its checkpointed adjoint."""
    steps = int(np.ceil(REFERENCE_STEPS * max(case.horizon, 1.0)))
    with double():
        exact = value_and_gradient(runge_kutta(case, "Dopri8", "checkpoints", steps).solve)
        return [_draw(case, seed, exact) for seed in seeds]


def _draw(case: Case, seed: int, exact: Callable[..., Any]) -> Draw:
    coefficient = coefficient_field(seed, case.size)
    state = kp.WaveState(*(x[0] for x in parts(initial_states(seed, 1, case.size))))
    rng = np.random.default_rng(seed)
    weights = kp.WaveState(*(rng.uniform(size=coefficient.shape) for _ in range(2)))
    (_, end), gradient = exact(*arguments((weights, coefficient, state), np.float64))
    return Draw(coefficient, state, weights, np.stack(parts(end)), np.asarray(gradient))


def arguments(values: Any, dtype: Any) -> Any:
    """As JAX arrays of one precision."""
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x), dtype), values)


def single(draw: Draw) -> tuple[kp.WaveState, Array, kp.WaveState]:
    """Weights, coefficient and state in single precision."""
    return arguments((draw.weights, draw.coefficient, draw.state), np.float32)


def errors(draw: Draw, outcome: Any) -> tuple[float, float]:
    """Relative errors of solution and gradient in the Euclidean norm."""
    (_, end), gradient = outcome
    found = np.stack(parts(end)).astype(np.float64)
    value = np.linalg.norm(found - draw.solution) / np.linalg.norm(draw.solution)
    return float(value), float(np.linalg.norm(np.asarray(gradient) - draw.gradient) / np.linalg.norm(draw.gradient))
