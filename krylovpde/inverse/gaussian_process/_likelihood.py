"""`log p(y)` of a Gaussian process at the nodes of a grid."""

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from ..._solution import RESULTS, first_failure
from ...functions import inverse_multiply, log_determinant
from ...krylov._space import inner
from ._whitening import Whitening


class LogMarginalLikelihood(eqx.Module):
    """The logarithm of the density of data, by random probes.

    * `value`: `-½ misfit - ½ log_determinant - ½ n log 2π`.
    * `standard_error`: of `value`, by chance; all of it comes from the log-determinant.
    * `misfit`: `yᵀ (K + σ² I)⁻¹ y`; about `n` at good hyperparameters.
    * `log_determinant`: of `K + σ² I`.
    * `result`: a member of [`krylovpde.RESULTS`][].
    * `dimension`: the largest Krylov dimension that was used.

    All numbers have derivatives.
    """

    value: Float[Array, "*batch"]
    standard_error: Float[Array, "*batch"]
    misfit: Float[Array, "*batch"]
    log_determinant: Float[Array, "*batch"]
    result: RESULTS
    dimension: Array

    @property
    def successful(self) -> Bool[Array, "*batch"]:
        """Whether the tolerance was met everywhere."""
        return self.result == RESULTS.successful


def likelihood(
    whitening: Whitening, data: PyTree[Array], key: PRNGKeyArray, estimate: dict[str, Any], solve: dict[str, Any]
) -> LogMarginalLikelihood:
    """From the split of the covariance; `estimate` and `solve` are options of the two functions."""
    white = whitening.analyse(data)
    solved = inverse_multiply(whitening.operator, white, **solve)
    determinant = log_determinant(whitening.operator, key, **estimate, **solve)
    misfit = inner(white, solved.value)
    total = whitening.log_determinant.astype(misfit.dtype) + determinant.value
    constant = sum(leaf.size for leaf in jtu.tree_leaves(data)) * math.log(2 * math.pi)
    return LogMarginalLikelihood(
        value=-0.5 * (misfit + total + constant),
        standard_error=0.5 * determinant.standard_error,
        misfit=misfit,
        log_determinant=total,
        result=first_failure([solved.result, determinant.result]),
        dimension=jnp.maximum(solved.stats.krylov_dimension, determinant.stats.krylov_dimension),
    )
