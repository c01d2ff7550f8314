"""From an estimate to its posterior."""

import operator as op
import warnings
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..certificate import InversionWarning
from ..fitting._bounds import bounds_like
from ..fitting._tree import dot
from ..loss import AbstractLoss, Total
from ..regulariser import AbstractPrior
from ._eigenpairs import Found, all_eigenpairs, diagonal, leading_eigenpairs, linearised
from ._normal import NormalModel
from ._posterior import LaplacePosterior
from ._whitened import WhitenedModel, whitened_model

# What is left out, and how far the estimate is from the minimum, in parts of the prior's and the posterior's spread.
_TOLD_TRUNCATION, _TOLD_DECREMENT = 0.1, 0.5


def laplace_posterior(
    loss: AbstractLoss,
    priors: AbstractPrior | Sequence[AbstractPrior],
    model: PyTree,
    *,
    rank: int,
    key: PRNGKeyArray,
    trainable: Any = eqx.is_inexact_array,
) -> LaplacePosterior:
    r"""The posterior of a model's free numbers: normal around an estimate, low rank plus prior.

    With the residual's derivative `J` (predictions over the standard deviations of the data) and the prior's root `L`
    its precision is $J^\top J + L^\top L = L^\top (I + H) L$, the prior-preconditioned Gauss–Newton Hessian. Few
    eigenvalues of `H` are above 1, as many as the data determine combinations of unknowns better than the prior does;
    their number does not grow when the mesh is refined. The largest `rank` are found by Lanczos' method with products
    `J v` and `Jᵀ w` alone, and

    $$(I + H)^{-1} \approx I - \sum_k \frac{\lambda_k}{1 + \lambda_k} v_k v_k^\top .$$

    Exact where the predictions are linear in the free numbers, and good where they are close to it over the posterior's
    width. The estimate must be the minimum of `loss` and priors together: `kp.inverse.fit(loss + prior, model)`.

    A field given by a network takes a `Gaussian` on its weights: that is the linearised Laplace approximation.

    **Arguments:**

    - `loss`: the data's, without the priors: a `LeastSquares`, or a sum of them. Other losses with a residual serve,
        but have no evidence.
    - `priors`: one or several; every free leaf has exactly one. They select leaves as they are stored:
        `BiLaplacian(grid, lambda model: model.speed.raw, ...)`.
    - `model`: the estimate.
    - `rank`: the most eigenpairs. Where it is at least the number of unknowns or data, the matrix of `J` is made and
        nothing is left out. Costs some three times `rank + 10` products with `J` and with `Jᵀ`.
    - `key`: of the random numbers that Lanczos starts from.
    - `trainable`: which leaves are free, as in `fit`.

    **Returns:** a `LaplacePosterior`.

    **Raises:** `TypeError` for a loss without a residual, something that is no prior, and complex unknowns;
    `ValueError` for priors and free leaves that do not belong together, a loss that contains the priors, numbers that
    sit on a limit of their `Box`, and a `rank` below 1. Warns (`kp.inverse.InversionWarning`) where eigenvalues above
    0.1 are left out, and where the estimate is more than half a standard deviation from the minimum.

    !!! cite "Sources"

        Bui-Thanh, Ghattas, Martin, Stadler, *A computational framework for infinite-dimensional Bayesian inverse
        problems, part I*, SIAM Journal on Scientific Computing 35 (2013); Immer, Korzepa, Bauer, *Improving predictions
        of Bayesian neural nets via local linearization*, AISTATS (2021).
    """
    rank = op.index(rank)
    if rank < 1:
        message = f"laplace_posterior: rank must be at least 1, got {rank}."
        raise ValueError(message)
    start = _prepared("laplace_posterior", loss, priors, model, trainable)
    first, second = jax.random.split(key)
    if rank >= min(start.vector.size, start.num_data):
        found = all_eigenpairs(loss, start.whitened, start.vector, start.num_data)
    else:
        found = leading_eigenpairs(loss, start.whitened, start.vector, rank, first)
    return _posterior(loss, start, found, second)


