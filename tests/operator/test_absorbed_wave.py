"""The operator of damped and absorbed waves: its transpose, where its spectrum lies, its precision."""

import functools

import equinox as eqx
import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.operator import Ellipse, Rectangle, numerical_range
from tests.helpers import random_like, relative_error, variants

GRADED = kp.Grid.from_edges([np.cumsum(1.15 ** np.arange(10)), np.cumsum(1.2 ** -np.arange(9))])
LAYERS = kp.Boundary(lower=(kp.Absorbing(3), kp.Dirichlet()), upper=kp.Absorbing(3))


def _rough(shape, seed, decades=0.5):
    return jnp.asarray(10.0 ** np.random.default_rng(seed).uniform(-decades, 0.0, shape))


def _box(*shape):
    return kp.Grid(shape, (0.0,) * len(shape), tuple(map(float, shape)))


CASES = {
    "constant speed": lambda: kp.Wave(_box(24), 2.0, boundary=kp.Absorbing(10)),
    "damping alone": lambda: kp.Wave(_box(10, 8), _rough((10, 8), 0), damping=_rough((10, 8), 1, 2.0)),
    "strong damping": lambda: kp.Wave(_box(20), 1.0, damping=30.0),
    "corners": lambda: kp.Wave(_box(9, 8), _rough((9, 8), 2), boundary=kp.Absorbing(4)),
    "density and damping": lambda: kp.Wave(
        GRADED, _rough((9, 8), 3), density=_rough((9, 8), 4, 2.0), damping=0.2, boundary=LAYERS
    ),
    "waveguide": lambda: kp.Wave(
        _box(12, 5), _rough((12, 5), 5), boundary=(kp.Absorbing(4), kp.Periodic()), density=3.0
    ),
    "fourth order": lambda: kp.Wave(
        _box(9, 8), _rough((9, 8), 7), density=_rough((9, 8), 8, 2.0), damping=0.1, boundary=kp.Absorbing(4), accuracy=4
    ),
    "fourth order under a free surface": lambda: kp.Wave(
        _box(12, 5),
        _rough((12, 5), 9),
        boundary=kp.Boundary(lower=(kp.Dirichlet(), kp.Periodic()), upper=(kp.Absorbing(6), kp.Periodic())),
        accuracy=4,
    ),
    "three dimensions": lambda: kp.Wave(_box(5, 4, 4), _rough((5, 4, 4), 6), boundary=kp.Absorbing(2)),
}
# Damping alone; density, damping and layers on a graded grid; both orders in space; one to three dimensions.
QUICK = ["strong damping", "density and damping", "fourth order under a free surface", "three dimensions"]
every_case = pytest.mark.parametrize("name", variants(CASES, quick=QUICK))


@functools.cache
def _operator(name):
    form = CASES[name]().first_order_form()
    assert form is not None
    return form.operator()


@functools.cache
def _matrix(name):
    return np.asarray(jax.jit(lambda operator: operator.as_matrix())(_operator(name)))


@every_case
def test_the_transpose_is_the_transpose(name):
    transposed = jax.jit(lambda operator: operator.transpose().as_matrix())(_operator(name))
    np.testing.assert_allclose(transposed, _matrix(name).T, rtol=1e-13, atol=1e-13)


@every_case
def test_the_rectangle_holds_the_spectrum_and_is_not_much_larger(name):
    rectangle = eqx.filter_jit(numerical_range)(_operator(name))
    assert isinstance(rectangle, Rectangle)
    spectrum = np.linalg.eigvals(_matrix(name))
    size = np.max(np.abs(spectrum))
    # In rough media the continuation of the coordinate may let a mode grow slowly; see the page on numerics.
    assert np.max(spectrum.real) <= rectangle.upper + 2e-3 * size
    assert np.min(spectrum.real) >= rectangle.lower - 1e-6 * size
    # Where everything is overdamped, nothing oscillates.
    highest = np.max(spectrum.imag)
    assert highest <= rectangle.height * (1.0 + 1e-12)
    assert name == "strong damping" or highest > 0.6 * rectangle.height
    # Waves average over damping that varies from cell to cell, and over a layer.
    assert np.min(spectrum.real) < 0.3 * rectangle.lower


def test_the_ellipse_goes_through_the_corners_and_out_by_what_growth_allows():
    rectangle = Rectangle(*map(jnp.asarray, (-0.4, 0.1, 3.0)))
    for duration in (20.0, 2000.0):
        ellipse = rectangle.ellipse(jnp.asarray(duration), 10.0)
        assert isinstance(ellipse, Ellipse)
        for corner in (-0.4, 0.1):
            inside = ((corner - ellipse.centre) / ellipse.real) ** 2 + (3.0 / ellipse.imaginary) ** 2
            assert inside == pytest.approx(1.0, rel=1e-12)
        assert duration * (ellipse.centre + ellipse.real - 0.1) == pytest.approx(10.0, rel=1e-12)
    # A duration of zero, and an operator that does nothing.
    short = rectangle.ellipse(jnp.asarray(0.0), 10.0)
    assert np.isfinite(short.imaginary)
    assert short.real < 4.0
    nothing = Rectangle(*map(jnp.asarray, (0.0, 0.0, 0.0))).ellipse(jnp.asarray(1.0), 10.0)
    assert nothing.imaginary == 0.0
    assert np.isfinite(nothing.real)


def test_precision_is_the_states_and_complex_states_are_two_real_ones():
    operator = _operator("density and damping")
    state = random_like(jax.random.key(0), jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), operator.in_structure()))
    apply = jax.jit(lambda state: operator.mv(state))
    rate = apply(state)
    low = apply(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), state))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(low))
    assert relative_error(low, rate) < 1e-5

    def turned(tree):
        return jax.tree.map(lambda leaf: (1.0 + 2.0j) * leaf.astype(jnp.complex128), tree)

    assert relative_error(apply(turned(state)), turned(rate)) < 1e-14


def test_weights_are_positive_and_like_the_state():
    operator = _operator("density and damping")
    weight, reciprocal = eqx.filter_jit(lambda operator: (kp.weight(operator), kp.weight(operator.transpose())))(
        operator
    )
    assert jax.tree.structure(weight) == jax.tree.structure(operator.in_structure())
    assert all(bool(jnp.all(leaf > 0)) for leaf in jax.tree.leaves(weight))
    both = jax.tree.map(jnp.multiply, weight, reciprocal)
    np.testing.assert_allclose(jfu.ravel_pytree(both)[0], 1.0, rtol=1e-14)
