"""The inner product that a prior brings with it."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from ..regulariser import AbstractPrior
from ._base import AbstractInnerProduct


class CameronMartin(AbstractInnerProduct):
    r"""`<u, w> = L u · L w` with the `L` of a prior, which is `½ |L (field - reference)|² = ½ ‖field - reference‖²`.

    Its Riesz map is the prior's covariance $(L^\top L)^{-1}$, and its factor $S = L^{-1}$ makes a sample of the prior,
    less its mean, of white noise. In coordinates `y` with `field = S y` the prior is `½|y|²`, and the Hessian of the
    data's misfit has few eigenvalues above 1, the prior's own: as many as there are numbers that the data say more
    about, on any mesh.

    **Arguments:**

    - `prior`: a [`krylovpde.inverse.BiLaplacian`][] with any walls and mask, a [`krylovpde.inverse.Gaussian`][] of one
        array, or another [`krylovpde.inverse.AbstractPrior`][], with its `weight`. Its numbers are constants here:
        nothing is differentiated in them.

    **Raises:** `TypeError` for anything but a prior.

    Source: Bui-Thanh, Ghattas, Martin, Stadler, *A computational framework for infinite-dimensional Bayesian inverse
    problems, part I*, SIAM J. Sci. Comput. 35 (2013).
    """

    prior: AbstractPrior

    def __init__(self, prior: AbstractPrior):
        if not isinstance(prior, AbstractPrior):
            message = (
                f"CameronMartin(prior): a prior that whitens and colours is needed, such as BiLaplacian, got a "
                f"{type(prior).__name__}."
            )
            raise TypeError(message)
        self.prior = prior

    def inner(self, u: Float[Array, "..."], w: Float[Array, "..."]) -> Scalar:
        return jnp.sum(self.solve_factor(u) * self.solve_factor(w))

    def riesz(self, derivative: Float[Array, "..."]) -> Float[Array, "..."]:
        """The prior's covariance times the derivative."""
        return self.factor(self._constant.colour_transpose(derivative))

    def factor(self, raw: Float[Array, "..."]) -> Float[Array, "..."]:
        """`L⁻¹ raw`."""
        return jax.jvp(self._constant.colour, (jnp.zeros_like(raw),), (raw,))[1]

    def solve_factor(self, u: Float[Array, "..."]) -> Float[Array, "..."]:
        """`L u`."""
        return jax.jvp(self._constant.whiten, (jnp.zeros_like(u),), (u,))[1]

    @property
    def _constant(self) -> AbstractPrior:
        numbers, rest = eqx.partition(self.prior, eqx.is_inexact_array)
        return eqx.combine(jax.lax.stop_gradient(numbers), rest)
