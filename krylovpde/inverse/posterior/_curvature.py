r"""What the data say of the whitened unknowns: `H = J̃ᵀ J̃`, and functions of `I + ratio H`.

`J̃ = J L⁻¹` is the derivative of the data's residual in standard normal numbers, so `I + H` is the precision of the
posterior where that of the prior is `I`. `ratio` is the precision of the noise over that of the prior, each relative
to what was told.
"""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from ...krylov._space import combine, project


class AbstractCurvature(eqx.Module):
    """An approximation of `H`."""

    @abc.abstractmethod
    def power(self, vector: Float[Array, " n"], exponent: float, ratio: Scalar) -> Float[Array, " n"]:
        """`(I + ratio H)^exponent vector`."""

    @property
    @abc.abstractmethod
    def spectrum(self) -> Float[Array, " k"]:
        """Eigenvalues of `H`; those that are not listed count as zero."""

    def log_determinant(self, ratio: Scalar) -> Scalar:
        """`log det (I + ratio H)`."""
        return jnp.sum(jnp.log1p(ratio.astype(self.spectrum.dtype) * self.spectrum))


class LowRank(AbstractCurvature):
    """`H = V diag(values) Vᵀ` with orthonormal columns: the largest eigenpairs, or all of them.

    - `values`: `(k,)`, falling.
    - `vectors`: `(k, n)`, one eigenvector in each row.
    """

    values: Float[Array, " k"]
    vectors: Float[Array, "k n"]

    def power(self, vector: Float[Array, " n"], exponent: float, ratio: Scalar) -> Float[Array, " n"]:
        """`(I - V Vᵀ) x + V (1 + ratio values)^exponent Vᵀ x`.

        As one difference, `x - V (1 - (1 + values)^exponent) Vᵀ x` would lose as many digits as the data gain over the
        prior: twelve for a prior a million times wider than the posterior. The rest is projected twice for that.
        """
        inside = project(self.vectors, vector)
        outside = without(self.vectors, without(self.vectors, vector))
        return outside + combine(self.vectors, (1 + ratio.astype(inside.dtype) * self.values) ** exponent * inside)

    @property
    def spectrum(self) -> Float[Array, " k"]:
        return self.values


class Diagonal(AbstractCurvature):
    """`H = diag(entries)`: what each number alone does to the predictions. Correlations are left out."""

    entries: Float[Array, " n"]

    def power(self, vector: Float[Array, " n"], exponent: float, ratio: Scalar) -> Float[Array, " n"]:
        return (1 + ratio.astype(vector.dtype) * self.entries) ** exponent * vector

    @property
    def spectrum(self) -> Float[Array, " n"]:
        return self.entries


def without(basis: Float[Array, "k n"], vector: Float[Array, " n"]) -> Float[Array, " n"]:
    """The vector without its part in the space of orthonormal rows; rows of zeros take nothing away."""
    return vector - combine(basis, project(basis, vector))
