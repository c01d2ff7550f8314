"""A Gaussian prior with a standard deviation and a correlation length."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, Scalar, Shaped

from ..._parameter import as_inexact
from ...functions import LaplacianFunctions
from ...functions._matern import matern_decay, matern_scale
from ...grid import (
    BoundaryLike,
    Dirichlet,
    Grid,
    Neumann,
    Periodic,
    Robin,
    cell_volumes,
    is_concrete,
    only_active,
    resolve_boundary,
)
from ...operator import flux_operator
from ..loss import AbstractLoss, half_sum_of_squares


class BiLaplacian(AbstractLoss):
    r"""`½ weight ‖(δ - γ lap)(field - reference)‖²`: minus the logarithm of a Gaussian prior; a sum of squares.

    The prior's covariance is $(\delta - \gamma \Delta)^{-2}$, that of a Matérn field of smoothness $\nu = 2 - d/2$ in
    $d$ dimensions: $\rho$ is where its correlation has fallen to 0.14, and

    $$\delta = \kappa^2 \gamma, \quad \kappa = \sqrt{8\nu} / \rho, \quad
      \gamma^2 = \frac{\Gamma(\nu)}{(4\pi)^{d/2}\, \kappa^{2\nu}\, \sigma^2}$$

    make its standard deviation $\sigma$ (derivatives are scaled axis by axis where `ρ` differs). Unlike `Tikhonov` it
    has no weight to be guessed: `σ` and `ρ` are what is known of the field. Realisations are continuous in one to three
    dimensions, and an estimate does not depend on the mesh, also with data in single points.

    Near insulated walls the standard deviation grows, by `sqrt(2)` per wall. `boundary=prior.absorbing_walls()`, Robin
    conditions as in Roininen, Huttunen, Lasanen (2014), keeps it within 5 % along flat walls.

    **Arguments:**

    - `grid`: a Cartesian grid, uniform, graded or with a mask; some four cells per correlation length or finer.
    - `field`: `field(model)`, an array of `grid.shape`.
    - `standard_deviation`: `σ` of the field at a point, in its unit.
    - `correlation_length`: `ρ`, one number or one per axis, in the grid's unit of length.
    - `reference`: the prior's mean: a number or a field.
    - `boundary`: conditions of the Laplacian: `Neumann()` if left out.
    - `weight`: 1 is the prior as told; a factor for rules that choose it.

    **Raises:** `TypeError` for a radial grid, on which the formula for `γ` does not hold; `ValueError` for numbers that
    are known and not positive, and lengths that are not one per axis.

    !!! cite "Sources"

        Lindgren, Rue, Lindström, *An explicit link between Gaussian fields and Gaussian Markov random fields*, Journal
        of the Royal Statistical Society B 73 (2011); Bui-Thanh, Ghattas, Martin, Stadler, *A computational framework
        for infinite-dimensional Bayesian inverse problems, part I*, SIAM Journal on Scientific Computing 35 (2013).
    """

    grid: Grid
    field: Callable[[Any], Array]
    standard_deviation: Shaped[Array, ""]
    correlation_length: Shaped[Array, "..."]
    reference: ArrayLike
    boundary: Any
    weight: ArrayLike

    def __init__(
        self,
        grid: Grid,
        field: Callable[[Any], Array],
        standard_deviation: ArrayLike,
        correlation_length: ArrayLike | Sequence[float],
        reference: ArrayLike = 0.0,
        *,
        boundary: BoundaryLike = None,
        weight: ArrayLike = 1.0,
    ):
        if not isinstance(grid, Grid):
            message = f"BiLaplacian needs a kp.Grid, got a {type(grid).__name__}. On a radial grid use Tikhonov."
            raise TypeError(message)
        self.grid, self.field, self.reference, self.weight = grid, field, reference, weight
        self.standard_deviation = _positive("standard_deviation", standard_deviation, ((),))
        self.correlation_length = _positive("correlation_length", correlation_length, ((), (grid.ndim,)))
        self.boundary = boundary
        resolve_boundary(boundary, grid, _CONDITIONS, "BiLaplacian")

    def __call__(self, model: Any) -> Scalar:
        return half_sum_of_squares(self.residual(model))

    def residual(self, model: Any) -> Float[Array, "..."]:
        """`sqrt(weight V) (δ - γ lap)(field - reference)`: standard normal numbers for a field of the prior."""
        u = self.field(model)
        u = only_active(self.grid, u - jnp.broadcast_to(jnp.asarray(self.reference, u.dtype), u.shape))
        squares = jnp.broadcast_to(self.correlation_length, (self.grid.ndim,)).astype(u.dtype) ** 2
        conditions = resolve_boundary(self.boundary, self.grid, _CONDITIONS, "BiLaplacian")
        scaled_laplacian = flux_operator(self.grid, tuple(squares), conditions)
        operated = matern_decay(self._smoothness) ** 2 * u - scaled_laplacian.mv(u)
        scale = jnp.sqrt(jnp.asarray(self.weight, u.dtype)) * self._scale(squares)
        return scale * jnp.asarray(np.sqrt(self.grid.cell_volumes), u.dtype) * operated

    def sample(self, key: PRNGKeyArray) -> Float[Array, "..."]:
        """A field of the prior, `reference + (δ - γ lap)^{-1} V^{-1/2} noise`, for `weight = 1` and insulated walls.

        **Arguments:**

        - `key`: of the random numbers.

        **Returns:** a field of `grid.shape`.

        **Raises:** `ValueError` for a prior with other walls than `Neumann()`, and for traced correlation lengths.
        """
        if self.boundary is not None:
            message = "BiLaplacian.sample: samples are drawn for insulated walls; this prior has another boundary."
            raise ValueError(message)
        if not is_concrete(self.correlation_length):
            message = "BiLaplacian.sample: correlation_length must be known, but is traced by JAX."
            raise ValueError(message)
        dtype = self.standard_deviation.dtype
        lengths = np.broadcast_to(np.asarray(self.correlation_length, np.float64), (self.grid.ndim,))
        noise = jax.random.normal(key, self.grid.shape, dtype)
        noise = noise / jnp.asarray(np.sqrt(cell_volumes(self.grid, np.dtype(np.float64))), dtype)
        decay = matern_decay(self._smoothness)
        smooth = LaplacianFunctions(self.grid, lengths).apply(lambda x: 1 / (decay**2 + x), noise)
        return jnp.asarray(self.reference, dtype) + smooth / self._scale(jnp.asarray(lengths**2, dtype))

    def absorbing_walls(self) -> tuple[Robin, ...]:
        """Conditions that keep the standard deviation near the walls: `boundary=` for another prior like this one.

        `∂u/∂n + κ u / c = 0`. In a half space the variance follows from one-dimensional problems, one for each wave
        along the wall; `c` makes the largest relative change of the standard deviation, at any distance from the wall,
        smallest: 4.7 % for `c` = 2.07 in one dimension, 3.3 % for 1.62 in two, none for 1 in three.
        """
        lengths = jnp.broadcast_to(self.correlation_length, (self.grid.ndim,))
        # In the scaled equation the flux through a wall is ρ² ∂u/∂n, and κ = decay / ρ.
        rate = matern_decay(self._smoothness) / _WALL_CONSTANT[self.grid.ndim]
        return tuple(Robin(rate * length, 1.0, 0.0) for length in lengths)

    def reduced_misfit(self, model: Any, value: Scalar) -> None:
        return None

    @property
    def _smoothness(self) -> float:
        return 2 - self.grid.ndim / 2

    def _scale(self, squares: Float[Array, " axes"]) -> Float[Array, ""]:
        """`γ` in coordinates in units of the correlation lengths, times the root of their volume element."""
        constant = math.sqrt(matern_scale(self._smoothness, self.grid.ndim))
        deviation = self.standard_deviation.astype(squares.dtype)
        return 1 / (constant * deviation * jnp.prod(squares) ** 0.25)


_WALL_CONSTANT = {1: 2.07, 2: 1.62, 3: 1.0}
_CONDITIONS = (Neumann, Dirichlet, Periodic, Robin)


def _positive(name: str, value: Any, shapes: tuple[tuple[int, ...], ...]) -> Array:
    numbers = as_inexact(value)
    bad_sign = is_concrete(numbers) and not np.all(np.asarray(numbers) > 0)
    if numbers.shape not in shapes or bad_sign:
        shape = " or ".join("one number" if s == () else f"{s[0]} numbers (one per axis)" for s in shapes)
        message = f"BiLaplacian: {name} must be {shape}, positive; got {value}."
        raise ValueError(message)
    return numbers
