"""Limits as part of a model: where they are found, what they refuse, and that they are structure."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from krylovpde.inverse import Box, bounds_of


class Exponential(eqx.Module):
    """A parameter around a parameter."""

    raw: Box

    @property
    def value(self):
        return jnp.exp(self.raw.value)


class Model(eqx.Module):
    rate: Exponential
    field: Box
    offset: jax.Array
    label: str = "tracer"


def _model():
    field = Box(jnp.zeros((2, 3)), np.array([[-1.0], [-2.0]]), np.inf)
    return Model(Exponential(Box(0.5, -1.0, 2.0)), field, jnp.zeros(4, jnp.float32))


def test_bounds_are_like_the_numbers_of_the_model():
    model = _model()
    lower, upper = bounds_of(model)
    arrays = eqx.filter(model, eqx.is_inexact_array)
    for side in (lower, upper):
        assert jax.tree.structure(side) == jax.tree.structure(arrays)
        assert jax.tree.map(lambda a: (a.shape, a.dtype), side) == jax.tree.map(lambda a: (a.shape, a.dtype), arrays)
    assert (lower.rate.raw.raw, upper.rate.raw.raw) == (-1.0, 2.0)
    np.testing.assert_array_equal(lower.field.raw, [[-1.0] * 3, [-2.0] * 3])
    assert np.all(np.isposinf(upper.field.raw))
    assert np.all(np.isneginf(lower.offset))


def test_only_the_numbers_are_differentiated():
    gradient = jax.grad(lambda box: jnp.sum(box.value**2))(_model().field)
    assert len(jax.tree.leaves(gradient)) == 1
    assert gradient.lower == _model().field.lower


def test_equal_limits_are_one_program_and_others_another():
    traces = []

    @eqx.filter_jit
    def value(box):
        traces.append(None)
        return box.value

    for limit in (np.zeros(3), jnp.zeros(3), np.zeros(3)):
        value(Box(jnp.ones(3), limit, 2.0))
    assert len(traces) == 1
    value(Box(jnp.ones(3), np.array([0.0, 0.0, 0.5]), 2.0))
    assert len(traces) == 2


def test_with_value_is_the_closest_number_within():
    box = _model().field.with_value(-1.5)
    np.testing.assert_array_equal(box.value, [[-1.0] * 3, [-1.5] * 3])
    assert box.lower == _model().field.lower
    again = eqx.filter_jit(lambda b, v: b.with_value(v))(box, jnp.asarray(7.0))
    np.testing.assert_array_equal(again.value, np.full((2, 3), 7.0))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_limits_have_the_precision_of_the_numbers(dtype):
    lower, _ = Box(jnp.zeros(3, dtype), 0.1, np.full(3, 0.3)).limits
    assert lower.dtype == dtype
    assert lower[0] == np.asarray(0.1, dtype)


@pytest.mark.bad_input
def test_bad_limits_are_refused():
    with pytest.raises(ValueError, match=r"lower must be at most upper, but it is not in 1 of 2 entries"):
        Box(jnp.zeros(2), np.array([0.0, 2.0]), 1.0)
    with pytest.raises(ValueError, match="lower must be at most upper"):
        Box(jnp.zeros(2), np.nan, 1.0)
    with pytest.raises(ValueError, match=r"upper of shape \(3,\) does not broadcast to raw's shape \(2,\)"):
        Box(jnp.zeros(2), 0.0, np.ones(3))
    with pytest.raises(ValueError, match=r"with_value: value has the shape \(5,\), but the parameter's value \(2, 3\)"):
        _model().field.with_value(np.ones(5))
    with pytest.raises(TypeError, match="raw is a Box, but a box holds free numbers"):
        Box(_model().field, 0.0, 1.0)
    with pytest.raises(TypeError, match="lower is traced"):
        jax.jit(lambda limit: Box(jnp.zeros(2), limit, 1.0).value)(0.0)
