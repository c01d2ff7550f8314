"""The inner product that a prior brings with it."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Scalar

from ...functions import LaplacianFunctions
from ...functions._matern import matern_decay, matern_scale
from ...grid import Grid, is_concrete
from ._base import AbstractInnerProduct
from ._l2 import scaled_by_volumes


class CameronMartin(AbstractInnerProduct):
    r"""`<u, w> = ∫ (δ - γ lap)u (δ - γ lap)w dV`: that of a `BiLaplacian` prior, which is `½ ‖field - reference‖²`.

    Its Riesz map is the prior's covariance, and its factor `S = (δ - γ lap)⁻¹ V^{-1/2}` makes a field of the prior of
    white noise. In coordinates `y` with `field = S y` the prior is `½|y|²`, and the Hessian of the data's misfit has
    few eigenvalues above 1, the prior's own: as many as there are numbers that the data say more about, on any mesh.
    $\delta$, $\gamma$ are those of [`BiLaplacian`][krylovpde.inverse.BiLaplacian] with insulated walls.

    **Arguments:**

    - `grid`: a Cartesian grid. Cells that are not active are left out.
    - `standard_deviation`: of the field at a point.
    - `correlation_length`: one number or one per axis. Numbers of an inner product are no parameters: nothing is
        differentiated in them.

    **Raises:** `TypeError` for a radial grid; `ValueError` for numbers that are not positive.

    Source: Bui-Thanh, Ghattas, Martin, Stadler, *A computational framework for infinite-dimensional Bayesian inverse
    problems, part I*, SIAM J. Sci. Comput. 35 (2013).
    """

    grid: Grid
    standard_deviation: float = eqx.field(static=True)
    correlation_length: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, grid: Grid, standard_deviation: float, correlation_length: float | Sequence[float]):
        if not isinstance(grid, Grid):
            message = f"CameronMartin needs a kp.Grid, got a {type(grid).__name__}. On a radial grid use H1."
            raise TypeError(message)
        self.grid = grid
        self.correlation_length = LaplacianFunctions(grid, correlation_length).lengths
        self.standard_deviation = float(standard_deviation)
        if not min(self.standard_deviation, *self.correlation_length) > 0:
            message = (
                "CameronMartin: standard_deviation and correlation_length must be positive, got "
                f"{standard_deviation} and {correlation_length}."
            )
            raise ValueError(message)

    @classmethod
    def of(cls, prior: Any) -> "CameronMartin":
        """That of a `BiLaplacian`, as its numbers are now; the factor `weight` of the prior is left out.

        **Raises:** `ValueError` for a prior with other walls than `Neumann()`, and for numbers that are traced.
        """
        if prior.boundary is not None:
            message = "CameronMartin.of: the prior has a boundary of its own; only insulated walls are known here."
            raise ValueError(message)
        numbers = (prior.standard_deviation, prior.correlation_length)
        if not all(map(is_concrete, numbers)):
            message = (
                "CameronMartin.of: the prior's numbers are traced by JAX, but must be known. Make it outside of jit."
            )
            raise ValueError(message)
        lengths = np.broadcast_to(np.asarray(numbers[1], np.float64), (prior.grid.ndim,))
        return cls(prior.grid, float(numbers[0]), tuple(float(length) for length in lengths))

    def inner(self, u: Float[Array, "..."], w: Float[Array, "..."]) -> Scalar:
        return self.grid.inner(self._operated(u), self._operated(w))

    def riesz(self, derivative: Float[Array, "..."]) -> Float[Array, "..."]:
        """The prior's covariance times the derivative."""
        density = scaled_by_volumes(self.grid, derivative, -1.0)
        return self._apply(lambda symbol: symbol**-2, density)

    def factor(self, raw: Float[Array, "..."]) -> Float[Array, "..."]:
        """`(δ - γ lap)⁻¹ V^{-1/2} raw`."""
        return self._apply(lambda symbol: 1 / symbol, scaled_by_volumes(self.grid, raw, -0.5))

    def solve_factor(self, u: Float[Array, "..."]) -> Float[Array, "..."]:
        """`V^{1/2} (δ - γ lap) u`."""
        return scaled_by_volumes(self.grid, self._operated(u), 0.5)

    def _operated(self, u: Float[Array, "..."]) -> Float[Array, "..."]:
        return self._apply(lambda symbol: symbol, u)

    def _apply(self, function: Callable[[np.ndarray], np.ndarray], u: Float[Array, "..."]) -> Float[Array, "..."]:
        """A function of `δ - γ lap`."""
        smoothness = 2 - self.grid.ndim / 2
        decay = matern_decay(smoothness)
        volume = math.prod(self.correlation_length)
        scale = 1 / (math.sqrt(matern_scale(smoothness, self.grid.ndim)) * self.standard_deviation * math.sqrt(volume))
        operator = LaplacianFunctions(self.grid, self.correlation_length)
        return operator.apply(lambda x: function(scale * (decay**2 + x)), u)
