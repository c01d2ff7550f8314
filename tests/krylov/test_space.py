"""The vector space of pytrees: against NumPy on the same numbers laid end to end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from krylovpde.krylov._space import (
    add,
    axpy,
    combine,
    inner,
    norm,
    normalise,
    project,
    row,
    scale,
    set_row,
    subtract,
    weighted,
    zeros_basis,
)
from tests.helpers import random_like, rounding, variants

STRUCTURE = {"a": (2, 3), "b": (4,), "c": ()}


def vectors(key, dtype, number):
    like = {name: jnp.zeros(shape, dtype) for name, shape in STRUCTURE.items()}
    return [random_like(k, like) for k in jax.random.split(key, number)]


def flat(x):
    return np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(x)])


DTYPES = [np.float32, np.float64, np.complex64, np.complex128]


@pytest.fixture(params=variants(DTYPES, quick=[np.float64, np.complex64]), ids=lambda dtype: dtype.__name__)
def dtype(request):
    return request.param


def test_inner_products(dtype, key):
    x, y, w = vectors(key, dtype, 3)
    weight = jax.tree.map(lambda leaf: jnp.abs(leaf).astype(np.float64) + 0.1, w)  # double, whatever the vectors are
    for m, mass in ((None, 1.0), (weight, flat(weight))):
        value, square = inner(x, y, m), norm(x, m)
        assert value.dtype == dtype
        assert square.dtype == jnp.finfo(dtype).dtype
        np.testing.assert_allclose(value, np.sum(flat(x).conj() * mass * flat(y)), atol=rounding(dtype, 10))
        np.testing.assert_allclose(square**2, np.sum(np.abs(flat(x)) ** 2 * mass), rtol=rounding(dtype))
    assert {leaf.dtype for leaf in jax.tree.leaves(weighted(x, weight))} == {np.dtype(dtype)}


def test_combinations_and_bases(dtype, key):
    x, y, z = vectors(key, dtype, 3)
    basis = zeros_basis(x, 4)
    for j, vector in enumerate((x, y, z)):
        basis = jax.jit(set_row)(basis, jnp.asarray(j), vector)
    np.testing.assert_array_equal(flat(row(basis, jnp.asarray(1))), flat(y))
    np.testing.assert_array_equal(flat(row(basis, 3)), 0.0)
    q = np.stack([flat(x), flat(y), flat(z)], axis=1)
    overlaps = project(basis, x)
    assert overlaps.shape == (4,)
    np.testing.assert_allclose(overlaps[:3], q.conj().T @ flat(x), rtol=rounding(dtype), atol=rounding(dtype))
    mixed = combine(basis, overlaps)
    assert {leaf.dtype for leaf in jax.tree.leaves(mixed)} == {np.dtype(dtype)}
    np.testing.assert_allclose(flat(mixed), q @ (q.conj().T @ flat(x)), atol=rounding(dtype, 20))
    np.testing.assert_allclose(flat(axpy(0.5, x, y)), 0.5 * flat(x) + flat(y), atol=rounding(dtype))
    np.testing.assert_allclose(flat(add(x, subtract(y, x))), flat(y), atol=rounding(dtype))


def test_precision_is_that_of_the_vector_and_complex_wins(key):
    (x,) = vectors(key, np.float32, 1)
    double = jnp.asarray(2.0, np.float64)
    for result in (scale(double, x), axpy(double, x, x), normalise(x, norm(x), jnp.asarray(True))):
        assert {leaf.dtype for leaf in jax.tree.leaves(result)} == {np.dtype(np.float32)}
    for result in (scale(1j, x), combine(zeros_basis(x, 2), jnp.asarray([1j, 2.0]))):
        assert {leaf.dtype for leaf in jax.tree.leaves(result)} == {np.dtype(np.complex64)}
    np.testing.assert_allclose(flat(scale(1j, x)), 1j * flat(x))


@pytest.mark.parametrize("size", [0.0, 1e-37, 1e-25, 1.0, 1e25, 1e37])
def test_norm_neither_overflows_nor_underflows(size):
    x = jnp.asarray([3.0 * size, 0.0, -4.0 * size], np.float32)
    np.testing.assert_allclose(float(norm(x)), 5.0 * size, rtol=1e-6)
    expected = [0.6, 0.0, -0.8] if size else [0.0, 0.0, 0.0]
    np.testing.assert_allclose(jax.grad(norm)(x), expected, rtol=1e-6)


def test_norm_tells_what_is_not_finite():
    assert np.isnan(norm(jnp.asarray([1.0, np.nan])))
    assert not np.isfinite(norm(jnp.asarray([1.0, np.inf])))


def test_normalise_of_a_dead_vector_is_zero_with_finite_derivative():
    def length(x):
        size = norm(x)
        return jnp.sum(normalise(x, size, size > 0.0))

    value, slope = jax.value_and_grad(length)(jnp.zeros(3))
    assert value == 0.0
    np.testing.assert_array_equal(slope, 0.0)


def test_norm_of_a_scaled_constant_zero_is_zero_under_jit():
    """XLA takes the scale of a constant zero out of the sum of squares; squared, it must not overflow."""
    zeros = np.zeros(8)
    for dtype in (jnp.float32, jnp.float64):
        scaled = jax.jit(lambda factor, dtype=dtype: norm((jnp.zeros(8, dtype), factor * zeros.astype(dtype))))
        assert scaled(jnp.asarray(2.0, dtype)) == 0
