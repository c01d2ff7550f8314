"""Covariances of random fields on tensor-product nodes."""

import functools as ft
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Inexact

from .._custom_types import Structure
from .._parameter import as_nonnegative, as_positive
from ..grid import Grid
from ._along import along_axes
from ._symmetric import AbstractSymmetricOperator


class RBFCovariance(AbstractSymmetricOperator):
    r"""The covariance $s^2 \exp(-|x - y|^2 / (2 \ell^2))$ between the nodes of a tensor product.

    $K = s^2\, K_1 \otimes \dots \otimes K_d$ with one small dense matrix per axis: a product costs
    $n\,(n_1 + \dots + n_d)$ and no $n \times n$ matrix is made. Self-adjoint and positive semidefinite in the Euclidean
    inner product; its eigenvalues decay faster than any power, to rounding. A sample of the field is
    [`krylovpde.functions.sqrt_multiply`][] of standard normal numbers.

    Length scale and variance are leaves that derivatives reach; the nodes are constants of the geometry.
    """

    axes: tuple[np.ndarray, ...]
    length_scale: Array
    variance: Array

    def __init__(self, coordinates: Grid | Sequence[ArrayLike], length_scale: ArrayLike, variance: ArrayLike = 1.0):
        r"""A covariance.

        **Arguments:**

        - `coordinates`: a [`krylovpde.Grid`][] (its cell centres), or the nodes along each axis: one list of numbers
            per axis.
        - `length_scale`: $\ell > 0$, one number, in the unit of the coordinates.
        - `variance`: $s^2 \ge 0$, one number, in the square of the field's unit.

        **Raises:**

        `ValueError` for axes that are not one-dimensional, empty or not finite, and numbers that are arrays or known
        not to be positive.
        """
        self.axes = as_axes("RBFCovariance", coordinates)
        self.length_scale = as_positive(length_scale, "RBFCovariance(length_scale)")
        self.variance = as_nonnegative(variance, "RBFCovariance(variance)")

    def mv(self, vector: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
        """`K x`, one axis after the other."""
        matrices = self.axis_matrices(jnp.finfo(vector.dtype).dtype)
        return self.variance.astype(vector.dtype) * along_axes(matrices, vector)

    def axis_matrices(self, dtype: Any) -> list[Float[Array, "n n"]]:
        r"""$\exp(-|x_i - x_j|^2 / (2 \ell^2))$ along each axis."""
        scale = self.length_scale.astype(dtype)
        squares = [jnp.asarray((x[:, None] - x[None, :]) ** 2, dtype) for x in self.axes]
        return [jnp.exp(-square / (2.0 * scale**2)) for square in squares]

    def in_structure(self) -> Structure:
        """A field on the nodes."""
        return jax.ShapeDtypeStruct(tuple(x.size for x in self.axes), self._dtype())

    @property
    def spectral_bound(self) -> Float[Array, ""]:
        """The variance times the largest row sum along each axis."""
        sums = [jnp.max(jnp.sum(matrix, axis=1)) for matrix in self.axis_matrices(self._dtype())]
        return ft.reduce(jnp.multiply, sums, self.variance.astype(self._dtype()))

    def _dtype(self) -> np.dtype:
        return np.result_type(self.length_scale.dtype, self.variance.dtype)


def as_axes(owner: str, coordinates: Any) -> tuple[np.ndarray, ...]:
    """The nodes along each axis: the cell centres of a Cartesian grid, or lists of numbers."""
    axes = coordinates.centres if isinstance(coordinates, Grid) else coordinates
    if not isinstance(axes, Sequence | np.ndarray | jax.Array):
        message = (
            f"`{owner}(coordinates)` must be a Cartesian kp.Grid or one list of nodes per axis, got a "
            f"{type(coordinates).__name__}."
        )
        raise TypeError(message)
    nodes = tuple(np.array(axis, np.float64) for axis in axes)
    if not nodes:
        message = f"`{owner}(coordinates)` needs the nodes of at least one axis, got none."
        raise ValueError(message)
    for axis in nodes:
        if axis.ndim != 1 or axis.size == 0 or not np.all(np.isfinite(axis)):
            message = f"`{owner}(coordinates)`: need finite nodes, one list per axis; got shape {axis.shape}."
            raise ValueError(message)
    return nodes
