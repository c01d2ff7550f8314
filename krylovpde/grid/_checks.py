"""Checks of geometry that name the argument, what was found and what to do."""

from typing import Any

import numpy as np
from jax.core import Tracer


def as_edges(edges: Any, where: str) -> np.ndarray:
    """A list of increasing numbers as a float64 NumPy array."""
    if isinstance(edges, Tracer):
        message = f"`{where}`: a grid is static, but these edges are traced by JAX. Make it outside of jit."
        raise TypeError(message)
    array = np.array(edges, dtype=np.float64)
    if array.ndim != 1 or len(array) < 2 or not np.all(np.isfinite(array)) or not np.all(np.diff(array) > 0):
        message = f"`{where}` must be a list of at least two increasing numbers, got {array}."
        raise ValueError(message)
    return array
