"""Bases of few fields: given one by one, or as products of vectors along the axes."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from ...functions._along import along_axes
from ...grid import AbstractGrid, is_concrete
from ...operator._constant import Constant
from ._base import field_and_weights


class AbstractBasis(eqx.Module):
    """A few fields `b_k`, structure and no unknowns: `Σ_k raw_k b_k` and the coefficients of the closest such field."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """How many fields."""

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of a field."""

    @abc.abstractmethod
    def synthesise(self, raw: Float[Array, " size"]) -> Float[Array, "..."]:
        """`Σ_k raw_k b_k`."""

    @abc.abstractmethod
    def analyse(self, field: Float[Array, "..."]) -> Float[Array, " size"]:
        """The coefficients of the sum that is closest to a field in least squares, weighted with the volumes."""


class DenseBasis(AbstractBasis):
    """Fields given one by one: snapshots, principal components, eigenvectors of any covariance.

    They are embedded in the programs that use them: good for some tens of megabytes.

    **Arguments:**

    - `fields`: stacked on a leading axis.
    - `grid`: where they live, for the volumes; without it all cells count alike.

    **Raises:** `TypeError` for traced fields; `ValueError` for fields of another shape than `grid.shape`.
    """

    fields: Constant
    grid: AbstractGrid | None

    def __init__(self, fields: Shaped[Any, "size ..."], grid: AbstractGrid | None = None):
        if not is_concrete(fields):
            message = "DenseBasis(fields): a basis is structure, but these are traced by JAX. Make it outside of jit."
            raise TypeError(message)
        array = np.asarray(fields)
        if array.ndim < 1 or (grid is not None and array.shape[1:] != grid.shape):
            expected = "(size, ...)" if grid is None else f"(size, *{grid.shape})"
            message = f"DenseBasis(fields) must have the shape {expected}, got {array.shape}."
            raise ValueError(message)
        self.fields, self.grid = Constant(array), grid

    @property
    def size(self) -> int:
        return self.fields.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.fields.shape[1:]

    def synthesise(self, raw: Float[Array, " size"]) -> Float[Array, "..."]:
        return jnp.tensordot(raw, jnp.asarray(self.fields.array, raw.dtype), axes=1, precision="highest")

    def analyse(self, field: Float[Array, "..."]) -> Float[Array, " size"]:
        field, weights = field_and_weights(self.grid, field)
        root = np.sqrt(weights / np.max(weights)).ravel()
        matrix = jnp.asarray(self.fields.array.reshape(self.size, -1).T * root[:, None], field.dtype)
        return jnp.linalg.lstsq(matrix, jnp.asarray(root, field.dtype) * field.ravel())[0]


class TensorBasis(AbstractBasis):
    """`b_k = scale_k Π_i vectors_i[:, index_ki]`: products of orthonormal vectors along the axes of a grid.

    A sum costs one small dense product per axis; no field of the basis is stored. `KarhunenLoeve.from_matern` and
    `KarhunenLoeve.from_rbf` make them.

    **Arguments:**

    - `grid`: where; without a mask.
    - `vectors`: per axis a matrix whose columns are orthonormal in the measures of the cells.
    - `variances`: of all products, in the shape of the numbers of columns.
    - `rank`: the fields with the largest variances are kept; their scales are the square roots.

    **Raises:** `ValueError` for a rank that is larger than the number of variances above rounding, or less than 1.
    """

    grid: AbstractGrid
    vectors: tuple[Constant, ...]
    indices: Constant
    scales: Constant
    captured: float = eqx.field(static=True)

    def __init__(self, grid: AbstractGrid, vectors: Any, variances: Float[np.ndarray, "..."], rank: int):
        order = np.argsort(-variances, axis=None, kind="stable")
        largest = variances.ravel()[order]
        usable = int(np.sum(largest > np.finfo(np.float64).eps * largest[0]))
        if not 1 <= rank <= usable:
            message = f"KarhunenLoeve: rank must be from 1 to {usable}, the variances above rounding; got {rank}."
            raise ValueError(message)
        indices = np.stack(np.unravel_index(order[:rank], variances.shape)).astype(np.int32)
        self.grid = grid
        self.vectors = tuple(Constant(v[:, : used.max() + 1]) for v, used in zip(vectors, indices, strict=True))
        self.indices, self.scales = Constant(indices), Constant(np.sqrt(largest[:rank]))
        self.captured = float(np.sum(largest[:rank]) / np.sum(largest))

    @property
    def size(self) -> int:
        return self.scales.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.grid.shape

    def synthesise(self, raw: Float[Array, " size"]) -> Float[Array, "..."]:
        products = jnp.zeros(tuple(v.shape[1] for v in self.vectors), raw.dtype)
        scaled = jnp.asarray(self.scales.array, raw.dtype) * raw
        products = products.at[tuple(self.indices.array)].set(scaled, unique_indices=True)
        return along_axes([v.array for v in self.vectors], products)

    def analyse(self, field: Float[Array, "..."]) -> Float[Array, " size"]:
        measures = [self.grid.cell_measures(axis) for axis in range(self.grid.ndim)]
        products = along_axes([v.array.T * m for v, m in zip(self.vectors, measures, strict=True)], field)
        return products[tuple(self.indices.array)] / jnp.asarray(self.scales.array, field.dtype)
