"""Smooth functions as polynomials on short panels, through Chebyshev's nodes."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int, Real

from ._pieces import Pieces

# Panels and polynomial degree for a function that is told to be smooth. In double precision a hundred periods are
# resolved to 1e-8; in single precision the coefficients of a higher degree would lose what it gains.
_PANELS = 512
_DEGREE = {32: 3, 64: 7}


def even_edges(duration: Real[Array, ""]) -> Real[Array, " edges"]:
    """The edges of the panels for a function that is smooth everywhere."""
    return jnp.linspace(jnp.zeros_like(duration), duration, _PANELS + 1, dtype=duration.dtype)


def interpolate(
    function: Callable[[Int[Array, ""], Real[Array, ""]], Real[Array, ""]],
    edges: Real[Array, " edges"],
    widths: Real[Array, " panels"],
) -> Pieces:
    """A function of the panel and the time since the start, smooth on each panel.

    `widths` are the differences of `edges`, told apart so that equal panels are equal to the last digit.
    """
    dtype = edges.dtype
    nodes, to_monomials, checks, to_checks = _nodes(_DEGREE[jnp.finfo(dtype).bits])
    places = jnp.asarray(np.concatenate([nodes, checks]), dtype)
    times = edges[:-1, None] + widths[:, None] * places
    panels = jnp.arange(edges.size - 1, dtype=jnp.int32)
    sampled = jax.vmap(jax.vmap(function, in_axes=(None, 0)))(panels, times)
    values, others = sampled[:, : nodes.size], sampled[:, nodes.size :]
    monomials = values @ jnp.asarray(to_monomials, dtype)
    powers = jnp.arange(nodes.size, dtype=dtype)
    factorials = jnp.asarray([float(math.factorial(r)) for r in range(nodes.size)], dtype)
    # On a panel of no length to speak of the value is all that counts.
    shortest = jnp.finfo(dtype).eps * edges[-1]
    safe = jnp.where(widths > shortest, widths, 1.0)[:, None]
    largest = jnp.max(jnp.abs(sampled))
    missed = jnp.max(jnp.abs(values @ jnp.asarray(to_checks, dtype) - others))
    error = missed / jnp.where(largest > 0, largest, 1.0)
    return Pieces(edges, monomials * factorials / safe**powers, lax.stop_gradient(error))


@functools.cache
def _nodes(degree: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Chebyshev's nodes on [0, 1], values to monomials, places between the nodes, and values to values there."""
    count = degree + 1
    nodes = 0.5 - 0.5 * np.cos((np.arange(count) + 0.5) * np.pi / count)
    to_monomials = np.linalg.inv(np.vander(nodes, increasing=True)).T
    checks = np.array([0.0, 0.5 * (nodes[0] + nodes[1]), 1.0])
    to_checks = to_monomials @ np.vander(checks, count, increasing=True).T
    return nodes, to_monomials, checks, to_checks
