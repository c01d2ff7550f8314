"""Flows with sources from one Krylov space: the φ-functions of a dense matrix, values and derivatives."""

import functools as ft

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.integrate import LinearFlow
from tests.helpers import relative_error, variants

N = 12
FLOW = LinearFlow(kp.Arnoldi(), kp.TwoSidedAdjoint(), 1e-9, throw=True)


def _matrix(seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(N, N)) - 3.0 * np.eye(N)
    if np.issubdtype(dtype, np.complexfloating):
        matrix = matrix + 1j * rng.normal(size=(N, N))
    return matrix.astype(dtype)


def _vectors(seed, count, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return tuple((10.0 ** (2 - k) * rng.normal(size=N)).astype(dtype) for k in range(count))


def _dense(matrix, vectors, h):
    """`Σ_k h^k φ_k(hA) v_k` from one exponential of the matrix with all its sources, in double precision."""
    matrix, *vectors = (x.astype(np.result_type(x.dtype, np.float64)) for x in map(jnp.asarray, (matrix, *vectors)))
    sources = vectors[1:]
    whole = jnp.zeros((N + len(sources),) * 2, matrix.dtype)
    whole = whole.at[:N, :N].set(matrix).at[:N, N:].set(jnp.stack(sources, axis=1))
    whole = whole.at[N + np.arange(1, len(sources)), N + np.arange(len(sources) - 1)].set(1.0)
    start = jnp.concatenate([vectors[0], jnp.zeros(len(sources), matrix.dtype).at[0].set(1.0)])
    return (jax.scipy.linalg.expm(h * whole) @ start)[:N]


@eqx.filter_jit
def _flow(flow, matrix, vectors, h):
    return flow(lx.MatrixLinearOperator(matrix), vectors, h)[0]


@pytest.mark.parametrize("count", variants([2, 3, 5], slow=[3]))
@pytest.mark.parametrize("h", [0.3, 1e-6])
def test_the_combination_of_phi_functions(count, h):
    matrix, vectors = _matrix(0), _vectors(1, count)
    found = _flow(FLOW, jnp.asarray(matrix), tuple(map(jnp.asarray, vectors)), jnp.asarray(h))
    assert relative_error(found, _dense(matrix, vectors, h)) < 1e-8


@pytest.mark.parametrize("empty", [(0,), (1, 2), (0, 2), (0, 1, 2)])
def test_fields_and_sources_of_zero(empty):
    matrix = _matrix(0)
    vectors = tuple(0.0 * v if k in empty else v for k, v in enumerate(_vectors(1, 3)))
    found = _flow(FLOW, jnp.asarray(matrix), tuple(map(jnp.asarray, vectors)), jnp.asarray(0.3))
    exact = _dense(matrix, vectors, 0.3)
    assert np.linalg.norm(found - exact) <= 1e-8 * max(np.linalg.norm(exact), 1e-300)


def test_a_step_of_no_length():
    vectors = tuple(map(jnp.asarray, _vectors(1, 3)))
    assert relative_error(_flow(FLOW, jnp.asarray(_matrix(0)), vectors, jnp.asarray(0.0)), vectors[0]) < 1e-14


def test_complex_fields():
    matrix, vectors = _matrix(0, np.complex128), _vectors(1, 3, np.complex128)
    found = _flow(FLOW, jnp.asarray(matrix), tuple(map(jnp.asarray, vectors)), jnp.asarray(0.3))
    assert relative_error(found, _dense(matrix, vectors, 0.3)) < 1e-8


def test_single_precision():
    flow = LinearFlow(kp.Arnoldi(), kp.TwoSidedAdjoint(), 1e-4, throw=True)
    matrix, vectors = _matrix(0, np.float32), _vectors(1, 3, np.float32)
    found = _flow(flow, jnp.asarray(matrix), tuple(map(jnp.asarray, vectors)), jnp.asarray(0.3, jnp.float32))
    assert found.dtype == jnp.float32
    assert relative_error(found, _dense(matrix, vectors, 0.3)) < 1e-4


def _loss(function, matrix, vectors, h):
    return jnp.sum(jnp.asarray(np.cos(np.arange(N))) * function(matrix, vectors, h))


@pytest.mark.parametrize("empty", variants([False, True], quick=[False]), ids=["field", "no field"])
def test_gradients_in_everything(empty):
    vectors = _vectors(1, 4)
    arguments = jnp.asarray(_matrix(0)), (0.0 * vectors[0] if empty else vectors[0], *vectors[1:]), jnp.asarray(0.3)
    arguments = jax.tree.map(jnp.asarray, arguments)
    own, dense = (
        jax.jit(jax.grad(ft.partial(_loss, function), argnums=(0, 1, 2)))(*arguments)
        for function in (lambda *a: FLOW(lx.MatrixLinearOperator(a[0]), *a[1:])[0], _dense)
    )
    for found, exact in zip(jax.tree.leaves(own), jax.tree.leaves(dense), strict=True):
        assert relative_error(found, exact) < 1e-7


def test_forward_mode():
    vectors = tuple(map(jnp.asarray, _vectors(1, 4)))
    arguments = (jnp.asarray(_matrix(0)), vectors, jnp.asarray(0.3))
    along = jax.tree.map(lambda leaf: jnp.cos(1.0 + leaf), arguments)
    own, dense = (
        jax.jit(lambda a, d, f=function: jax.jvp(ft.partial(_loss, f), a, d)[1])(arguments, along)
        for function in (lambda *a: FLOW(lx.MatrixLinearOperator(a[0]), *a[1:])[0], _dense)
    )
    assert relative_error(own, dense) < 1e-7
