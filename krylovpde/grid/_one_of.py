"""One of several observations of a field, chosen by a number that may be traced."""

import functools as ft
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from .._custom_types import ArrayOrNumPy
from ._base import AbstractGrid
from ._rows import AbstractRows, Rows


class OneOf(AbstractRows):
    """`choices[index]`, where `index` may be traced: runs whose sensors differ share one compiled solve.

    All have as many rows as the longest; those that fill up give 0. The choices are static, their tables are constants
    of the program; only `index` is a leaf, an integer.

    **Arguments:**

    - `choices`: operators of one grid and one dtype, such as [`krylovpde.Sensors`][].
    - `index`: which one.

    **Raises:** `ValueError` for choices on different grids or without a choice.
    """

    choices: tuple[AbstractRows, ...]
    index: Int[Array, ""]

    def __init__(self, choices: Sequence[AbstractRows], index: Int[ArrayOrNumPy, ""] | int):
        self.choices = tuple(choices)
        self.index = jnp.asarray(index)
        if len({(choice.grid, choice.dtype) for choice in self.choices}) != 1:
            message = f"`OneOf(choices=...)` must be observations of one grid and one dtype, got {self.choices}."
            raise ValueError(message)

    @property
    def grid(self) -> AbstractGrid:
        """The grid of all."""
        return self.choices[0].grid

    @property
    def dtype(self) -> Any:
        """The dtype of all."""
        return self.choices[0].dtype

    @property
    def num_rows(self) -> int:
        """That of the longest."""
        return max(choice.num_rows for choice in self.choices)

    def rows(self) -> Rows:
        """Those of the chosen one."""
        indices, weights = _stacked(self.choices)
        return Rows(tuple(jnp.asarray(axis)[self.index] for axis in indices), jnp.asarray(weights)[self.index])


@ft.lru_cache(maxsize=16)
def _stacked(choices: tuple[AbstractRows, ...]) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """All tables, filled up to one shape with weight 0 on the first cell."""
    tables = [choice.rows() for choice in choices]
    shape = np.max([table.weights.shape for table in tables], axis=0)

    def stacked(arrays: list) -> np.ndarray:
        widths = [[(0, int(n - m)) for n, m in zip(shape, array.shape, strict=True)] for array in arrays]
        return np.stack([np.pad(array, width) for array, width in zip(arrays, widths, strict=True)])

    axes = range(choices[0].grid.ndim)
    return tuple(stacked([t.indices[axis] for t in tables]) for axis in axes), stacked([t.weights for t in tables])
