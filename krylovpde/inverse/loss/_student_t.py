"""Minus the logarithm of a likelihood with heavy tails."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import jax.tree_util as jtu
from jax.scipy.special import digamma
from jaxtyping import Array, ArrayLike, Float, PyTree, Scalar, Shaped

from ..._parameter import as_positive
from ._base import AbstractDataLoss
from ._data import measured, predicted, refuse_complex, weighted

# log(1 + x)/x is summed as a series up to here; with this many terms its error is below 1e-17.
_SMALL, _NUM_TERMS = 0.02, 10


class StudentT(AbstractDataLoss):
    r"""`Σ_i ρ(r_i)` with `r = (prediction - data) / sigma` and Student's t distribution: outliers are let go.

    $$\rho(r) = \tfrac12 (\nu + 1) \log(1 + r^2 / \nu),$$

    minus the logarithm of the likelihood, up to a constant. The force of a datum grows up to $r = \sqrt\nu$ and *falls*
    beyond: far outliers hardly count. The price is a loss that is not convex: start from where `LeastSquares` or
    `Huber` have ended. It is a sum of squares through the residual
    $r \sqrt{(\nu + 1) \log(1 + r^2 / \nu) / r^2}$, which is smooth, so Gauss–Newton solvers apply.

    `reduced_misfit` divides by what noise of this distribution would give.

    **Arguments:**

    - `predict`, `data`, `sigma`: as for `LeastSquares`; real. `sigma` is the scale of the distribution, whose standard
        deviation is `sigma sqrt(dof / (dof - 2))`.
    - `dof`: the degrees of freedom `ν > 0`. Small for heavy tails (1 is Cauchy's distribution, 4 a good start); with
        hundreds it is Gaussian.

    **Raises:** `ValueError` as for `LeastSquares`, and for a `dof` that is not positive; `TypeError` for complex data.

    !!! cite "Source"

        Lange, Little, Taylor, *Robust statistical modeling using the t distribution*, Journal of the American
        Statistical Association 84 (1989).
    """

    predict: Callable[[Any], PyTree]
    data: PyTree[Shaped[Array, "..."]]
    sigma: PyTree[Shaped[Array, "..."]]
    dof: Shaped[Array, ""]

    def __init__(
        self,
        predict: Callable[[Any], PyTree],
        data: PyTree = None,
        sigma: PyTree = None,
        dof: ArrayLike = 4.0,
    ):
        self.predict = predict
        self.data, self.sigma = measured("StudentT", predict, data, sigma)
        self.dof = as_positive(dof, "StudentT(dof)")
        refuse_complex("StudentT", self.data)

    def residual(self, model: PyTree) -> PyTree[Array]:
        """`sign(r) sqrt(2 ρ(r))`, a pytree like the data; 0 where `sigma` is infinite."""
        prediction = predicted("StudentT", self.predict, model, self.data)
        plain = jtu.tree_map(weighted, prediction, self.data, self.sigma)
        return jtu.tree_map(lambda r: _student_residual(r, self.dof.astype(r.dtype)), plain)

    @property
    def expected_value(self) -> Scalar:
        """`num_data` times the mean of `ρ` over a residual of this distribution."""
        count = self.num_data
        dof = self.dof.astype(count.dtype)
        return count * (dof + 1) / 2 * (digamma((dof + 1) / 2) - digamma(dof / 2))


def _student_residual(r: Float[Array, "..."], dof: Float[Array, ""]) -> Float[Array, "..."]:
    return r * jnp.sqrt((dof + 1) / dof * _log1p_quotient(r**2 / dof))


def _log1p_quotient(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`log(1 + x) / x` for `x ≥ 0`, smooth at 0, where the quotient itself has no value."""
    small = x < _SMALL
    safe, near = jnp.where(small, 1.0, x), jnp.where(small, x, 0.0)
    series = jnp.zeros_like(x)
    for order in reversed(range(_NUM_TERMS)):
        series = (-1.0) ** order / (order + 1) + near * series
    return jnp.where(small, series, jnp.log1p(safe) / safe)
