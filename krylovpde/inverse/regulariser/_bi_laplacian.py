"""A Gaussian prior with a standard deviation and a correlation length."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, Scalar, Shaped

from ..._parameter import as_inexact
from ...functions._along import along_axes
from ...functions._laplacian import LONGEST_AXIS, axis_modes
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
from ._prior import AbstractPrior


class BiLaplacian(AbstractPrior):
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

    def selected(self, model: Any) -> Float[Array, "..."]:
        """`field(model)`."""
        return self.field(model)

    def whiten(self, values: Float[Array, "..."]) -> Float[Array, "..."]:
        """`sqrt(weight V) (δ - γ lap)(field - reference)`: standard normal numbers for a field of the prior."""
        u = only_active(self.grid, values - jnp.broadcast_to(jnp.asarray(self.reference, values.dtype), values.shape))
        return self._scale(u.dtype) * jnp.asarray(np.sqrt(self.grid.cell_volumes), u.dtype) * self._operated(u)

    def colour(self, noise: Float[Array, "..."]) -> Float[Array, "..."]:
        """`reference + (δ - γ lap)^{-1} (weight V)^{-1/2} noise`.

        Between insulated walls by eigenvectors along each axis, exact to rounding. Between other walls, on a grid with
        a mask, and with an axis of more than 2048 cells, by conjugate gradients to 1e-12 (1e-6 in single precision).
        """
        noise = only_active(self.grid, noise) / self._scale(noise.dtype)
        return jnp.asarray(self.reference, noise.dtype) + (
            self._by_modes(noise) if self._has_modes else self._by_iteration(noise)
        )

    def variance(self, values: Float[Array, "..."]) -> Float[Array, "..."] | None:
        """Exact between insulated walls, on a grid without a mask: `Σ_k |mode_k|² / eigenvalue_k²`."""
        if not self._has_modes:
            return None
        squares = [axis_modes(self.grid, axis)[1] ** 2 for axis in range(self.grid.ndim)]
        return along_axes(squares, (self._scale(values.dtype) * self._eigenvalues(values.dtype)) ** -2)

    def log_determinant(self, values: Float[Array, "..."]) -> Scalar | None:
        """Known between insulated walls, on a grid without a mask: from the eigenvalues and the volumes."""
        if not self._has_modes:
            return None
        volumes = cell_volumes(self.grid, np.dtype(np.float64))
        eigenvalues = self._scale(values.dtype) * self._eigenvalues(values.dtype)
        return jnp.sum(jnp.log(eigenvalues)) + jnp.asarray(0.5 * np.sum(np.log(volumes)), values.dtype)

    def sample(self, key: PRNGKeyArray) -> Float[Array, "..."]:
        """A field of the prior, `colour` of independent standard normal numbers.

        **Arguments:**

        - `key`: of the random numbers.

        **Returns:** a field of `grid.shape`.
        """
        return self.colour(jax.random.normal(key, self.grid.shape, self.standard_deviation.dtype))

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

    @property
    def _smoothness(self) -> float:
        return 2 - self.grid.ndim / 2

    @property
    def _conditions(self) -> Any:
        return resolve_boundary(self.boundary, self.grid, _CONDITIONS, "BiLaplacian")

    @property
    def _has_modes(self) -> bool:
        """Whether the eigenvectors of the operator are products of known ones."""
        insulated = all(isinstance(wall, Neumann) for pair in self._conditions for wall in pair)
        return insulated and not self.grid.is_masked and max(self.grid.shape) <= LONGEST_AXIS

    def _squares(self, dtype: Any) -> Float[Array, " axes"]:
        return jnp.broadcast_to(self.correlation_length, (self.grid.ndim,)).astype(dtype) ** 2

    def _operated(self, u: Float[Array, "..."]) -> Float[Array, "..."]:
        """`(κ² - lap) u` in coordinates in units of the correlation lengths."""
        scaled_laplacian = flux_operator(self.grid, tuple(self._squares(u.dtype)), self._conditions)
        return matern_decay(self._smoothness) ** 2 * u - scaled_laplacian.mv(u)

    def _eigenvalues(self, dtype: Any) -> Float[Array, "..."]:
        """Those of `_operated`, between insulated walls."""
        total = jnp.full(self.grid.shape, matern_decay(self._smoothness) ** 2, dtype)
        for axis, square in enumerate(self._squares(dtype)):
            along = self.grid.along(axis, axis_modes(self.grid, axis)[0])
            total = total + square * jnp.asarray(along, dtype)
        return total

    def _by_modes(self, noise: Float[Array, "..."]) -> Float[Array, "..."]:
        """`(κ² - lap)^{-1} V^{-1/2} noise`; the modes are orthonormal in the volumes, so `Qᵀ V V^{-1/2}` analyses."""
        vectors = [axis_modes(self.grid, axis)[1] for axis in range(self.grid.ndim)]
        roots = [np.sqrt(self.grid.cell_measures(axis)) for axis in range(self.grid.ndim)]
        analysis = [q.T * root for q, root in zip(vectors, roots, strict=True)]
        return along_axes(vectors, along_axes(analysis, noise) / self._eigenvalues(noise.dtype))

    def _by_iteration(self, noise: Float[Array, "..."]) -> Float[Array, "..."]:
        """The same as `V^{-1/2} S^{-1} noise` with `S = V^{1/2} (κ² - lap) V^{-1/2}`, symmetric positive definite."""
        root = jnp.asarray(np.sqrt(cell_volumes(self.grid, np.dtype(np.float64))), noise.dtype)
        structure = jax.ShapeDtypeStruct(noise.shape, noise.dtype)
        symmetric = lx.FunctionLinearOperator(
            lambda v: root * self._operated(v / root), structure, lx.positive_semidefinite_tag
        )
        # lineax compares entry by entry, relative to each: where the noise has zeros, as unit vectors have, it would
        # stop at once. With the largest entry at 1 a tolerance is absolute. The residual of the recurrence falls below
        # any tolerance; that which is computed anew stagnates at rounding.
        largest = jax.lax.stop_gradient(jnp.max(jnp.abs(noise)))
        largest = jnp.where(largest > 0, largest, jnp.ones_like(largest))
        tolerance = 1e-13 if jnp.finfo(noise.dtype).bits == 64 else 1e-6
        solver = lx.CG(rtol=tolerance, atol=tolerance, stabilise_every=None)
        return largest * lx.linear_solve(symmetric, noise / largest, solver).value / root

    def _scale(self, dtype: Any) -> Float[Array, ""]:
        """`sqrt(weight) γ` in coordinates in units of the correlation lengths, times the root of their volume."""
        constant = math.sqrt(matern_scale(self._smoothness, self.grid.ndim))
        deviation = self.standard_deviation.astype(dtype)
        root = jnp.sqrt(jnp.asarray(self.weight, dtype))
        return root / (constant * deviation * jnp.prod(self._squares(dtype)) ** 0.25)


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
