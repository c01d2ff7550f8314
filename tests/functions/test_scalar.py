"""Divided differences that do not cancel, against extended precision."""

import jax.numpy as jnp
import numpy as np
import pytest

from krylovpde.functions import Exponential, Inverse, InverseSquareRoot, Logarithm, SquareRoot

# The function in extended precision, and its derivative.
_EXACT = {
    SquareRoot: (np.sqrt, lambda x: 0.5 / np.sqrt(x)),
    InverseSquareRoot: (lambda x: 1 / np.sqrt(x), lambda x: -0.5 / x**1.5),
    Inverse: (lambda x: 1 / x, lambda x: -1 / x**2),
    Logarithm: (np.log, lambda x: 1 / x),
    Exponential: (np.exp, np.exp),
}


@pytest.mark.parametrize("kind", _EXACT)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_divided_differences(kind, dtype):
    """At all distances: where they are equal, next to each other, and decades apart."""
    value, derivative = _EXACT[kind]
    x = np.geomspace(1e-3, 30.0, 9).astype(dtype)
    factors = np.concatenate([[1.0], 1 + np.geomspace(1e-6, 1.0, 8), [1e2, 1e3]]).astype(dtype)
    x, y = np.broadcast_arrays(x[:, None], x[:, None] * factors)
    found = kind().divided_difference(jnp.asarray(x), jnp.asarray(np.minimum(y, dtype(50.0))))
    wide, other = x.astype(np.longdouble), np.minimum(y, dtype(50.0)).astype(np.longdouble)
    gap = wide - other
    close = np.abs(gap) < 1e-9 * wide
    exact = np.where(close, derivative(wide), (value(wide) - value(other)) / np.where(close, 1.0, gap))
    assert found.dtype == dtype
    # Extended precision loses what the quotient cancels.
    cancelled = 1e-18 * np.maximum(np.abs(value(wide)), np.abs(value(other))) / np.where(close, np.inf, np.abs(gap))
    assert np.all(np.abs(np.asarray(found) - exact) <= 40 * np.finfo(dtype).eps * np.abs(exact) + cancelled)
    assert np.allclose(kind().value(jnp.asarray(x)), value(wide).astype(dtype), rtol=10 * np.finfo(dtype).eps)


def test_what_is_rounding_counts_as_zero():
    values, unit = jnp.asarray([-1e-17, 1e-17, 0.5]), jnp.asarray(1e-16)
    assert np.all(SquareRoot().admissible(values, unit) == np.asarray([0.0, 0.0, 0.5]))
    assert SquareRoot().divided_difference(jnp.zeros(()), jnp.zeros(())) == 0
    assert not SquareRoot().refuses(values[0], unit)
    assert Logarithm().refuses(values[1], unit)
    assert jnp.min(Logarithm().admissible(values, unit)) == 1e-16
