"""The inverse of a matrix of low rank plus a multiple of the identity."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._solution import RESULTS
from ._base import AbstractInverse, InverseProduct, Product


class LowRankInverse(AbstractInverse):
    """`(U D Uᵀ + ρ I)⁻¹ g`, with orthonormal `U`: what a `Nystrom` makes of a Hessian, to be used again.

    A Hessian changes little from one outer step to the next, and a factorisation serves as long as it is good: the
    products are paid once (`kp.inverse.low_rank_inverse`). It asks for none itself, so nothing but the residual in
    `HypergradientStats` tells when it is stale.

    **Arguments:**

    - `vectors`: `U`, one column for each eigenvalue.
    - `values`: the diagonal of `D`.
    - `rho`: `ρ`.
    """

    vectors: Float[Array, "n k"]
    values: Float[Array, " k"]
    rho: Float[Array, ""]

    @property
    def shift(self) -> Float[Array, ""]:
        return self.rho

    def solve(self, product: Product, vector: Float[Array, " n"]) -> InverseProduct:
        inside = self.vectors.T @ vector
        shifted = self.values + self.rho
        # Not `g/ρ - U (1/ρ - 1/(D + ρ)) Uᵀ g`, whose two terms cancel where D is large.
        value = self.vectors @ (inside / shifted)
        if self.vectors.shape[0] > self.vectors.shape[1]:  # else there is nothing outside but rounding, over ρ
            value = value + (vector - self.vectors @ inside) / self.rho
        is_positive = jnp.all(shifted > 0)
        result = RESULTS.where(is_positive, RESULTS.successful, RESULTS.not_positive_definite)
        return InverseProduct(value, jnp.asarray(0), result)
