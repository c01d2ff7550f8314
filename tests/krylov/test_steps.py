"""The single steps that the adaptive loops are made of."""

import dataclasses
import functools as ft

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from krylovpde.krylov._arnoldi import arnoldi_start, arnoldi_step
from krylovpde.krylov._lanczos import lanczos_start, lanczos_step
from tests.helpers import relative_error, rounding

from .problems import DTYPES, random_arguments, times

every_dtype = pytest.mark.parametrize("dtype", list(DTYPES.values()), ids=list(DTYPES))


def structured(matrix, weight, sign):
    """Self-adjoint (sign 1) or skew-adjoint (sign -1) in the weight."""
    return (matrix + sign * matrix.conj().T) / weight.reshape(-1, 1).astype(matrix.dtype)


def run(step, state, number):
    return jax.jit(lambda state: jax.lax.fori_loop(0, number, lambda _, s: step(s), state))(state)


@every_dtype
@pytest.mark.parametrize("sign", [1, -1])
def test_lanczos_of_self_and_skew_adjoint_operators(dtype, sign):
    matrix, vector, weight = random_arguments(dtype, weighted=True)
    matrix = structured(matrix, weight, sign)
    state = run(
        ft.partial(lanczos_step, ft.partial(times, matrix), weight), lanczos_start(vector, weight, 4, sign=sign), 4
    )
    q, r = np.asarray(state.basis).reshape(4, -1).T, np.asarray(state.residual).ravel()
    small, mass = np.asarray(state.tridiagonal), np.diag(np.asarray(weight).ravel())
    accuracy = {"atol": rounding(np.float64, 10)}
    np.testing.assert_allclose(np.asarray(matrix) @ q - q @ small, np.outer(r, np.eye(4)[-1]), **accuracy)
    np.testing.assert_allclose(q.conj().T @ mass @ q, np.eye(4), **accuracy)
    np.testing.assert_allclose(small, sign * small.conj().T, **accuracy)
    np.testing.assert_allclose(state.residual_norm, np.sqrt((r.conj() @ mass @ r).real), **accuracy)
    assert state.diagonal.dtype == (np.float64 if sign == 1 else dtype)
    if sign == -1:
        assert np.all(np.real(state.diagonal) == 0.0)


@every_dtype
def test_exponential_of_a_skew_operator_keeps_the_norm(dtype):
    matrix, vector, weight = random_arguments(dtype, weighted=True)
    matrix = structured(matrix, weight, -1)
    state = run(
        ft.partial(lanczos_step, ft.partial(times, matrix), weight), lanczos_start(vector, weight, 6, sign=-1), 6
    )
    small = scipy.linalg.expm(np.asarray(state.tridiagonal))[:, 0] * float(state.lengths[0])
    exact = scipy.linalg.expm(np.asarray(matrix)) @ np.asarray(vector).ravel()
    np.testing.assert_allclose(small @ np.asarray(state.basis).reshape(6, -1), exact, atol=1e-10)
    np.testing.assert_allclose(np.linalg.norm(small), float(state.lengths[0]), rtol=1e-12)


def both_kinds():
    """(start, step, small matrix) of the two methods, on the same symmetric problem."""
    matrix, vector, weight = random_arguments(np.float64, weighted=True)
    mv = ft.partial(times, structured(matrix, weight, 1))
    return {
        "arnoldi": (
            lambda v, capacity: arnoldi_start(v, weight, capacity),
            ft.partial(arnoldi_step, mv, weight),
            lambda state: state.hessenberg,
        ),
        "lanczos": (
            lambda v, capacity: lanczos_start(v, weight, capacity),
            ft.partial(lanczos_step, mv, weight),
            lambda state: state.tridiagonal,
        ),
    }, vector


every_kind = pytest.mark.parametrize("kind", ["arnoldi", "lanczos"])


