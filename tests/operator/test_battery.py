"""What every operator must do: transposes, tags, bounds, dtypes, transformations."""

import functools as ft

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

from krylovpde.operator import (
    TransposedOperator,
    is_self_adjoint,
    is_skew_adjoint,
    spectral_bound,
    weight,
)
from tests.helpers import random_like, relative_error, variants
from tests.operator.registry import LITTLE_NEW, OPERATORS, SQUARE


def _named(names):
    return pytest.mark.parametrize("name", variants(names, slow=[name for name in LITTLE_NEW if name in names]))


every_operator = _named(OPERATORS)
every_square_operator = _named(SQUARE)


# Compiled as a whole: operation by operation, each new shape would be compiled for each of them.
_apply = eqx.filter_jit(lambda operator, x: operator.mv(x))


_bound = eqx.filter_jit(spectral_bound)


@ft.cache
def _made(name, dtype):
    return OPERATORS[name](dtype)


@ft.cache
def _dense(name):
    return _matrix(_made(name, jnp.float64))


def _zeros(structure, dtype=None):
    return jax.tree.map(lambda s: jnp.zeros(s.shape, dtype or s.dtype), structure)


def _flat(tree):
    return jfu.ravel_pytree(tree)[0]


def _matrix(operator, dtype=jnp.float64):
    """Column by column through `mv`, jitted once."""
    flat, unravel = jfu.ravel_pytree(_zeros(operator.in_structure(), dtype))
    columns = eqx.filter_jit(jax.vmap(lambda e: _flat(operator.mv(unravel(e)))))(jnp.eye(flat.size, dtype=dtype))
    return np.asarray(columns).T


@every_operator
def test_structures_are_what_mv_takes_and_gives(name):
    operator = _made(name, jnp.float64)
    out = jax.eval_shape(operator.mv, _zeros(operator.in_structure()))
    assert eqx.tree_equal(out, operator.out_structure())


@every_operator
def test_transpose(name):
    operator = _made(name, jnp.float64)
    matrix = _dense(name)
    np.testing.assert_allclose(_matrix(operator.T), matrix.T, rtol=1e-12, atol=1e-12 * np.abs(matrix).max())
    np.testing.assert_allclose(
        _matrix(TransposedOperator(operator)), matrix.T, rtol=1e-12, atol=1e-12 * np.abs(matrix).max()
    )
    np.testing.assert_allclose(_matrix(operator.T.T), matrix, rtol=1e-12, atol=1e-12 * np.abs(matrix).max())


@every_operator
def test_matrix_and_lineax_functions(name):
    operator = _made(name, jnp.float64)
    matrix = _dense(name)
    tolerance = {"rtol": 1e-12, "atol": 1e-12 * np.abs(matrix).max()}

    @eqx.filter_jit
    def answers(op):
        matrices = [one.as_matrix() for one in (op, lx.linearise(op), lx.materialise(op), lx.conj(op))]
        return matrices, lx.diagonal(op)

    matrices, diagonal = answers(operator)
    for one in matrices:
        np.testing.assert_allclose(one, matrix, **tolerance)
    np.testing.assert_allclose(diagonal, np.diagonal(matrix), **tolerance)
    if lx.is_tridiagonal(operator):
        main, lower, upper = lx.tridiagonal(operator)
        np.testing.assert_allclose(np.diag(main) + np.diag(lower, -1) + np.diag(upper, 1), matrix, **tolerance)


@every_square_operator
def test_tags_are_true_in_the_weight(name):
    operator = _made(name, jnp.float64)
    for one in (operator, operator.T):
        told = one.weight if hasattr(one, "weight") else weight(one)
        flat = np.ones(one.in_size()) if told is None else np.asarray(_flat(jax.tree.map(jnp.asarray, told)))
        assert np.all(flat > 0)
        if is_self_adjoint(one) or is_skew_adjoint(one):
            product = flat[:, None] * _matrix(one)
            sign = 1.0 if is_self_adjoint(one) else -1.0
            np.testing.assert_allclose(product, sign * product.T, rtol=1e-12, atol=1e-12 * np.abs(product).max())


@every_square_operator
def test_bound_is_never_below_the_norm_in_the_weight(name):
    operator = _made(name, jnp.float64)
    bound, matrix = _bound(operator), _dense(name)
    assert bound.shape == ()
    radius = np.abs(np.linalg.eigvals(matrix)).max()
    assert bound >= radius * (1 - 1e-10)
    assert bound <= 8 * np.linalg.norm(matrix, 2) + 1e-12  # and not useless
    assert _bound(operator.T) == pytest.approx(float(bound), rel=1e-5)


