"""The iterations as anyone would write them for JAX to differentiate: loops of fixed length, no rule of their own.

A `fori_loop` of known length is a `scan`, which JAX reverses by keeping every step's carry: here the basis, `m` times.
"""

import functools as ft
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Operator = Callable[[jax.Array], jax.Array]


def arnoldi_loop(apply: Operator, vector: jax.Array, num_steps: int, num_passes: int) -> tuple[jax.Array, ...]:
    """Basis (in rows), Hessenberg matrix and residual; `num_passes` of classical Gram–Schmidt in every step."""
    shape = (num_steps, vector.size)
    # One row and column more than asked for, so that the last subdiagonal entry needs no case of its own.
    state = (jnp.zeros(shape, vector.dtype), jnp.zeros((num_steps + 1, num_steps), vector.dtype), vector)
    state = (*state, jnp.linalg.norm(vector))
    basis, matrix, residual, _ = lax.fori_loop(0, num_steps, ft.partial(_arnoldi_step, apply, num_passes), state)
    return basis, matrix[:num_steps], residual


def _arnoldi_step(apply: Operator, num_passes: int, j: Any, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    basis, matrix, residual, length = state
    vector = residual / length
    basis = basis.at[j].set(vector)
    residual = apply(vector)
    column = jnp.zeros_like(basis[:, 0])
    for _ in range(num_passes):
        overlap = basis @ residual
        residual = residual - overlap @ basis
        column = column + overlap
    length = jnp.linalg.norm(residual)
    matrix = matrix.at[:-1, j].set(column).at[j + 1, j].set(length)
    return basis, matrix, residual, length


def lanczos_loop(apply: Operator, vector: jax.Array, num_steps: int) -> tuple[jax.Array, ...]:
    """Basis (in rows), diagonal, off-diagonal and residual of the three-term recurrence."""
    zeros = jnp.zeros((num_steps,), vector.dtype)
    basis = jnp.zeros((num_steps, vector.size), vector.dtype)
    state = (basis, zeros, zeros, jnp.zeros_like(vector), vector, jnp.linalg.norm(vector))
    basis, diagonal, lengths, _, residual, _ = lax.fori_loop(0, num_steps, ft.partial(_lanczos_step, apply), state)
    return basis, diagonal, lengths[1:], residual


def _lanczos_step(apply: Operator, j: Any, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    basis, diagonal, lengths, previous, residual, length = state
    vector = residual / length
    # Before the first vector there is none: `previous` is zero.
    residual = apply(vector) - length * previous
    alpha = vector @ residual
    residual = residual - alpha * vector
    state = basis.at[j].set(vector), diagonal.at[j].set(alpha), lengths.at[j].set(length)
    return *state, vector, residual, jnp.linalg.norm(residual)