@every_kind
def test_nothing_changes_once_done(kind):
    """`f(H) e_1` of a buffer that is not full is that of the space so far, and further steps leave it so."""
    kinds, vector = both_kinds()
    start, step, small = kinds[kind]
    part = run(step, start(vector, 3), 3)
    state = run(step, start(vector, 6), 3)
    stopped = dataclasses.replace(state, done=jnp.asarray(True))
    after = run(step, stopped, 3)
    assert int(after.index) == 6
    assert int(after.dimension) == 3
    assert float(after.residual_norm) == float(state.residual_norm) > 0.0
    assert float(after.scale) == float(state.scale)
    for name in ("basis", "lengths"):
        np.testing.assert_array_equal(getattr(after, name)[:3], getattr(state, name)[:3])
        np.testing.assert_array_equal(getattr(after, name)[3:], 0.0)
    padded = scipy.linalg.expm(np.asarray(small(after)))[:, 0]
    np.testing.assert_allclose(padded[:3], scipy.linalg.expm(np.asarray(small(part)))[:, 0], rtol=1e-12)
    np.testing.assert_array_equal(padded[3:], 0.0)


@every_kind
def test_lanes_of_a_batch_end_by_themselves(kind):
    """Under `vmap` one lane is a zero vector, one is stopped from outside; the third goes on, and none copies rows."""
    kinds, vector = both_kinds()
    start, step, _ = kinds[kind]
    vectors = jnp.stack([0.0 * vector, vector, vector])

    def advance(index, states):
        states = jax.vmap(step)(states)
        return dataclasses.replace(states, done=states.done | ((index >= 1) & (jnp.arange(3) == 1)))

    states = jax.lax.fori_loop(0, 5, advance, jax.vmap(lambda v: start(v, 5))(vectors))
    np.testing.assert_array_equal(states.dimension, [0, 2, 5])
    alone = run(step, start(vector, 5), 5)
    assert relative_error(states.basis[2], alone.basis) < rounding(np.float64)
    assert relative_error(states.basis[1][:2], alone.basis[:2]) < rounding(np.float64)
    np.testing.assert_array_equal(states.basis[1][2:], 0.0)
    np.testing.assert_array_equal(states.basis[0], 0.0)


@every_kind
def test_a_breakdown_is_marked_and_final(kind):
    kinds, _ = both_kinds()
    start, step, small = kinds[kind]
    dense = np.stack([np.asarray(step_image(step, start, e)) for e in np.eye(6).reshape(6, 2, 3)], axis=1)
    eigenvector = jnp.asarray(np.linalg.eig(dense)[1][:, 0].real.reshape(2, 3))
    state = run(step, start(eigenvector, 4), 4)
    assert int(state.dimension) == 1
    assert bool(state.done)
    assert float(state.residual_norm) == 0.0
    np.testing.assert_array_equal(np.asarray(small(state))[1:], 0.0)


def step_image(step, start, unit):
    """`A e`, put together from one step: `norm (H_11 q + residual)`."""
    state = step(start(jnp.asarray(unit), 1))
    entry = state.coefficients[0, 0] if hasattr(state, "coefficients") else state.diagonal[0]
    return (state.lengths[0] * (entry * state.basis[0] + state.residual)).ravel()


@every_kind
def test_the_loop_updates_its_basis_in_place(kind):
    """A loop's workspace is a few vectors: XLA makes no second copy of the basis (it did, twice in every step)."""
    capacity, shape = 64, (32, 32)

    def loop(vector):
        mv = ft.partial(jnp.multiply, jnp.linspace(0.0, 1.0, 1024).reshape(shape))
        start = (arnoldi_start if kind == "arnoldi" else lanczos_start)(vector, None, capacity)
        step = ft.partial(arnoldi_step if kind == "arnoldi" else lanczos_step, mv, None)
        return jax.lax.fori_loop(0, capacity, lambda _, s: step(s), start)

    memory = jax.jit(loop).lower(jnp.ones(shape)).compile().memory_analysis()
    basis_bytes = 8 * capacity * 32 * 32
    assert memory.output_size_in_bytes > basis_bytes
    assert memory.temp_size_in_bytes < basis_bytes / 2
