"""Second derivatives of a field inside of its domain, with the volumes that belong to them."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ...grid import AbstractGrid, cell_volumes, open_faces
from ...operator import Gradient


def curvatures(grid: AbstractGrid, u: Float[Array, "..."]) -> list[tuple[np.ndarray, Array]]:
    """`∂²u/∂x_i²` in cells with two neighbours and `∂²u/∂x_i∂x_j` at corners of four cells, zero elsewhere.

    **Returns:** `(volumes, derivative)` pairs; a mixed derivative counts twice, as it does in the sum over `i` and `j`.
    """
    slopes = Gradient(grid).mv(u)
    parts = [_along(grid, slopes[axis], axis) for axis in range(grid.ndim)]
    for axis in range(grid.ndim):
        parts += [_mixed(grid, slopes[axis], axis, other) for other in range(axis + 1, grid.ndim)]
    return parts


def _along(grid: AbstractGrid, slope: Array, axis: int) -> tuple[np.ndarray, Array]:
    faces = np.broadcast_to(open_faces(grid, axis, False), grid.shape)
    both = faces & np.roll(faces, 1, axis)  # the last face is a wall, so nothing comes around
    # Slopes sit in the middle between centres: their distance is that which makes parabolas exact.
    centres = grid.centres[axis]
    distances = np.ones(len(centres))
    distances[1:-1] = (centres[2:] - centres[:-2]) / 2
    bend = (slope - jnp.roll(slope, 1, axis)) / jnp.asarray(grid.along(axis, distances), slope.dtype)
    return np.where(both, cell_volumes(grid, np.dtype(np.float64)), 0.0), jnp.where(both, bend, 0)


def _mixed(grid: AbstractGrid, slope: Array, axis: int, other: int) -> tuple[np.ndarray, Array]:
    faces = np.broadcast_to(open_faces(grid, axis, False), grid.shape)
    corners = faces & np.roll(faces, -1, other) & np.broadcast_to(open_faces(grid, other, False), grid.shape)
    volumes = 2 * cell_volumes(grid, np.dtype(np.float64))
    for i in (axis, other):
        volumes = volumes / grid.along(i, grid.widths(i)) * grid.along(i, _gaps(grid, i))
    twist = (jnp.roll(slope, -1, other) - slope) / jnp.asarray(grid.along(other, _gaps(grid, other)), slope.dtype)
    return np.where(corners, volumes, 0.0), jnp.where(corners, twist, 0)


def _gaps(grid: AbstractGrid, axis: int) -> np.ndarray:
    """From each centre to the next; the last one leads nowhere."""
    return np.append(np.diff(grid.centres[axis]), 1.0)
