"""Geometry inside an operator: numbers that no derivative should visit."""

from typing import Any

import equinox as eqx
import jax.tree_util as jtu
import numpy as np
import wadler_lindig as wl
from jaxtyping import PyTree


class Constant(eqx.Module):
    """A NumPy array as a pytree without leaves, hashed and compared by its bytes.

    A Laplacian has no parameters. Were its coefficients leaves, every derivative of a wave equation would also sum up
    their cotangents, four times the work of the derivative in the speed. For short lists along one axis: the numbers
    are embedded in the program.
    """

    data: bytes = eqx.field(static=True)
    shape: tuple[int, ...] = eqx.field(static=True)
    dtype: np.dtype = eqx.field(static=True)

    def __init__(self, array: np.ndarray | np.generic):
        self.data = np.asarray(array).tobytes()
        self.shape = tuple(np.shape(array))
        self.dtype = array.dtype

    def __pdoc__(self, **kwargs: Any) -> wl.AbstractDoc:
        """Its shape and type in what a module prints, not its bytes."""
        return wl.array_summary(self.shape, str(self.dtype), kind="constant")

    @property
    def array(self) -> np.ndarray:
        """The numbers."""
        return np.frombuffer(self.data, self.dtype).reshape(self.shape)


def is_constant(value: Any) -> bool:
    """Whether a node of a pytree is a `Constant`."""
    return isinstance(value, Constant)


def hide(tree: PyTree) -> PyTree:
    """The pytree with its NumPy arrays made constants."""
    return jtu.tree_map(lambda leaf: Constant(leaf) if isinstance(leaf, np.ndarray | np.generic) else leaf, tree)


def reveal(tree: PyTree) -> PyTree:
    """The pytree with its constants made NumPy arrays."""
    return jtu.tree_map(lambda leaf: leaf.array if is_constant(leaf) else leaf, tree, is_leaf=is_constant)
