"""Zones, layers, cells, splines, modes and networks: what each of them is, beyond what all of them share."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import krylovpde as kp
from krylovpde.functions import RBFCovariance
from krylovpde.inverse import (
    ActiveCells,
    Bounded,
    DenseBasis,
    Interpolated,
    KarhunenLoeve,
    Layers,
    Named,
    NetworkField,
    Positive,
    Spline,
    Zones,
    named_parameters,
    parameter_table,
)
from tests.helpers import dense, relative_error

_LINE = kp.Grid((10,), (0.0,), (1.0,))
_PLANE = kp.Grid((6, 5), (0.0, -1.0), (3.0, 1.0))


def test_zones_take_volume_weighted_means():
    grid = kp.Grid.from_edges([[0.0, 1.0, 4.0, 5.0]])
    labels = np.array([0, 0, 1])
    zones = Zones(jnp.zeros(2), labels, grid).with_value(jnp.asarray([2.0, 6.0, 7.0]))
    np.testing.assert_allclose(zones.raw, [(2 + 3 * 6) / 4, 7.0], rtol=1e-14)
    alike = Zones(jnp.asarray([9.0, 9.0, 9.0]), labels).with_value(jnp.asarray([2.0, 6.0, 7.0]))
    np.testing.assert_allclose(alike.raw, [4.0, 7.0, 9.0], rtol=1e-14)  # no cell of the last zone


@pytest.mark.parametrize(
    "grid",
    [kp.Grid.from_edges([np.linspace(0, 1, 9) ** 1.3]), *(kp.RadialGrid(np.linspace(0, 1, 8), d) for d in (2, 3))],
)
def test_layers_have_the_integral_of_what_they_stand_for(grid):
    """Wherever the interfaces lie, and so does the derivative in the interfaces."""
    power = grid.dimension if isinstance(grid, kp.RadialGrid) else 1
    total = float(np.sum(grid.cell_volumes))

    def integral(interfaces):
        return grid.integrate(Layers(jnp.asarray([2.0, 5.0, -1.0]), interfaces, grid).value)

    positions = jnp.asarray([0.31, 0.77])
    found, gradient = jax.jit(jax.value_and_grad(integral))(positions)
    below = np.asarray(positions) ** power
    expected = total * (2 * below[0] + 5 * (below[1] - below[0]) - (1 - below[1]))
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    slopes = total * power * np.asarray(positions) ** (power - 1) * np.array([-3.0, 6.0])
    np.testing.assert_allclose(gradient, slopes, rtol=1e-12)


def test_layers_are_constant_between_interfaces_and_mixed_in_their_cells():
    value = Layers(jnp.asarray([1.0, 3.0]), [0.325], _LINE).value
    np.testing.assert_allclose(value, [1, 1, 1, 1 * 0.25 + 3 * 0.75, 3, 3, 3, 3, 3, 3], rtol=1e-12)
    plane = Layers(jnp.asarray([1.0, 3.0]), [1.0], _PLANE, axis=0).value
    np.testing.assert_allclose(plane, np.broadcast_to([[1], [1], [3], [3], [3], [3]], (6, 5)), rtol=1e-12)


def test_interfaces_may_be_bounded_unknowns_and_push_each_other():
    depths = Bounded.from_value(jnp.asarray([0.2, 0.6]), 0.0, 1.0)
    layers = Layers(Positive.from_value(np.array([1.0, 2.0, 3.0])), depths, _LINE)
    assert len(jax.tree.leaves(layers)) == 2
    gradient = jax.grad(lambda p: _LINE.integrate(p.value))(layers)
    assert bool(jnp.all(gradient.interfaces.raw != 0))
    crossed = Layers(jnp.asarray([1.0, 2.0, 3.0]), jnp.asarray([0.2, 0.6]), _LINE)
    crossed = eqx.tree_at(lambda p: p.interfaces, crossed, jnp.asarray([0.7, 0.6]))
    np.testing.assert_allclose(crossed.value, [1, 1, 1, 1, 1, 1, 1, 3, 3, 3], rtol=1e-12)


def test_active_cells_keep_their_background():
    mask = np.zeros(_PLANE.shape, bool)
    mask[1:4, 2] = True
    background = np.arange(30.0).reshape(6, 5)
    cells = ActiveCells(jnp.asarray([-1.0, -2.0, -3.0]), mask, background)
    np.testing.assert_array_equal(cells.value[1:4, 2], [-1.0, -2.0, -3.0])
    np.testing.assert_array_equal(np.asarray(cells.value)[~mask], background[~mask])
    np.testing.assert_array_equal(ActiveCells.from_value(7.0, mask, 0.0).value, np.where(mask, 7.0, 0.0))
    inside = Positive(ActiveCells(jnp.zeros(3), mask, np.log(2.0))).with_value(5.0)
    np.testing.assert_allclose(inside.value, np.where(mask, 5.0, 2.0), rtol=1e-14)


def test_interpolation_is_exact_for_products_of_lines_and_keeps_bounds(key):
    coarse = kp.Grid.from_edges([[-0.4, 0.4, 1.4, 3.8], [-1.6, -0.4, 0.4, 1.6]])
    x, y = coarse.coordinates
    fine_x, fine_y = _PLANE.coordinates
    value = Interpolated(jnp.asarray((1 + 2 * x) * (3 - y)), coarse, _PLANE).value
    inside = (fine_x <= 2.6) & (np.abs(fine_y) <= 1.0)
    np.testing.assert_allclose(np.asarray(value)[inside], ((1 + 2 * fine_x) * (3 - fine_y))[inside], rtol=1e-12)
    np.testing.assert_allclose(value[5], value[5, :] * 0 + np.asarray(value)[5], rtol=1e-12)
    raw = jr.uniform(key, coarse.shape, minval=1.0, maxval=2.0)
    bounded = Interpolated(raw, coarse, _PLANE).value
    assert bool(jnp.all((bounded >= 1.0) & (bounded <= 2.0)))


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_splines_reproduce_polynomials_of_their_degree(degree):
    coarse = kp.Grid.from_edges([[0.0, 1.0, 1.5, 3.0], [-1.0, 0.2, 1.0]])
    x, y = _PLANE.coordinates
    field = (1 + x) ** degree - 2 * x * y**degree
    spline = Spline.from_value(jnp.asarray(field), coarse, _PLANE, degree)
    np.testing.assert_allclose(spline.value, field, rtol=1e-10, atol=1e-10)


def test_splines_of_a_smooth_field_converge_with_their_order():
    grid = kp.Grid((200,), (0.0,), (1.0,))
    field = jnp.sin(6 * jnp.asarray(grid.coordinates[0]))
    errors = [
        float(jnp.max(jnp.abs(Spline.from_value(field, kp.Grid((n,), (0.0,), (1.0,)), grid).value - field)))
        for n in (6, 12, 24)
    ]
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert np.all(orders > 3.5)


def test_modes_of_the_rbf_covariance_are_its_eigenvectors():
    grid = kp.Grid.from_edges([np.linspace(0, 1, 8) ** 1.2, np.linspace(0, 1, 6)])
    covariance = np.asarray(dense(RBFCovariance(grid, 0.4, 0.25)))
    modes = KarhunenLoeve.from_rbf(grid, 25, 0.5, 0.4)
    fields = np.asarray(jax.vmap(modes.basis.synthesise)(jnp.eye(25))).reshape(25, -1)
    np.testing.assert_allclose(fields.T @ fields, covariance, atol=1e-5 * 0.25)
    few = KarhunenLoeve.from_rbf(grid, 6, 0.5, 0.4)
    six = np.asarray(jax.vmap(few.basis.synthesise)(jnp.eye(6))).reshape(6, -1)
    volumes = grid.cell_volumes.ravel()
    lost = np.sum(volumes * np.diag(covariance - six.T @ six))
    np.testing.assert_allclose(lost / np.sum(volumes * np.diag(covariance)), 1 - few.basis.captured, rtol=1e-6)
    gram = six @ (volumes[:, None] * six.T)
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-12)


@pytest.mark.parametrize(("shape", "smoothness"), [((300,), 1.5), ((60, 60), 1.0), ((60, 60), 2.5)])
def test_matern_modes_have_the_variance_and_correlation_asked_for(shape, smoothness):
    """In the middle of a wide domain, with (almost) all modes."""
    grid = kp.Grid(shape, (0.0,) * len(shape), (3.0,) * len(shape))
    rank = int(0.98 * np.prod(shape))
    modes = KarhunenLoeve.from_matern(grid, rank, 0.7, 0.75, smoothness)
    middle = tuple(n // 2 for n in shape)
    other = (middle[0] + shape[0] // 4, *middle[1:])  # a correlation length away
    fields = [jax.grad(lambda raw, at=at: modes.basis.synthesise(raw)[at])(jnp.zeros(rank)) for at in (middle, other)]
    variance, covariance = jnp.sum(fields[0] ** 2), jnp.sum(fields[0] * fields[1])
    assert variance == pytest.approx(0.49, rel=0.03)
    assert covariance / variance == pytest.approx(0.14, abs=0.01)


def test_a_dense_basis_may_be_anything(key):
    fields = jr.normal(key, (4, 6, 5))
    mean = np.linspace(0, 1, 30).reshape(6, 5)
    parameter = KarhunenLoeve(jnp.asarray([1.0, -2.0, 0.5, 3.0]), DenseBasis(fields, _PLANE), mean)
    np.testing.assert_allclose(parameter.value, mean + np.tensordot(parameter.raw, fields, 1), rtol=1e-12)
    again = KarhunenLoeve(jnp.zeros(4), parameter.basis, mean).with_value(parameter.value)
    np.testing.assert_allclose(again.raw, parameter.raw, rtol=1e-10)
    assert relative_error(KarhunenLoeve(parameter.raw, fields).value, parameter.value - mean) < 1e-12


def test_networks_are_fields_of_normalised_coordinates(key):
    network = eqx.nn.MLP(2, "scalar", 8, 2, jnp.tanh, key=key)
    field = NetworkField(network, _PLANE)
    x, y = _PLANE.coordinates
    expected = eqx.filter_jit(network)(jnp.asarray([2 * x[4, 3] / 3 - 1, y[4, 3]]))
    value = eqx.filter_jit(lambda field: field.value)(field)
    np.testing.assert_allclose(value[4, 3], expected, rtol=1e-12)
    assert value.shape == _PLANE.shape
    gradient = eqx.filter_jit(eqx.filter_grad(lambda p: jnp.sum(Positive(p).value)))(field)
    assert bool(jnp.any(gradient.network.layers[0].weight != 0))
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if eqx.is_array(leaf) else leaf, network)
    assert jax.eval_shape(lambda: NetworkField(single, _PLANE).value).dtype == jnp.float32
    one = NetworkField(eqx.nn.MLP(2, 1, 4, 1, key=key), _PLANE)
    assert jax.eval_shape(lambda: one.value).shape == _PLANE.shape


class _Model(eqx.Module):
    speed: Named
    depth: Named
    other: jax.Array


def test_tables_list_the_named_parameters():
    speed = Named(Positive.from_value(jnp.full((6, 5), 1500.0).at[0, 0].set(1000.0)), "speed", "m/s")
    model = _Model(speed, Named(3.25, "depth", "m"), jnp.ones(3))
    assert list(named_parameters(model)) == ["speed", "depth"]
    lines = parameter_table(model).splitlines()
    assert lines[0].split() == ["parameter", "value", "unit", "unknowns"]
    assert lines[1].split() == ["speed", "1000", "to", "1500,", "mean", "1483", "m/s", "30"]
    assert lines[2].split() == ["depth", "3.25", "m", "1"]
    assert named_parameters(jnp.ones(3)) == {}


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: Zones(jnp.zeros(2), np.array([0, 2])),
            ValueError,
            "labels must be from 0 to 1; they range from 0 to 2",
        ),
        (lambda: Zones(jnp.zeros(2), np.array([0.0, 1.0])), ValueError, "must be integers"),
        (lambda: Zones(jnp.zeros((2, 2)), np.array([0, 1])), ValueError, r"Zones: raw has the shape \(2, 2\)"),
        (lambda: Zones(jnp.zeros(2), np.array([0, 1]), _LINE), ValueError, r"but the grid \(10,\)"),
        (lambda: Layers(jnp.zeros(3), [0.5], _LINE), ValueError, "one fewer than the 3 layers"),
        (lambda: Layers(jnp.zeros(3), [0.5, 0.5], _LINE), ValueError, "interfaces must increase"),
        (lambda: Layers(jnp.zeros(2), [0.5], _LINE, 1), ValueError, "the grid has 1 axes"),
        (lambda: ActiveCells(jnp.zeros(2), np.ones(3, bool), 0.0), ValueError, "each of the 3 true cells"),
        (lambda: ActiveCells(jnp.zeros(3), np.ones(3), 0.0), ValueError, "must be booleans"),
        (lambda: ActiveCells(jnp.zeros(3), np.ones(3, bool), np.ones(2)), ValueError, "background has the shape"),
        (lambda: Interpolated(jnp.zeros(3), _LINE, _PLANE), ValueError, "1 axes and the fine one 2"),
        (lambda: Interpolated(jnp.zeros(3), _LINE, _LINE), ValueError, r"needs \(10,\): coarse.shape"),
        (lambda: Spline(jnp.zeros(4), kp.Grid((1,), (0.2,), (1.0,)), _LINE), ValueError, "reaches from 0.2 to 1.0"),
        (lambda: Spline(jnp.zeros(4), _LINE, _LINE, 0), ValueError, "degree must be at least 1"),
        (lambda: KarhunenLoeve.from_matern(_LINE, 11, 1.0, 0.3), ValueError, "rank must be from 1 to 10"),
        (lambda: KarhunenLoeve.from_rbf(_LINE, 3, 0.0, 0.3), ValueError, "standard_deviation must be positive"),
        (lambda: KarhunenLoeve(jnp.zeros(2), np.ones((3, 4))), ValueError, "one number per mode"),
        (lambda: NetworkField(eqx.nn.Identity(), _PLANE), ValueError, r"gives an array of shape \(2,\)"),
        (
            lambda: NetworkField(eqx.nn.MLP(1, "scalar", 2, 1, key=jr.key(0)), _LINE).with_value(1.0),
            NotImplementedError,
            "Fit it to the value first",
        ),
        (lambda: named_parameters([Named(1.0, "a"), Named(2.0, "a")]), ValueError, "two parameters .* called 'a'"),
        (lambda: Positive(jnp.zeros(3)).with_value(-1.0), ValueError, "Positive.with_value: value must be greater"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()
