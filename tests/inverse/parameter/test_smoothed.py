"""The inverse of smoothing, as far as it goes."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.inverse import Positive, Smoothed, Spline
from tests.helpers import relative_error, variants

_PLANE = kp.Grid(shape=(20, 16), lower=(0.0, 0.0), upper=(1.0, 1.0))
_X, _Y = _PLANE.coordinates
_DISC = kp.Grid((20, 16), (0.0, 0.0), (1.0, 1.0), active=(_X - 0.5) ** 2 + (_Y - 0.5) ** 2 < 0.2)


@pytest.mark.parametrize("grid", variants([_PLANE, _DISC], quick=[_PLANE]))
def test_waves_longer_than_twice_the_length_come_back(grid):
    x = jnp.asarray(_X)
    wave = 2.0 + jnp.cos(3 * jnp.pi * x)  # wavelength 2/3
    start = Smoothed(jnp.zeros(grid.shape), grid, 0.1)
    value = jnp.where(grid.active, wave, 0.0)
    reached = start.with_value(value).value
    tolerance = 1e-5 if grid is _PLANE else 0.1  # the disc's wall cuts the wave: short waves, which are gone
    assert relative_error(jnp.where(grid.active, reached, 0.0), value) < tolerance


def test_it_is_the_projection_on_what_smoothing_leaves(key):
    """What is not reached would need free numbers a hundred times as large."""
    rough = jr.normal(key, _PLANE.shape)
    start = Smoothed(jnp.zeros(_PLANE.shape), _PLANE, 0.1)
    once = start.with_value(rough)
    misfit = Smoothed(rough - once.value, _PLANE, 0.1).value
    assert jnp.linalg.norm(misfit) < 0.01 * jnp.linalg.norm(Smoothed(rough, _PLANE, 0.1).value)
    assert jnp.linalg.norm(once.parameter) < 100 * jnp.linalg.norm(rough)


def test_it_nests_both_ways():
    field = jnp.asarray(1.5 + np.cos(np.pi * _X))
    outer = Positive(Smoothed(jnp.zeros(_PLANE.shape), _PLANE, 0.05)).with_value(field)
    assert relative_error(outer.value, field) < 1e-4
    inner = Smoothed(Positive(jnp.zeros(_PLANE.shape)), _PLANE, 0.05).with_value(field)
    assert relative_error(inner.value, field) < 1e-4
    coarse = kp.Grid((4, 4), (0.0, 0.0), (1.0, 1.0))
    splines = Smoothed(Spline.from_value(jnp.zeros(_PLANE.shape), coarse, _PLANE), _PLANE, 0.05).with_value(field)
    assert relative_error(splines.value, field) < 1e-2
    none = Smoothed(jnp.zeros(_PLANE.shape), _PLANE, 0.0).with_value(field)
    np.testing.assert_array_equal(none.value, field)