@every_operator
def test_single_precision_stays_single(name):
    """Under x64 and strict promotion: nothing leaks in, whichever side decides."""
    single, double = _made(name, jnp.float32), _made(name, jnp.float64)
    x = random_like(jax.random.key(1), _zeros(double.in_structure()))
    x_single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), x)
    result = _apply(single, x_single)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(result))
    assert relative_error(result, _apply(double, x)) < 1e-5
    bound = _bound(single)
    assert bound is None or bound.dtype == jnp.float32
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(weight(single)))
    transposed = _apply(single.T, result)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(transposed))


# lineax's own operators hold scalars and structures of one dtype.
OURS = [name for name in OPERATORS if "sum" not in name and name != "annotated function"]


@_named(OURS)
def test_the_dtype_of_the_state_decides(name):
    operator = _made(name, jnp.float64)
    x = _zeros(operator.in_structure(), jnp.float32)
    result = jax.eval_shape(operator.mv, x)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(result))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(jax.eval_shape(operator.T.mv, result)))


@_named(OURS)
def test_real_operators_act_on_complex_states(name):
    operator = _made(name, jnp.float64)
    x = random_like(jax.random.key(2), _zeros(operator.in_structure(), jnp.complex128))
    matrix = _dense(name)
    expected = matrix @ np.asarray(_flat(x))
    y = _apply(operator, x)
    np.testing.assert_allclose(_flat(y), expected, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(_flat(_apply(operator.T, y)), matrix.T @ np.asarray(_flat(y)), rtol=1e-10, atol=1e-9)


@every_operator
def test_jit_with_the_operator_as_argument_and_vmap(name):
    operator = _made(name, jnp.float64)
    x = random_like(jax.random.key(3), _zeros(operator.in_structure()))
    plain = operator.mv(x)
    assert relative_error(_apply(operator, x), plain) < 1e-13
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, 2.0 * leaf]), x)
    doubled = jax.tree.map(lambda leaf: jnp.stack([leaf, 2.0 * leaf]), plain)
    assert (
        relative_error(eqx.filter_jit(lambda op, u: jax.vmap(lambda one: op.mv(one))(u))(operator, batch), doubled)
        < 1e-13
    )


@every_operator
def test_derivatives_in_the_parameters(name):
    """Forward = reverse = differences; linear in the parameters' direction only to first order."""
    operator = _made(name, jnp.float64)
    parameters, static = eqx.partition(operator, eqx.is_inexact_array)
    if not jax.tree.leaves(parameters):
        pytest.skip("has no parameters")
    x = random_like(jax.random.key(4), _zeros(operator.in_structure()))
    y = random_like(jax.random.key(5), _zeros(operator.out_structure()))

    @jax.jit
    def product(p):
        return jnp.vdot(_flat(y), _flat(eqx.combine(p, static).mv(x)))

    direction = random_like(jax.random.key(6), parameters)
    forward = jax.jit(lambda p, d: jax.jvp(product, (p,), (d,))[1])(parameters, direction)
    reverse = jnp.vdot(_flat(jax.jit(jax.grad(product))(parameters)), _flat(direction))
    step = 1e-5
    moved = [product(jax.tree.map(lambda p, d, s=s: p + s * d, parameters, direction)) for s in (step, -step)]
    difference = (moved[0] - moved[1]) / (2 * step)
    assert forward == pytest.approx(float(reverse), rel=1e-11)
    assert forward == pytest.approx(float(difference), rel=1e-6, abs=1e-7)


@every_operator
def test_operators_of_batched_parameters(name):
    operator = _made(name, jnp.float64)
    parameters, static = eqx.partition(operator, eqx.is_inexact_array)
    x = random_like(jax.random.key(7), _zeros(operator.in_structure()))
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, 3.0 * leaf]), parameters)
    if not jax.tree.leaves(parameters):
        pytest.skip("has no parameters")
    values = jax.jit(jax.vmap(lambda p: eqx.combine(p, static).mv(x)))(batch)
    expected = _apply(operator, x)
    assert relative_error(jax.tree.map(lambda leaf: leaf[0], values), expected) < 1e-13
