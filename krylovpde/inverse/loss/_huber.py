"""Least squares that outliers cannot pull far."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import jax.tree_util as jtu
from jax.scipy.stats import norm
from jaxtyping import Array, ArrayLike, Float, PyTree, Scalar, Shaped

from ..._parameter import as_positive
from ._base import AbstractDataLoss
from ._data import measured, predicted, refuse_complex, weighted


class Huber(AbstractDataLoss):
    r"""`Σ_i ρ(r_i)` with `r = (prediction - data) / sigma`: squares near zero, straight lines for outliers.

    $$\rho(r) = \tfrac12 r^2 \text{ for } |r| \le k, \qquad k |r| - \tfrac12 k^2 \text{ beyond}.$$

    An outlier pulls with the force of a datum that is `k` standard deviations off, however far off it is. Convex where
    the predictions are linear in the model. It is a sum of squares through the residual
    $\operatorname{sign}(r)\sqrt{2\rho(r)}$, whose derivative is continuous, so Gauss–Newton solvers apply.

    `reduced_misfit` divides by what Gaussian noise without outliers would give.

    **Arguments:**

    - `predict`, `data`, `sigma`: as for `LeastSquares`; real. `sigma` is the standard deviation of the good data.
    - `threshold`: `k`, in standard deviations. 1.345 keeps 95 % of the efficiency of least squares on Gaussian noise.

    **Raises:** `ValueError` as for `LeastSquares`, and for a `threshold` that is not positive; `TypeError` for complex
    data.

    !!! cite "Source"

        Huber, *Robust estimation of a location parameter*, Annals of Mathematical Statistics 35 (1964).
    """

    predict: Callable[[Any], PyTree]
    data: PyTree[Shaped[Array, "..."]]
    sigma: PyTree[Shaped[Array, "..."]]
    threshold: Shaped[Array, ""]

    def __init__(
        self,
        predict: Callable[[Any], PyTree],
        data: PyTree = None,
        sigma: PyTree = None,
        threshold: ArrayLike = 1.345,
    ):
        self.predict = predict
        self.data, self.sigma = measured("Huber", predict, data, sigma)
        self.threshold = as_positive(threshold, "Huber(threshold)")
        refuse_complex("Huber", self.data)

    def residual(self, model: PyTree) -> PyTree[Array]:
        """`sign(r) sqrt(2 ρ(r))`, a pytree like the data; 0 where `sigma` is infinite."""
        prediction = predicted("Huber", self.predict, model, self.data)
        plain = jtu.tree_map(weighted, prediction, self.data, self.sigma)
        return jtu.tree_map(lambda r: _huber_residual(r, self.threshold.astype(r.dtype)), plain)

    @property
    def expected_value(self) -> Scalar:
        """`num_data` times the mean of `ρ` over a standard normal residual."""
        count = self.num_data
        k = self.threshold.astype(count.dtype)
        tail = norm.cdf(-k)
        # The integrals of r²/2 between -k and k and of k|r| - k²/2 outside, over the density of the standard normal.
        return count * (0.5 - tail + k * norm.pdf(k) - k**2 * tail)


def _huber_residual(r: Float[Array, "..."], threshold: Float[Array, ""]) -> Float[Array, "..."]:
    outlying = jnp.abs(r) > threshold
    # Inside, the root is taken of a number that has a derivative, and thrown away.
    far = jnp.where(outlying, r, 2 * threshold)
    return jnp.where(outlying, jnp.sign(far) * jnp.sqrt(threshold * (2 * jnp.abs(far) - threshold)), r)
