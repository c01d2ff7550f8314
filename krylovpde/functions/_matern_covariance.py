"""Matérn's covariance between the nodes of a uniform grid."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Inexact

from .._custom_types import Structure
from .._parameter import as_nonnegative, as_positive
from ..grid import Grid
from ._covariance import as_axes
from ._symmetric import AbstractSymmetricOperator
from ._toeplitz import ToeplitzOperator

# Of the correlation at the distance r (in lengths): exp(-d) times a polynomial in d = sqrt(2 ν) r.
_POLYNOMIALS = {0.5: (1.0,), 1.5: (1.0, 1.0), 2.5: (1.0, 1.0, 1.0 / 3.0)}


class MaternCovariance(AbstractSymmetricOperator):
    r"""Matérn's covariance $s^2\, k_\nu(|x - y| / \ell)$ between the nodes of a uniform Cartesian grid.

    $$k_{1/2}(r) = e^{-r}, \quad k_{3/2}(r) = (1 + \sqrt3\, r)\, e^{-\sqrt3\, r}, \quad
    k_{5/2}(r) = (1 + \sqrt5\, r + \tfrac53 r^2)\, e^{-\sqrt5\, r}.$$

    A Toeplitz matrix along each axis: a product takes Fourier transforms on a grid of twice the size, $O(n \log n)$,
    and no matrix is made. Self-adjoint and positive definite in the Euclidean inner product. A sample of the field is
    [`krylovpde.functions.sqrt_multiply`][] of standard normal numbers; the field has derivatives of orders below $\nu$.
    Unlike that of [`krylovpde.functions.RBFCovariance`][], its spectrum falls slowly enough to be above rounding.

    Length scale and variance are leaves that derivatives reach; nodes and smoothness are structure.
    """

    length_scale: Array
    variance: Array
    smoothness: float = eqx.field(static=True)
    shape: tuple[int, ...] = eqx.field(static=True)
    spacing: tuple[float, ...] = eqx.field(static=True)

    def __init__(
        self,
        coordinates: Grid | Sequence[ArrayLike],
        length_scale: ArrayLike,
        variance: ArrayLike = 1.0,
        smoothness: float = 1.5,
    ):
        r"""A covariance.

        **Arguments:**

        - `coordinates`: a uniform [`krylovpde.Grid`][] without a mask (its cell centres), or the equidistant nodes
            along each axis: one list of numbers per axis.
        - `length_scale`: $\ell > 0$, one number, in the unit of the coordinates. At the distance $2 \ell$ the
            correlation has fallen to about 0.14, whatever the smoothness.
        - `variance`: $s^2 \ge 0$, one number, in the square of the field's unit.
        - `smoothness`: $\nu$, one of 0.5, 1.5 and 2.5.

        **Raises:**

        `ValueError` for nodes that are not equidistant, a grid with a mask, another smoothness, and numbers that are
        arrays or known not to be positive.
        """
        if isinstance(coordinates, Grid) and coordinates.is_masked:
            message = (
                "`MaternCovariance(grid)`: on a grid with a mask the covariance is no Toeplitz matrix. Take the box "
                "without the mask, and observe the active cells."
            )
            raise ValueError(message)
        axes = as_axes("MaternCovariance", coordinates)
        if smoothness not in _POLYNOMIALS:
            message = f"`MaternCovariance(smoothness=...)` must be 0.5, 1.5 or 2.5, got {smoothness!r}."
            raise ValueError(message)
        self.shape, self.spacing = tuple(x.size for x in axes), tuple(map(_spacing, axes))
        self.length_scale = as_positive(length_scale, "MaternCovariance(length_scale)")
        self.variance = as_nonnegative(variance, "MaternCovariance(variance)")
        self.smoothness = float(smoothness)

    def first_row(self, dtype: Any) -> Float[Array, "..."]:
        """The covariances of all nodes with the first one: a field."""
        steps = [np.arange(n) * h for n, h in zip(self.shape, self.spacing, strict=True)]
        distances = np.sqrt(sum(np.square(s) for s in np.meshgrid(*steps, indexing="ij", sparse=True)))
        scaled = jnp.asarray(np.sqrt(2 * self.smoothness) * distances, dtype) / self.length_scale.astype(dtype)
        polynomial = jnp.polyval(jnp.asarray(_POLYNOMIALS[self.smoothness][::-1], dtype), scaled)
        return self.variance.astype(dtype) * polynomial * jnp.exp(-scaled)

    def toeplitz(self, dtype: Any = None) -> ToeplitzOperator:
        """The same matrix with its spectrum computed, which `mv` does anew in every product."""
        return ToeplitzOperator.from_first_row(self.first_row(self._dtype() if dtype is None else dtype))

    def mv(self, vector: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
        """`K x`."""
        return self.toeplitz(jnp.finfo(vector.dtype).dtype).mv(vector)

    def in_structure(self) -> Structure:
        """A field on the nodes."""
        return jax.ShapeDtypeStruct(self.shape, self._dtype())

    @property
    def spectral_bound(self) -> Float[Array, ""]:
        """That of the circulant matrix of twice the size."""
        return self.toeplitz().spectral_bound

    def _dtype(self) -> np.dtype:
        return np.result_type(self.length_scale.dtype, self.variance.dtype)


def _spacing(nodes: np.ndarray) -> float:
    if nodes.size == 1:
        return 1.0
    step = (nodes[-1] - nodes[0]) / (nodes.size - 1)
    uneven = np.max(np.abs(np.diff(nodes) - step))
    if not uneven <= 1e-8 * abs(step):
        message = (
            f"`MaternCovariance(coordinates)` needs equidistant nodes along each axis; their steps differ by "
            f"{uneven:.2g} from {step:.2g}. `RBFCovariance` takes any nodes."
        )
        raise ValueError(message)
    return float(abs(step))
