"""Gradient and divergence are adjoint, and make the Laplacian."""

import jax.numpy as jnp
import numpy as np
import pytest

from krylovpde.grid import Dirichlet, Grid, Neumann, Periodic, RadialGrid
from krylovpde.operator import Divergence, Gradient, Laplacian

GRIDS = {
    "uniform": (Grid((4, 3), (0.0, 0.0), (1.0, 2.0)), Neumann()),
    "graded": (Grid.from_edges([[0.0, 0.2, 0.3, 1.0], [0.0, 0.5, 0.6]]), Neumann()),
    "periodic": (Grid.from_edges([[0.0, 0.2, 0.3, 1.0], [0.0, 0.5, 0.6]]), (Periodic(), Neumann())),
    "sphere": (RadialGrid(np.linspace(0.0, 2.0, 6), dimension=3), Neumann()),
}


@pytest.mark.parametrize(("grid", "boundary"), GRIDS.values(), ids=GRIDS)
def test_minus_gradient_is_the_adjoint_of_divergence(grid, boundary):
    rng = np.random.default_rng(0)
    gradient, divergence = Gradient(grid, boundary), Divergence(grid, boundary)
    u = jnp.asarray(rng.normal(size=grid.shape))
    flux = tuple(jnp.asarray(rng.normal(size=grid.shape)) for _ in range(grid.ndim))
    faces = sum(jnp.sum(w * f * g) for w, f, g in zip(divergence.weight, flux, gradient.mv(u), strict=True))
    cells = jnp.sum(gradient.weight * u * divergence.mv(flux))
    assert faces == pytest.approx(-float(cells), rel=1e-12)
    assert float(grid.integrate(divergence.mv(flux))) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("grid", "boundary"), GRIDS.values(), ids=GRIDS)
def test_divergence_of_gradient_is_the_laplacian(grid, boundary):
    composed = (Divergence(grid, boundary) @ Gradient(grid, boundary)).as_matrix()
    np.testing.assert_allclose(composed, Laplacian(grid, boundary).as_matrix(), rtol=1e-12, atol=1e-11)


def test_gradient_of_a_line_is_exact_on_inner_faces():
    grid = GRIDS["graded"][0]
    along, across = Gradient(grid).mv(jnp.asarray(3.0 * grid.coordinates[0]))
    np.testing.assert_allclose(along[:-1], 3.0, rtol=1e-12)
    assert np.all(along[-1] == 0.0)  # the wall
    assert np.all(across == 0.0)


@pytest.mark.bad_input
def test_bad_input_is_told():
    grid = GRIDS["uniform"][0]
    with pytest.raises(ValueError, match="does not know Dirichlet; it knows Neumann, Periodic"):
        Gradient(grid, Dirichlet())
    with pytest.raises(ValueError, match="tuple of 2 face fields"):
        Divergence(grid).mv(jnp.ones((4, 3)))
    with pytest.raises(ValueError, match=r"mv\(vector\)\[1\].*shape \(4, 3\)"):
        Divergence(grid).mv((jnp.ones((4, 3)), jnp.ones((4, 2))))
