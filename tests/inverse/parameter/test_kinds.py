"""What every parametrisation does: it is invertible on its range, nests, differentiates, and knows its leaves."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.inverse import (
    H1,
    ActiveCells,
    Bounded,
    Fixed,
    InInnerProduct,
    Interpolated,
    KarhunenLoeve,
    Layers,
    Named,
    Positive,
    Spline,
    Zones,
)
from tests.helpers import relative_error, variants

GRID = kp.Grid.from_edges([np.linspace(0.0, 1.0, 10) ** 1.2, np.linspace(0.0, 2.0, 13)])
COARSE = kp.Grid((3, 4), (0.0, 0.0), (1.0, 2.0))
_X, _Y = GRID.coordinates
LAKE = kp.Grid.from_edges([GRID.edges[0], GRID.edges[1]], active=(_X - 0.5) ** 2 + (_Y / 2 - 0.5) ** 2 < 0.22)
_LABELS = np.where(_X < 0.4, 0, np.where(_Y < 1.1, 1, 2))
_MASK = _X + _Y < 1.3

# From free numbers to a parameter whose value is a field on GRID, and how many free numbers it takes.
KINDS = {
    "positive": (Positive, GRID.shape),
    "bounded": (lambda raw: Bounded(raw, -1.0, 2.0), GRID.shape),
    "zones": (lambda raw: Zones(raw, _LABELS, GRID), (3,)),
    "layers": (lambda raw: Layers(raw, [0.3, 0.35, 1.6], GRID), (4,)),
    "layers_first": (lambda raw: Layers(raw, jnp.asarray([0.47]), GRID, axis=0), (2,)),
    "cells": (lambda raw: ActiveCells(raw, _MASK, 3.0), (int(_MASK.sum()),)),
    "interpolated": (lambda raw: Interpolated(raw, COARSE, GRID), (3, 4)),
    "interpolated_lake": (lambda raw: Interpolated(raw, COARSE, LAKE), (3, 4)),
    "spline": (lambda raw: Spline(raw, COARSE, GRID), (6, 7)),
    "spline_lake": (lambda raw: Spline(raw, COARSE, LAKE, 2), (5, 6)),
    "matern": (lambda raw: _matern(raw), (20,)),
    "inner_product": (lambda raw: InInnerProduct(raw, H1(GRID, 0.3)), GRID.shape),
    "named": (lambda raw: Named(raw, "x"), GRID.shape),
    "positive_spline": (lambda raw: Positive(Spline(raw, COARSE, GRID)), (6, 7)),
    "zones_of_positive": (lambda raw: Zones(Positive(raw), _LABELS), (3,)),
    "named_bounded_layers": (lambda raw: Named(Bounded(Layers(raw, [0.5], GRID), 0, 1), "depth", "m"), (2,)),
}


def _matern(raw):
    modes = KarhunenLoeve.from_matern(GRID, 20, 0.5, 1.0, mean=2.0)
    return KarhunenLoeve(raw, modes.basis, modes.mean)


# Each is near another: the same class on the whole grid or on the lake, or nested in it.
NEAR = ["bounded", "interpolated", "spline_lake", "named_bounded_layers"]
every_kind = pytest.mark.parametrize("kind", variants(KINDS, slow=NEAR))


@every_kind
def test_value_with_value_value_is_the_identity(kind, key):
    make, shape = KINDS[kind]
    raw, other = jr.normal(key, (2, *shape))
    parameter = make(raw)
    value = parameter.value
    again = make(other).with_value(value)
    assert jax.tree.structure(again) == jax.tree.structure(parameter)
    assert relative_error(again.value, value) < 1e-10
    # The free numbers, too, where they are determined by the value.
    assert relative_error(jax.tree.leaves(again)[0], raw) < 1e-7


@every_kind
def test_derivatives_under_jit_and_vmap(kind, key):
    make, shape = KINDS[kind]
    raw, direction = jr.normal(key, (2, *shape))
    parameter, moved = make(raw), make(direction)

    @jax.jit
    def all_of_them(parameter, moved):
        cotangent = jnp.cos(jnp.arange(GRID.shape[0] * GRID.shape[1], dtype=raw.dtype)).reshape(GRID.shape)
        _, tangent = jax.jvp(lambda p: p.value, (parameter,), (moved,))
        pulled = jax.grad(lambda p: jnp.sum(p.value * cotangent))(parameter)
        pairing = sum(jnp.sum(a * b) for a, b in zip(jax.tree.leaves(pulled), jax.tree.leaves(moved), strict=True))
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), parameter, moved)
        both = jax.vmap(lambda p: p.value)(stacked)
        step = 1e-6
        plus, minus = (jax.tree.map(lambda a, b, s=s: a + s * b, parameter, moved) for s in (step, -step))
        return pairing, jnp.sum(tangent * cotangent), tangent, (plus.value - minus.value) / (2 * step), both

    pairing, paired, tangent, difference, both = all_of_them(parameter, moved)
    np.testing.assert_allclose(pairing, paired, rtol=1e-10)
    assert relative_error(tangent, difference) < 1e-7
    np.testing.assert_allclose(both[0], parameter.value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_only_unknowns_are_leaves(kind):
    make, shape = KINDS[kind]
    leaves = jax.tree.leaves(make(jnp.zeros(shape)))
    assert leaves[0].shape == shape
    assert len(leaves) == (2 if kind == "layers_first" else 1)  # its interface is unknown


PROJECTED = ["zones", "layers", "interpolated", "interpolated_lake", "spline", "spline_lake", "matern"]


@pytest.mark.parametrize("kind", variants(PROJECTED, slow=["interpolated", "spline_lake"]))
def test_with_value_is_the_weighted_least_squares_projection(kind, key):
    """The misfit is orthogonal, in the cells' volumes, to every change of the free numbers."""
    make, shape = KINDS[kind]
    field = jr.normal(key, GRID.shape)
    grid = LAKE if kind.endswith("lake") else GRID
    projected = make(jnp.zeros(shape)).with_value(field)
    misfit = jnp.asarray(grid.cell_volumes) * (projected.value - field)
    slopes = jax.grad(lambda p: jnp.sum(p.value * misfit))(projected)
    scale = jax.grad(lambda p: jnp.sum(p.value * jnp.abs(misfit)))(projected)
    assert jnp.max(jnp.abs(jax.tree.leaves(slopes)[0])) < 1e-9 * jnp.max(jnp.abs(jax.tree.leaves(scale)[0]))


