"""Boundary conditions: leaves, sides and axes, and what bad input is told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from krylovpde.equation import PointSource, Sampled, Source
from krylovpde.grid import (
    Boundary,
    Dirichlet,
    Grid,
    Neumann,
    Periodic,
    RadialGrid,
    Robin,
    TotalFlux,
    driven_walls,
    resolve_boundary,
)

GRID = Grid((3, 4), (0.0, 0.0), (1.0, 1.0))
ALL = (Neumann, Dirichlet, Periodic, Robin, TotalFlux)


def test_numbers_are_weakly_typed_leaves_and_defaults_are_none():
    condition = Dirichlet(2)
    (leaf,) = jax.tree.leaves(condition)
    assert isinstance(leaf, jax.Array)
    assert leaf.weak_type
    assert jnp.issubdtype(leaf.dtype, jnp.floating)
    assert jax.tree.leaves((Neumann(), Dirichlet(), TotalFlux(), Periodic())) == []
    assert len(jax.tree.leaves(Robin(1.0, 2.0))) == 2
    assert len(jax.tree.leaves(Neumann(0.0))) == 1  # a number that was given is a parameter


def test_one_condition_for_all_sides_a_tuple_per_axis_or_a_boundary():
    n, d, p = Neumann(), Dirichlet(), Periodic()
    assert resolve_boundary(None, GRID, ALL, "X") == ((n, n), (n, n))
    assert resolve_boundary(d, GRID, ALL, "X") == ((d, d), (d, d))
    assert resolve_boundary((d, p), GRID, ALL, "X") == ((d, d), (p, p))
    assert resolve_boundary(Boundary(lower=d, upper=(n, d)), GRID, ALL, "X") == ((d, n), (d, d))
    assert resolve_boundary(Boundary(upper=d), GRID, ALL, "X") == ((n, d), (n, d))


def test_arrays_over_the_face_are_accepted():
    pairs = resolve_boundary(Boundary(lower=(Dirichlet(np.ones(4)), Neumann(np.ones(3)))), GRID, ALL, "X")
    assert pairs[0][0].value.shape == (4,)


def test_what_varies_is_parted_from_what_does_not():
    signal, profile = Sampled([0.0, 1.0], [1.0, 2.0]), np.arange(4.0)
    boundary = Boundary(
        lower=(Dirichlet([0.5, signal, Source(profile, lambda t: t), profile]), Robin(1.0, 2.0, signal)),
        upper=(Neumann(3.0), Dirichlet()),
    )
    pairs = resolve_boundary(boundary, GRID, ALL, "X")
    np.testing.assert_array_equal(pairs[0][0].value, 0.5 + profile)
    assert pairs[1][0].value is None
    np.testing.assert_array_equal(pairs[0][1].flux, 3.0)
    walls = driven_walls(boundary, GRID, np.float32)
    assert [w for _, w in walls].count(signal) == 2
    (first, _), (second, ramp), (third, _) = walls
    np.testing.assert_array_equal(first[0][0].value, 1.0)
    np.testing.assert_array_equal(second[0][0].value, profile)
    assert second[0][0].value.dtype == np.float32
    assert ramp(0.25) == 0.25
    # A condition of its own for each: nothing else has a value, coefficients stay.
    assert third[0][0].value is None
    assert third[0][1].flux is None
    np.testing.assert_array_equal(third[1][0].value, 1.0)
    np.testing.assert_array_equal(third[1][0].beta, 2.0)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("boundary", "error", "message"),
    [
        (Boundary(lower=Periodic()), ValueError, "Periodic stands on both sides.*axis 0"),
        ((Neumann(),) * 3, ValueError, "grid has 2 and the tuple 3"),
        ("dirichlet", TypeError, "of type str"),
        (Dirichlet, TypeError, "as an object"),
        ((Neumann(), 1.0), TypeError, "float"),
        (TotalFlux(1.0), ValueError, r"X\(boundary=...\).*does not know TotalFlux; it knows Dirichlet, Neumann"),
        (Dirichlet(np.ones(4)), ValueError, r"axis 1 has shape \(4,\); a face there has shape \(3,\)"),
    ],
)
def test_bad_boundaries_are_told(boundary, error, message):
    with pytest.raises(error, match=message):
        resolve_boundary(boundary, GRID, (Neumann, Dirichlet, Periodic), "X")


@pytest.mark.bad_input
def test_bad_values_are_told():
    with pytest.raises(TypeError, match=r"Robin\(alpha\).*does not vary in time"):
        Robin(lambda t: t, 1.0)
    with pytest.raises(TypeError, match=r"Robin\(beta\).*Sampled.*does not vary in time"):
        Robin(1.0, Sampled([0.0], [1.0]))
    with pytest.raises(ValueError, match=r"TotalFlux.*axis 1.*Source that does not fit; a face there has shape"):
        resolve_boundary((Neumann(), TotalFlux(Source(np.ones(4), 1.0))), GRID, ALL, "X")
    with pytest.raises(ValueError, match=r"Dirichlet.*axis 0.*PointSource that does not fit"):
        resolve_boundary(Dirichlet(PointSource(GRID, [0.5, 0.5], 1.0)), GRID, ALL, "X")
    with pytest.raises(ValueError, match=r"axis 0 has shape \(3,\)"):
        resolve_boundary(Dirichlet([Sampled([0.0], [1.0]), np.ones(3)]), GRID, ALL, "X")
    with pytest.raises(TypeError, match=r"Dirichlet\(value\)\[1\].*str"):
        Dirichlet([Sampled([0.0], [1.0]), "hot"])
    with pytest.raises(TypeError, match=r"Neumann\(flux\).*str"):
        Neumann("hot")
    with pytest.raises(ValueError, match="RadialGrid never meet"):
        resolve_boundary(Periodic(), RadialGrid([0.0, 1.0, 2.0]), ALL, "X")