def diagonal_laplace_posterior(
    loss: AbstractLoss,
    priors: AbstractPrior | Sequence[AbstractPrior],
    model: PyTree,
    *,
    key: PRNGKeyArray,
    trainable: Any = eqx.is_inexact_array,
) -> LaplacePosterior:
    """The same with the diagonal of `H` alone, as is common for neural networks: a peer to compare with.

    Correlations that the data bring are left out, and with them most of what is known: variances of single unknowns are
    too small, those of predictions come out too large or too small. Costs one product for each datum or each unknown,
    whichever are fewer. Arguments and errors as for [`krylovpde.inverse.laplace_posterior`][].
    """
    start = _prepared("diagonal_laplace_posterior", loss, priors, model, trainable)
    return _posterior(loss, start, diagonal(loss, start.whitened, start.vector, start.num_data), key)


class _Start(eqx.Module):
    """An estimate in whitened unknowns, with the residual's square and the gradient of loss and priors."""

    whitened: WhitenedModel
    vector: Float[Array, " n"]
    gradient: Float[Array, " n"]
    squares: Array
    num_data: int = eqx.field(static=True)


def _prepared(
    name: str, loss: AbstractLoss, priors: AbstractPrior | Sequence[AbstractPrior], model: PyTree, trainable: Any
) -> _Start:
    if not isinstance(loss, AbstractLoss):
        message = f"{name}: loss is a {type(loss).__name__}; give a kp.inverse.LeastSquares, or a sum of such losses."
        raise TypeError(message)
    terms = loss.terms if isinstance(loss, Total) else (loss,)
    if any(isinstance(term, AbstractPrior) for term in terms):
        message = f"{name}: the loss contains a prior, which would count twice. Give the data's loss and the priors."
        raise ValueError(message)
    whitened = whitened_model(priors, model, trainable, name)
    _refuse_limits(name, model, whitened.parameters)
    vector = whitened.vector(model)
    gradient, squares, sizes = _looked_at(loss, whitened, vector)
    if not bool(jnp.isfinite(squares)):
        message = f"{name}: the residual at the model is not finite. Give an estimate at which the solve succeeds."
        raise ValueError(message)
    return _Start(whitened, vector, gradient, squares, sum(sizes))


@eqx.filter_jit
def _looked_at(loss: AbstractLoss, whitened: WhitenedModel, vector: Array) -> tuple[Array, Array, tuple[int, ...]]:
    linear = linearised(loss, whitened, vector)
    sizes = tuple(leaf.size for leaf in linear.residual)
    squares = dot(linear.residual, linear.residual).astype(vector.dtype)
    return linear.transposed(linear.residual) + vector, squares, sizes


def _refuse_limits(name: str, model: PyTree, parameters: PyTree):
    bounds = bounds_like(model, parameters)
    if not bounds.exist:
        return
    at_limit = jtu.tree_map(
        lambda x, low, high: np.any((x <= low) | (x >= high)), parameters, bounds.lower, bounds.upper
    )
    for path, found in jtu.tree_flatten_with_path(at_limit)[0]:
        if found:
            message = (
                f"{name}: numbers of {jtu.keystr(path).lstrip('.')} sit on a limit of their Box, where no normal "
                "distribution is close to the posterior. Hold them fixed (`trainable`), or widen the limits."
            )
            raise ValueError(message)


def _posterior(loss: AbstractLoss, start: _Start, found: Found, key: PRNGKeyArray) -> LaplacePosterior:
    one = jnp.ones((), start.vector.dtype)
    normal = NormalModel(start.whitened, start.vector, found.curvature, one, one)
    decrement = float(jnp.linalg.norm(normal.root(start.gradient)))
    if found.truncation > _TOLD_TRUNCATION:
        message = (
            f"laplace_posterior: an eigenvalue of {found.truncation:.3g} is left out, so that a variance comes out "
            f"{1 + found.truncation:.3g} times too large. Give a larger rank."
        )
        warnings.warn(message, InversionWarning, stacklevel=3)
    if decrement > _TOLD_DECREMENT:
        message = (
            f"laplace_posterior: the model is {decrement:.3g} standard deviations of the posterior from the minimum of "
            "loss and priors. Fit it further, with the same priors: `kp.inverse.fit(loss + prior, model, ...)`."
        )
        warnings.warn(message, InversionWarning, stacklevel=3)
    return LaplacePosterior(loss, normal, start.squares, found.truncation, decrement, found.products, key)