def test_what_is_not_a_number_outside_of_the_domain_does_not_matter(key):
    field = jnp.where(LAKE.active, jr.normal(key, LAKE.shape), jnp.nan)
    for parameter in (Spline(jnp.zeros((6, 7)), COARSE, LAKE), Zones(jnp.zeros(3), _LABELS, LAKE)):
        assert bool(jnp.all(jnp.isfinite(parameter.with_value(field).value)))
    layers = Layers(jnp.zeros(2), [0.5], LAKE).with_value(field)
    assert bool(jnp.all(jnp.isfinite(layers.value)))


def test_single_precision_stays_single():
    for kind in KINDS:
        make, shape = KINDS[kind]
        parameter = make(jnp.zeros(shape, jnp.float32))
        assert jax.eval_shape(lambda p=parameter: p.value).dtype == jnp.float32
        assert jax.eval_shape(lambda p=parameter: p.with_value(2.0).value).dtype == jnp.float32


def test_a_number_stands_for_a_field():
    for kind in ("positive", "layers", "positive_spline"):
        make, shape = KINDS[kind]
        np.testing.assert_allclose(make(jnp.zeros(shape)).with_value(2.5).value, 2.5, rtol=1e-10)


def test_with_value_works_under_jit(key):
    field = jnp.exp(jr.normal(key, GRID.shape))
    start = Positive(Spline(jnp.zeros((6, 7)), COARSE, GRID))
    np.testing.assert_allclose(
        eqx.filter_jit(lambda p, v: p.with_value(v))(start, field).value, start.with_value(field).value, rtol=1e-10
    )


def test_what_is_printed_is_short():
    for kind in ("zones", "cells", "matern", "layers"):
        make, shape = KINDS[kind]
        assert len(repr(make(jnp.zeros(shape)))) < 2500


def test_fixed_has_no_leaves_and_no_derivative():
    fixed = Fixed([1, 2])
    assert jax.tree.leaves(fixed) == []
    np.testing.assert_array_equal(fixed.value, [1.0, 2.0])
    np.testing.assert_array_equal(fixed.with_value(3.0).value, 3.0)
    with pytest.raises(TypeError, match="this value is traced"):
        jax.jit(lambda v: Fixed(v).value)(1.0)


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", KINDS)
def test_values_of_another_shape_are_refused(kind):
    make, shape = KINDS[kind]
    with pytest.raises(ValueError, match=r"has the shape \(5, 5\), but the parameter's value"):
        make(jnp.zeros(shape)).with_value(0.5 * jnp.ones((5, 5)))
