"""Profiles in space, and how equations have them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import krylovpde as kp

GRIDS = {
    "uniform": kp.Grid(shape=(12, 15), lower=(0.0, -1.0), upper=(1.0, 1.0)),
    "graded": kp.Grid.from_edges([np.linspace(0, 1, 11) ** 1.3, np.linspace(0, 1, 9)]),
    "radial": kp.RadialGrid(np.geomspace(0.1, 5.0, 20), dimension=2),
}


@pytest.mark.parametrize("name", GRIDS)
def test_a_point_has_integral_one_wherever_it_stands(name):
    grid = GRIDS[name]
    rng = np.random.default_rng(3)
    lower, upper = (np.array([edges[end] for edges in grid.edges]) for end in (0, -1))
    structure = jax.ShapeDtypeStruct(grid.shape, jnp.float64)
    for share in (*rng.uniform(size=(5, grid.ndim)), np.zeros(grid.ndim), np.ones(grid.ndim)):
        field = kp.PointSource(grid, lower + share * (upper - lower), 1.0).field(structure)
        assert abs(float(grid.integrate(field)) - 1.0) < 1e-13
        assert float(field.min()) >= 0.0


def test_a_point_stands_where_it_should_and_moves_smoothly():
    grid = GRIDS["uniform"]
    structure = jax.ShapeDtypeStruct(grid.shape, jnp.float64)
    x, y = grid.coordinates

    def centre(position):
        field = kp.PointSource(grid, position, 1.0).field(structure)
        return jnp.stack([grid.integrate(jnp.asarray(x) * field), grid.integrate(jnp.asarray(y) * field)])

    position = jnp.asarray([0.43, 0.11])
    np.testing.assert_allclose(centre(position), position, atol=1e-14)  # splines reproduce straight lines
    np.testing.assert_allclose(jax.jacobian(centre)(position), np.eye(2), atol=1e-12)


def test_profiles_are_fields_numbers_or_pytrees():
    structure = jax.ShapeDtypeStruct((3,), jnp.float32)
    field = kp.Source(2.0, 1.0).field(structure)
    assert field.shape == (3,)
    assert field.dtype == jnp.float32
    pair = {"a": structure, "b": structure}
    fields = kp.Source({"a": 1.0, "b": np.arange(3.0)}, 1.0).field(pair)
    np.testing.assert_array_equal(fields["b"], np.arange(3.0, dtype=np.float32))


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
def test_the_vector_field_has_the_sources(dtype):
    grid = kp.Grid(shape=(4,), lower=(0.0,), upper=(1.0,))
    one = jnp.ones(4, dtype)
    sources = [0.5, kp.Source(2.0, lambda t: 3.0 * t), kp.Source(one, kp.Sampled([0.0, 1.0], [0.0, 1.0]))]
    rate = kp.Diffusion(grid, one, capacity=2.0 * one, source=sources).vector_field(0.5, one)
    assert rate.dtype == dtype
    np.testing.assert_allclose(rate, np.full(4, (0.5 + 3.0 + 0.5) / 2.0), rtol=1e-6)
    wave = kp.Wave(grid, one, source=sources).vector_field(0.5, kp.WaveState(one, one))
    np.testing.assert_allclose(wave.velocity, np.full(4, 4.0), rtol=1e-6)
    linear = kp.Linear(kp.Laplacian(grid, dtype=dtype), source=sources).vector_field(0.5, one)
    np.testing.assert_allclose(linear, np.full(4, 4.0), rtol=1e-6)


LINE = kp.Grid(shape=(4,), lower=(0.0,), upper=(1.0,))
BAD = {
    "signal": (ValueError, "signal", lambda: kp.Source(1.0, np.ones(3))),
    "outside": (ValueError, "outside", lambda: kp.PointSource(LINE, 1.5, 1.0)),
    "position": (ValueError, "position", lambda: kp.PointSource(LINE, [0.1, 0.2], 1.0)),
    "grid": (TypeError, "Grid", lambda: kp.PointSource("grid", 0.5, 1.0)),
    "function": (TypeError, "kp.Source", lambda: kp.Wave(LINE, 1.0, source=lambda t: t)),
    "profile": (ValueError, "shape", lambda: kp.Wave(LINE, 1.0, source=kp.Source(np.ones(3), 1.0)).driving()),
}


@pytest.mark.bad_input
@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    error, words, make = BAD[name]
    with pytest.raises(error, match=words):
        make()
