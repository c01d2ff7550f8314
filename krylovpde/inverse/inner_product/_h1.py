"""Fields with slopes."""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from ...functions import LaplacianFunctions
from ...grid import AbstractGrid
from ...operator import Gradient, face_volumes
from ._base import AbstractInnerProduct
from ._l2 import scaled_by_volumes


class H1(AbstractInnerProduct):
    r"""`<u, w> = ∫ (u w + Σ_i ℓ_i² ∂_i u ∂_i w) dV`. Its gradients are smooth on the scale `ℓ`.

    The gradient solves `(I - ℓ² lap) g = derivative / V` with no flux through the walls: a field twice smoother than
    the derivative, also where that has a spike at each sensor. With penalties of order 1 and data that average over
    many cells, the iterations of a descent in this product do not grow when the grid is refined; in the Euclidean one
    they do.

    The factor is `S = (I - ℓ² lap)^{-1/2} V^{-1/2}`, exactly, by `krylovpde.functions.LaplacianFunctions`.

    **Arguments:**

    - `grid`: where the fields live. Cells that are not active are left out.
    - `length`: `ℓ`, one number or one per axis, in the grid's unit of length: about the size of what is to be seen.
        0 is `L2`.

    **Raises:** `ValueError` for lengths that are negative or not one per axis.
    """

    grid: AbstractGrid
    length: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, grid: AbstractGrid, length: float | Sequence[float]):
        self.grid = grid
        self.length = LaplacianFunctions(grid, length).lengths

    def inner(self, u: Float[Array, "..."], w: Float[Array, "..."]) -> Scalar:
        total = self.grid.inner(u, w)
        slopes = zip(Gradient(self.grid).mv(u), Gradient(self.grid).mv(w), strict=True)
        for axis, (along_u, along_w) in enumerate(slopes):
            volumes = jnp.asarray(self.length[axis] ** 2 * face_volumes(self.grid, axis), total.dtype)
            total = total + jnp.sum(volumes * along_u * along_w)
        return total

    def riesz(self, derivative: Float[Array, "..."]) -> Float[Array, "..."]:
        """The solution `g` of `(I - ℓ² lap) g = derivative / V`."""
        return self._power(-1.0, scaled_by_volumes(self.grid, derivative, -1.0))

    def factor(self, raw: Float[Array, "..."]) -> Float[Array, "..."]:
        """`(I - ℓ² lap)^{-1/2} V^{-1/2} raw`."""
        return self._power(-0.5, scaled_by_volumes(self.grid, raw, -0.5))

    def solve_factor(self, u: Float[Array, "..."]) -> Float[Array, "..."]:
        """`V^{1/2} (I - ℓ² lap)^{1/2} u`."""
        return scaled_by_volumes(self.grid, self._power(0.5, u), 0.5)

    def _power(self, power: float, u: Float[Array, "..."]) -> Float[Array, "..."]:
        return LaplacianFunctions(self.grid, self.length).apply(lambda x: (1.0 + x) ** power, u)
