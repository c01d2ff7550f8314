"""Cells count by their volumes."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Scalar

from ...grid import AbstractGrid, cell_volumes, only_active
from ._base import AbstractInnerProduct


class L2(AbstractInnerProduct):
    r"""`<u, w> = ∫ u w dV`. The gradient is the derivative divided by the volumes of the cells, `S = V^{-1/2}`.

    On graded and radial grids it takes the volumes out of the gradient; on a uniform grid it is a factor.

    **Arguments:**

    - `grid`: where the fields live. Cells that are not active are left out.
    """

    grid: AbstractGrid

    def inner(self, u: Float[Array, "..."], w: Float[Array, "..."]) -> Scalar:
        return self.grid.inner(u, w)

    def riesz(self, derivative: Float[Array, "..."]) -> Float[Array, "..."]:
        """`derivative / V`."""
        return scaled_by_volumes(self.grid, derivative, -1.0)

    def factor(self, raw: Float[Array, "..."]) -> Float[Array, "..."]:
        """`V^{-1/2} raw`."""
        return scaled_by_volumes(self.grid, raw, -0.5)

    def solve_factor(self, u: Float[Array, "..."]) -> Float[Array, "..."]:
        """`V^{1/2} u`."""
        return scaled_by_volumes(self.grid, u, 0.5)


def scaled_by_volumes(grid: AbstractGrid, u: Float[Array, "..."], power: float) -> Float[Array, "..."]:
    """`V^power u`, zero in cells that are not active."""
    u = only_active(grid, grid.check_field(u, "a field in an inner product"))
    return u * jnp.asarray(cell_volumes(grid, np.dtype(np.float64)) ** power, u.dtype)
