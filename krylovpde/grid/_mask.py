"""Irregular domains: which cells of a grid are active, and what follows for faces and fields.

A mask is geometry like the rest of a grid. It enters the package in three ways, all of them here: a face is open only
between two active cells (`open_faces`), an active cell has an inner wall where its neighbour is not active
(`inner_walls`), and fields are replaced in cells that are not active (`only_active`), so that what stands there is
neither seen nor differentiated.
"""

import functools as ft
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import PyTree

from .._parameter import is_concrete


def as_mask(active: Any, shape: tuple[int, ...], where: str) -> bytes | None:
    """A mask as bytes, to be hashed and compared; `None` where all cells are active."""
    if active is None:
        return None
    if not is_concrete(active):
        message = f"`{where}`: a grid is static, but this mask is traced by JAX. Make it outside of jit."
        raise TypeError(message)
    array = np.asarray(active)
    if array.dtype != np.bool_ or array.shape != shape:
        message = (
            f"`{where}` must be an array of booleans of shape {shape} (grid.shape), True in the cells of the domain; "
            f"got {array.dtype} of shape {array.shape}."
        )
        raise ValueError(message)
    if not array.any():
        message = f"`{where}` has no active cell."
        raise ValueError(message)
    return None if array.all() else np.packbits(array).tobytes()


@ft.lru_cache(maxsize=64)
def unpack(mask: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """The booleans of a mask, read-only."""
    count = int(np.prod(shape))
    array = np.unpackbits(np.frombuffer(mask, np.uint8), count=count).astype(bool).reshape(shape)
    array.flags.writeable = False
    return array


@ft.lru_cache(maxsize=128)
def open_faces(grid: Any, axis: int, periodic: bool) -> np.ndarray:
    """Whether something can pass face `j`, between cells `j` and `j + 1`, along one axis; broadcasts to a field.

    Not the last face of an axis that does not close, which is a wall, and no face beside a cell that is not active.
    """
    inside = np.ones(grid.shape[axis], bool)
    inside[-1] = periodic
    inside = grid.along(axis, inside)
    return inside & grid.active & np.roll(grid.active, -1, axis) if grid.is_masked else inside


def inner_walls(grid: Any, axis: int, side: int, periodic: bool) -> np.ndarray:
    """The active cells whose neighbour on one side (0 lower, -1 upper) is a cell of the grid that is not active."""
    inside = np.ones(grid.shape[axis], bool)
    inside[side] = periodic
    return grid.along(axis, inside) & grid.active & ~np.roll(grid.active, 1 if side == 0 else -1, axis)


def only_active(grid: Any, tree: PyTree, fill: float = 0.0) -> PyTree:
    """The fields (leaves of `grid.shape`) of a pytree with `fill` in the cells that are not active.

    What stood there reaches neither value nor derivative. Everything is returned as it is where all cells are active.
    """
    if not grid.is_masked:
        return tree

    def replace(leaf: Any) -> Any:
        if jnp.shape(leaf) != grid.shape:
            return leaf
        leaf = jnp.asarray(leaf)
        return jax.lax.select(jnp.asarray(grid.active), leaf, jnp.full_like(leaf, fill))

    return jtu.tree_map(replace, tree)


def contains(grid: Any, points: np.ndarray) -> np.ndarray:
    """Which of the points, of shape `(n, dimension)`, lie in an active cell, or on its edge."""
    lower, upper = (np.array([edges[end] for edges in grid.edges]) for end in (0, -1))
    inside = np.all((points >= lower) & (points <= upper), axis=1)  # false for NaN
    if not grid.is_masked:
        return inside
    found = np.zeros(len(points), bool)
    # A point on an edge belongs to the cells on both of its sides.
    for corner in np.ndindex(*(2,) * grid.ndim):
        index = tuple(
            np.clip(np.searchsorted(edges, x, side=("left", "right")[k]) - 1, 0, n - 1)
            for edges, x, k, n in zip(grid.edges, points.T, corner, grid.shape, strict=True)
        )
        found |= grid.active[index]
    return inside & found
