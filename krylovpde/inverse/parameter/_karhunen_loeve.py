"""Random fields by their largest modes."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Shaped

from ...functions import LaplacianFunctions
from ...functions._laplacian import as_lengths, axis_modes
from ...functions._matern import matern_spectrum
from ...grid import Grid, broadcasts_to
from ._base import AbstractParameter, Raw, as_raw, check_shape, like, structure_of, value_of, with_value_of
from ._basis import AbstractBasis, DenseBasis, TensorBasis
from ._fixed import as_fixed


class KarhunenLoeve(AbstractParameter):
    r"""`value = mean + Σ_k raw_k b_k`: a random field by its modes of largest variance.

    The modes are eigenvectors of a covariance times the square roots of their eigenvalues, so independent standard
    normal `raw` numbers give a field of that covariance, cut off, and `Gaussian(lambda model: model.field.raw)` is the
    penalty that goes with it. `basis.captured` is the part of the variance that the cut leaves.

    `with_value` is the least-squares projection on the modes, weighted with the cells' volumes.

    **Arguments:**

    - `raw`: one number per mode, or a parameter with such a value.
    - `basis`: a `DenseBasis`, a `TensorBasis`, or fields stacked on a leading axis. It is structure.
    - `mean`: a number or a field; fixed, unless it is a parameter.

    **Raises:** `ValueError` for a `raw` that is not one number per mode, and a mean of another shape.
    """

    raw: Raw
    basis: AbstractBasis
    mean: AbstractParameter

    def __init__(self, raw: Any, basis: Any, mean: Any = 0.0):
        self.raw, self.mean = as_raw(raw), as_fixed(mean)
        self.basis = basis if isinstance(basis, AbstractBasis) else DenseBasis(basis)
        check_shape(self.raw, (self.basis.size,), "KarhunenLoeve", "one number per mode")
        found = structure_of(self.mean).shape
        if not broadcasts_to(found, self.basis.shape):
            message = f"KarhunenLoeve: mean has the shape {found}, but the modes {self.basis.shape}."
            raise ValueError(message)

    @classmethod
    def from_matern(
        cls,
        grid: Grid,
        rank: int,
        standard_deviation: float,
        correlation_length: float | Sequence[float],
        smoothness: float = 1.5,
        mean: Any = 0.0,
    ) -> "KarhunenLoeve":
        r"""The modes of a Matérn field on a grid: cosines, damped by $(8\nu + \sum_i \rho_i^2 \lambda_i)^{-\nu - d/2}$.

        The field solves an equation with white noise and no flux through the walls (Lindgren, Rue, Lindström 2011). Its
        standard deviation is the given one inside and, up to a factor of `sqrt(2)` per wall, larger within a
        correlation length of a wall.

        **Arguments:**

        - `grid`: uniform or graded, without a mask.
        - `rank`: how many modes.
        - `standard_deviation`: of the field at a point, in its unit.
        - `correlation_length`: `ρ`, where the correlation has fallen to 0.14; one number or one per axis.
        - `smoothness`: `ν > 0`; the field has derivatives of orders less than that.
        - `mean`: a number or a field.

        **Returns:** a `KarhunenLoeve` with `raw = 0`.

        **Raises:** `ValueError` for numbers that are not positive, a grid with a mask, and a rank that is too large.
        """
        _check_numbers(grid, standard_deviation, correlation_length, smoothness)
        lengths = as_lengths("KarhunenLoeve.from_matern(correlation_length)", correlation_length, grid.ndim)
        spectrum = matern_spectrum(LaplacianFunctions(grid, lengths).eigenvalues, smoothness, grid.ndim)
        variances = standard_deviation**2 * np.prod(lengths) * spectrum
        vectors = [axis_modes(grid, axis)[1] for axis in range(grid.ndim)]
        return cls(jnp.zeros(rank), TensorBasis(grid, vectors, variances, rank), mean)

    @classmethod
    def from_rbf(
        cls,
        grid: Grid,
        rank: int,
        standard_deviation: float,
        length_scale: float | Sequence[float],
        mean: Any = 0.0,
    ) -> "KarhunenLoeve":
        r"""The modes of the covariance $s^2 \exp(-\sum_i (x_i - y_i)^2 / (2 \ell_i^2))$, of very smooth fields.

        It is that of `krylovpde.functions.RBFCovariance`, and holds up to the walls. Its eigenvalues fall faster than
        any power: some tens of modes per correlation volume are the whole of it.

        **Arguments:**

        - `grid`: uniform or graded, without a mask.
        - `rank`: how many modes.
        - `standard_deviation`: of the field at a point, in its unit.
        - `length_scale`: `ℓ`, one number or one per axis.
        - `mean`: a number or a field.

        **Returns:** a `KarhunenLoeve` with `raw = 0`.

        **Raises:** `ValueError` for numbers that are not positive, a grid with a mask, and a rank that is too large.
        """
        _check_numbers(grid, standard_deviation, length_scale, 1.0)
        lengths = as_lengths("KarhunenLoeve.from_rbf(length_scale)", length_scale, grid.ndim)
        pairs = [_rbf_modes(x, grid.cell_measures(i), lengths[i]) for i, x in enumerate(grid.centres)]
        variances = np.full(grid.shape, standard_deviation**2)
        for axis, (values, _) in enumerate(pairs):
            variances = variances * grid.along(axis, values)
        return cls(jnp.zeros(rank), TensorBasis(grid, [vectors for _, vectors in pairs], variances, rank), mean)

    @property
    def value(self) -> Float[Array, "..."]:
        """A field."""
        numbers = value_of(self.raw)
        return value_of(self.mean).astype(numbers.dtype) + self.basis.synthesise(numbers)

    def with_value(self, value: Shaped[ArrayLike, "..."]) -> "KarhunenLoeve":
        dtype = structure_of(self.raw).dtype
        wanted = like(value, self.basis.shape, dtype, "KarhunenLoeve.with_value(value)")
        numbers = self.basis.analyse(wanted - value_of(self.mean).astype(dtype))
        return KarhunenLoeve(with_value_of(self.raw, numbers), self.basis, self.mean)


def _check_numbers(grid: Grid, deviation: float, lengths: Any, smoothness: float):
    numbers = {"standard_deviation": deviation, "a length": np.min(lengths), "smoothness": smoothness}
    for name, number in numbers.items():
        if not number > 0:
            message = f"KarhunenLoeve: {name} must be positive, got {number}."
            raise ValueError(message)
    if grid.is_masked:
        message = (
            "KarhunenLoeve: on a grid with a mask the modes are not products of vectors along the axes. Give modes of "
            "your own, `KarhunenLoeve(raw, DenseBasis(fields, grid))`, or take the box without the mask."
        )
        raise ValueError(message)


def _rbf_modes(nodes: np.ndarray, measures: np.ndarray, length: float) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, largest first, and eigenvectors (columns), orthonormal in the measures."""
    root = np.sqrt(measures)
    covariance = np.exp(-((nodes[:, None] - nodes[None, :]) ** 2) / (2 * length**2))
    values, vectors = np.linalg.eigh(root[:, None] * covariance * root)
    return np.maximum(values[::-1], 0.0), vectors[:, ::-1] / root[:, None]
