"""A layer's depth and two diffusivities from data: derivatives with respect to an interface serve Gauss–Newton."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import krylovpde as kp
from krylovpde.inverse import Bounded, Layers, LeastSquares, Positive, fit

_GRID = kp.Grid((24,), (0.0,), (1.0,))
_SENSORS = kp.Sensors(_GRID, np.array([[0.1], [0.35], [0.65], [0.9]]))
_TIMES = jnp.asarray([0.02, 0.05, 0.1, 0.2])


class _Rod(eqx.Module):
    diffusivity: Layers


def _rod(diffusivities, depth):
    raw = Positive.from_value(jnp.asarray(diffusivities))
    return _Rod(Layers(raw, Bounded.from_value(jnp.asarray([depth]), 0.05, 0.95), _GRID))


def _predict(rod):
    boundary = kp.Boundary(lower=kp.Dirichlet(1.0), upper=kp.Neumann())
    equation = kp.Diffusion(_GRID, rod.diffusivity.value, boundary=boundary)
    zero = jnp.zeros(_GRID.shape)
    return kp.solve(equation, zero, _TIMES, observe=_SENSORS, method=kp.Dense(), rtol=1e-8).value


@pytest.mark.slow
@pytest.mark.standard_promotion
def test_an_interface_inside_of_a_cell_is_found():
    truth = _rod([2.0, 0.5], 0.43)
    data = jax.jit(_predict)(truth)
    loss = LeastSquares(_predict, data, 1e-3)
    start = _rod([1.0, 1.0], 0.6)
    result = fit(loss, start, optx.LevenbergMarquardt(1e-8, 1e-8), max_iterations=40, progress=None)
    found = result.model.diffusivity
    # A cell is 0.042 wide; the interface has crossed four on its way.
    np.testing.assert_allclose(found.interfaces.value, [0.43], atol=1e-4)
    np.testing.assert_allclose(found.raw.value, [2.0, 0.5], rtol=1e-3)
