"""Functions of the Laplacian of a grid, by its eigenvectors along each axis."""

import functools as ft
from collections.abc import Callable, Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.linalg import eigh_tridiagonal

from ..grid import AbstractGrid, only_active
from ._along import along_axes
from ._chebyshev import chebyshev_sum

# Beyond this many cells the dense matrix of an axis is larger than a field needs: 32 MiB in double precision.
LONGEST_AXIS = 2048


class LaplacianFunctions(eqx.Module):
    r"""`f(-Σ_i ℓ_i² ∂²/∂x_i²) u` on a grid, with no flux through the walls.

    The finite-volume Laplacian of a box is a sum of one matrix per axis, so its eigenvectors are products of
    eigenvectors of small symmetric tridiagonal matrices, whatever the widths of the cells (fast diagonalisation). A
    function costs `2 n Σ_i n_i` multiplications, is exact to rounding, and is linear in `u` for every derivative. On a
    grid with a mask the eigenvectors are not products: there, and for axes of more than 2048 cells, the function is a
    Chebyshev series with an error of 1e-12 relative to its largest value, and costs as many applications of a Laplacian
    as that takes (some tens of times the largest length over the smallest cell).

    For smoothing, for inner products and their square roots, for solves with `I - ℓ² lap`, and for random fields.

    **Arguments:**

    - `grid`: where.
    - `lengths`: `ℓ`, one number or one per axis, in the grid's unit of length.

    **Raises:** `ValueError` for lengths that are negative or not one per axis.

    !!! Example

        ```python
        operator = kp.functions.LaplacianFunctions(grid, 0.1)
        smooth = operator.apply(lambda x: 1 / (1 + x), u)      # solves (1 - 0.1² lap) smooth = u
        ```

    !!! cite "Source"

        Lynch, Rice, Thomas, *Direct solution of partial difference equations by tensor product methods*, Numerische
        Mathematik 6 (1964).
    """

    grid: AbstractGrid
    lengths: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, grid: AbstractGrid, lengths: float | Sequence[float] | np.ndarray = 1.0):
        self.grid = grid
        self.lengths = as_lengths("LaplacianFunctions(lengths)", lengths, grid.ndim)

    def apply(self, function: Callable[[np.ndarray], np.ndarray], u: Float[Array, "..."]) -> Float[Array, "..."]:
        """`f(-Σ_i ℓ_i² ∂²/∂x_i²) u`.

        **Arguments:**

        - `function`: `f` of a NumPy array of eigenvalues, none of them negative, elementwise. With a mask it has to be
            smooth on the whole interval of them.
        - `u`: a field of `grid.shape`.

        **Returns:** a field, zero in cells that are not active.
        """
        u = only_active(self.grid, self.grid.check_field(u, "LaplacianFunctions.apply(u)"))
        if self.grid.is_masked or max(self.grid.shape) > LONGEST_AXIS:
            return chebyshev_sum(self.grid, self.lengths, function, u)
        vectors = [axis_modes(self.grid, axis)[1] for axis in range(self.grid.ndim)]
        measures = [self.grid.cell_measures(axis) for axis in range(self.grid.ndim)]
        analysis = [q.T * m for q, m in zip(vectors, measures, strict=True)]
        values = function(self.eigenvalues)
        return along_axes(vectors, jnp.asarray(values, u.dtype) * along_axes(analysis, u))

    @property
    def eigenvalues(self) -> Float[np.ndarray, "..."]:
        """The eigenvalues of `-Σ_i ℓ_i² ∂²/∂x_i²` on a grid without a mask, an array of `grid.shape`."""
        total = np.zeros(self.grid.shape)
        for axis, length in enumerate(self.lengths):
            total = total + length**2 * self.grid.along(axis, axis_modes(self.grid, axis)[0])
        return total


def as_lengths(where: str, lengths: float | Sequence[float] | np.ndarray, ndim: int) -> tuple[float, ...]:
    """One length per axis, not negative."""
    numbers = np.asarray(lengths, np.float64)
    if numbers.shape not in ((), (ndim,)) or not np.all(np.isfinite(numbers) & (numbers >= 0)):
        message = f"`{where}` must be a number, or {ndim} of them (one per axis), not negative; got {lengths}."
        raise ValueError(message)
    return tuple(float(x) for x in np.broadcast_to(numbers, (ndim,)))


@ft.lru_cache(maxsize=64)
def axis_modes(grid: AbstractGrid, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and eigenvectors (columns) of `-∂²/∂x²` along one axis, orthonormal in the cells' measures."""
    measures, areas = grid.cell_measures(axis), grid.face_areas(axis)[1:-1]
    exchange = areas / np.diff(grid.centres[axis])
    diagonal = np.zeros(grid.shape[axis])
    diagonal[:-1] += exchange
    diagonal[1:] += exchange
    root = np.sqrt(measures)
    values, vectors = eigh_tridiagonal(diagonal / measures, -exchange / (root[:-1] * root[1:]))
    vectors = vectors / root[:, None]
    # The constant is known: rounding would give it a tiny eigenvalue of either sign. The others are made orthogonal to
    # it again, where widths over decades leave an error of 1e-8.
    constant = np.full(grid.shape[axis], 1 / np.sqrt(np.sum(measures)))
    vectors -= np.outer(constant, constant @ (measures[:, None] * vectors))
    values[0], vectors[:, 0] = 0.0, constant
    return np.maximum(values, 0.0), vectors
