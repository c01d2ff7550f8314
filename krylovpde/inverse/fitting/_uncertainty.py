"""How well data determine a few parameters, from the Jacobian at the estimate."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from ..loss import AbstractDataLoss, AbstractLoss, Total
from ..parameter import AbstractParameter, value_of
from ._bounds import bounds_like
from ._driver import check_real
from ._normal_equations import real_parts


@dataclass(frozen=True)
class LinearisedUncertainty:
    """Standard errors and correlations of a model's free parameters.

    - `values`, `standard_errors`: like the model, with the physical value of each parameter in its place, and its
      standard error: `uncertainty.standard_errors.diffusivity`. `None` stands where nothing is free. A number that sits
      on a limit of its `Box` has the error NaN: linearisation knows nothing about it.
    - `names`: of the free numbers, in the order of the matrices.
    - `covariance`, `correlation`: of the free numbers themselves (of the logarithm, for a `Positive`): matrices. Where
      the physical value grows with the free number, as it does in `Positive` and `Bounded`, its correlations are the
      same. NaN at limits.
    - `variance_factor`: `s²`, by which the covariance has been multiplied: about 1 where the standard deviations of the
      data are right.
    """

    values: PyTree
    standard_errors: PyTree
    names: tuple[str, ...]
    covariance: Float[np.ndarray, "p p"]
    correlation: Float[np.ndarray, "p p"]
    variance_factor: float

    def table(self) -> str:
        """Values with standard errors, and the correlations, as plain text."""
        values, errors = (ravel_pytree(tree)[0] for tree in (self.values, self.standard_errors))
        names = _names(self.values)
        width = max(map(len, (*names, *self.names)))
        lines = [f"{n:<{width}}  {v: .6g} ± {e:.2g}" for n, v, e in zip(names, values, errors, strict=True)]
        if len(self.names) > 1:
            lines.append("correlation")
            rows = zip(self.names, self.correlation, strict=True)
            lines += [f"{name:<{width}}  " + "  ".join(f"{entry: .3f}" for entry in row) for name, row in rows]
        return "\n".join(lines)


def linearised_uncertainty(
    loss: AbstractLoss,
    model: PyTree,
    *,
    trainable: Any = eqx.is_inexact_array,
    known_sigma: bool = False,
) -> LinearisedUncertainty:
    """Standard errors and correlations of a few parameters at an estimate: `covariance = s² (JᵀJ)⁻¹`.

    `J` is the Jacobian of the loss's residual (data over their standard deviations, and penalties) in the free numbers.
    With `s² = 2 misfit / (N - p)`, for `N` data and `p` free numbers, the sizes of the residuals say how good the data
    are, and only the ratios of the given standard deviations matter; with `s² = 1` the given ones are believed.
    Physical values get their errors by the delta method, `diag(V C Vᵀ)` with the derivative `V` of the values in the
    free numbers.

    Right where the loss is close to a parabola over the errors that come out, at a minimum, and where the errors of the
    data are independent: residuals that are correlated in time make the true errors larger, and so does what the
    equation leaves out. Costs `p` products with `J`, and holds `J` as a matrix: for up to some hundreds of parameters.

    **Arguments:**

    - `loss`: a `LeastSquares`, or a sum of it and penalties that are sums of squares.
    - `model`: the estimate.
    - `trainable`: which leaves are free, as in `fit`.
    - `known_sigma`: whether `s² = 1`.

    **Returns:** a `LinearisedUncertainty`.

    **Raises:** `ValueError` where there are no more data than free numbers (with `s²` to be estimated), and where the
    data do not determine a combination of the free numbers; `TypeError` for a loss without a residual and for complex
    parameters.

    Source: Seber, Wild, *Nonlinear Regression* (1989), §2.1.2.
    """
    parameters, fixed = eqx.partition(model, trainable)
    check_real(parameters, "linearised_uncertainty")
    names, free = _names(parameters), ~_on_limit(model, parameters)
    _, jacobian = _jacobian(lambda p: real_parts(loss.residual(eqx.combine(p, fixed))), parameters)
    factor = 1.0 if known_sigma else variance_factor(loss, model, int(free.sum()), "linearised_uncertainty")
    # What sits at a limit has covariances of zero for the propagation, and of NaN for the reader.
    covariance = np.zeros((len(names), len(names)))
    covariance[np.ix_(free, free)] = factor * _inverse_of_squares(jacobian[:, free], np.array(names)[free])
    values, slopes = _jacobian(lambda p: _physical(eqx.combine(p, fixed), p), parameters)
    variances = np.einsum("ip,pq,iq->i", slopes, covariance, slopes)
    variances[(slopes[:, ~free] != 0).any(axis=1)] = np.nan
    flat, unravel = ravel_pytree(values)
    covariance[~free, :] = covariance[:, ~free] = np.nan
    deviations = np.sqrt(np.diag(covariance))
    return LinearisedUncertainty(
        values,
        unravel(jnp.asarray(np.sqrt(variances), flat.dtype)),
        names,
        covariance,
        covariance / np.outer(deviations, deviations),
        factor,
    )


def _jacobian(function: Callable[[PyTree], PyTree], parameters: PyTree) -> tuple[PyTree, Float[np.ndarray, "n p"]]:
    """The value of a function, and its derivative as a matrix, made column by column."""
    flat, unravel = ravel_pytree(parameters)

    @jax.jit
    def evaluate(at: Array) -> tuple[PyTree, Array]:
        value, tangent = jax.linearize(lambda x: function(unravel(x)), at)
        return value, jax.lax.map(lambda e: ravel_pytree(tangent(e))[0], jnp.eye(at.size, dtype=at.dtype))

    value, columns = evaluate(flat)
    return value, np.asarray(columns, np.float64).T


def _inverse_of_squares(jacobian: Float[np.ndarray, "n p"], names: np.ndarray) -> Float[np.ndarray, "p p"]:
    """`(JᵀJ)⁻¹` by the singular values of `J` with columns of norm 1: squares would cost half of the digits."""
    if not len(names):
        return np.zeros((0, 0))
    norms = np.linalg.norm(jacobian, axis=0)
    _, singular, rows = np.linalg.svd(jacobian / np.where(norms > 0, norms, 1.0), full_matrices=False)
    if len(singular) < len(names) or singular[-1] <= max(jacobian.shape) * np.finfo(np.float64).eps * singular[0]:
        involved = names[np.abs(rows[-1]) > 0.1 * np.abs(rows[-1]).max()] if len(singular) == len(names) else names
        message = (
            f"linearised_uncertainty: the data do not determine all of {len(names)} parameters; a combination of "
            f"{', '.join(involved)} does not change the predictions. Fix one of them (`trainable`), or add a penalty."
        )
        raise ValueError(message)
    inverse = rows.T / singular / norms[:, None]
    return inverse @ inverse.T


def variance_factor(loss: AbstractLoss, model: PyTree, num_parameters: int, name: str) -> float:
    """`s² = 2 misfit / (N - p)`, or an error in the name of who asks."""
    terms = loss.terms if isinstance(loss, Total) else (loss,)
    num_data = sum(float(term.num_data) for term in terms if isinstance(term, AbstractDataLoss))
    if num_data <= num_parameters:
        message = (
            f"{name}: {num_data:.0f} data for {num_parameters} parameters leave nothing to estimate "
            "the size of the errors from. With `known_sigma=True` the given standard deviations are believed."
        )
        raise ValueError(message)
    reduced = loss.reduced_misfit(model, loss(model))
    assert reduced is not None  # there are data
    return float(reduced) * num_data / (num_data - num_parameters)


def _physical(model: PyTree, parameters: PyTree) -> PyTree:
    """The model with the values of its free parameters in their places, and `None` elsewhere."""

    def pick(node: Any, free: Any) -> Any:
        return value_of(node) if jtu.tree_leaves(free) else None

    return jtu.tree_map(pick, model, parameters, is_leaf=lambda node: isinstance(node, AbstractParameter))


def _on_limit(model: PyTree, parameters: PyTree) -> np.ndarray:
    bounds = bounds_like(model, parameters)
    flat = ravel_pytree(parameters)[0]
    if not bounds.exist:
        return np.zeros(flat.size, bool)
    lower, upper = (ravel_pytree(side)[0] for side in (bounds.lower, bounds.upper))
    return np.asarray((flat <= lower) | (flat >= upper))


def _names(tree: PyTree) -> tuple[str, ...]:
    """One for each number: where it stands, and its index where several stand there."""
    found = []
    for path, leaf in jtu.tree_flatten_with_path(tree)[0]:
        name = jtu.keystr(path).lstrip(".")
        found += [name + (f"[{', '.join(map(str, index))}]" if index else "") for index in np.ndindex(leaf.shape)]
    return tuple(found)
