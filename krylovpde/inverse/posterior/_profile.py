"""The profile of a likelihood along one parameter: intervals that know of curvature, for few parameters."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree
from scipy.special import ndtri

from ..certificate import InversionWarning
from ..fitting import fit
from ..fitting._uncertainty import variance_factor
from ..loss import AbstractLoss
from ..parameter import AbstractParameter, value_of


@dataclass(frozen=True)
class ProfileLikelihood:
    """What [`krylovpde.inverse.profile_likelihood`][] found.

    - `estimate`: the parameter's value in the estimate.
    - `values`: those that were asked for, rising.
    - `statistic`: `2 (loss - least loss) / s²` at each, all other parameters fitted.
    - `models`: the fitted models.
    - `variance_factor`: `s²`; 1 where the standard deviations of the data are believed.
    """

    estimate: float
    values: Float[np.ndarray, " n"]
    statistic: Float[np.ndarray, " n"]
    models: tuple[PyTree, ...]
    variance_factor: float

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Where the statistic stays below the quantile of the chi-square distribution of one degree of freedom.

        Between the values its signed root, which is a straight line for a linear model, is interpolated.

        **Arguments:**

        - `level`: the confidence, between 0 and 1.

        **Returns:** both ends; an infinite one where the statistic stays below the quantile up to the last value.
        """
        threshold = float(ndtri((1 + level) / 2))
        root = np.sqrt(np.maximum(self.statistic, 0.0))
        above = self.values > self.estimate
        ends = [
            _crossing(self.estimate, self.values[side], root[side], threshold)
            for side in (np.flatnonzero(~above)[::-1], np.flatnonzero(above))
        ]
        return (-np.inf if ends[0] is None else ends[0], np.inf if ends[1] is None else ends[1])


def profile_likelihood(
    loss: AbstractLoss,
    model: PyTree,
    parameter: Callable[[Any], AbstractParameter | Array],
    values: ArrayLike | Sequence[float],
    optimiser: Any,
    *,
    trainable: Any = eqx.is_inexact_array,
    known_sigma: bool = False,
    max_iterations: int = 100,
) -> ProfileLikelihood:
    """Hold one parameter at each of several values, and fit all others: how much the loss rises is how sure it is.

    By Wilks' theorem `2 (loss - least loss) / s²` has a chi-square distribution of one degree of freedom at the true
    value, whatever the parameter is a function of: the interval does not assume that the loss is a parabola, as
    standard errors do, is not symmetric, and shows where data bound a parameter on one side only. Costs one fit for
    each value, each started from its neighbour's.

    **Arguments:**

    - `loss`: as in `linearised_uncertainty`.
    - `model`: the estimate, where the loss is least.
    - `parameter`: `parameter(model)` selects one number: a parametrisation of one, `lambda model: model.conductivity`,
        or a leaf.
    - `values`: of the parameter, physical ones.
    - `optimiser`: as in `fit`.
    - `trainable`: which leaves are free, as in `fit`.
    - `known_sigma`: whether the standard deviations of the data are believed, `s² = 1`; else `s² = 2 misfit / (N - p)`.
    - `max_iterations`: of each fit.

    **Returns:** a `ProfileLikelihood`.

    **Raises:** `ValueError` for a selection that is not one number, values that are not finite, and where there are no
    more data than free numbers with `s²` to be estimated. Warns (`kp.inverse.InversionWarning`) where a fit fails, and
    where one finds a smaller loss than that of the estimate.

    Source: Venzon, Moolgavkar, *A method for computing profile-likelihood-based confidence intervals*, Applied
    Statistics 37 (1988).
    """
    node = parameter(model)
    points = np.sort(np.asarray(values, np.float64).ravel())
    if np.size(value_of(node)) != 1 or not points.size or not np.all(np.isfinite(points)):
        message = (
            f"profile_likelihood: parameter must select one number, and values be finite; got a parameter of shape "
            f"{np.shape(value_of(node))} and {points.size} values."
        )
        raise ValueError(message)
    if not _is_node(model, parameter):
        message = "profile_likelihood: parameter must select a whole parametrisation or leaf of the model."
        raise ValueError(message)
    estimate = float(np.asarray(value_of(node)).ravel()[0])
    others = _without(model, parameter, trainable)
    num_free = sum(leaf.size for leaf in jtu.tree_leaves(eqx.filter(model, trainable)))
    factor = 1.0 if known_sigma else variance_factor(loss, model, num_free, "profile_likelihood")
    fitted: dict[int, PyTree] = {}
    first_above = int(np.searchsorted(points, estimate))
    for side in (range(first_above, len(points)), range(first_above - 1, -1, -1)):
        start = model
        for index in side:
            held = eqx.tree_at(parameter, start, replace_fn=lambda old, v=points[index]: _with_value(old, v))
            start = fitted[index] = _fitted(loss, held, optimiser, others, max_iterations)
    evaluate = eqx.filter_jit(loss)
    least, losses = float(evaluate(model)), np.array([float(evaluate(fitted[i])) for i in range(len(points))])
    if losses.min() < least - 0.01 * factor:
        message = (
            f"profile_likelihood: with {losses.min():.6g} at {points[losses.argmin()]:.6g} the loss is below that of "
            f"the estimate, {least:.6g}. Fit the estimate further."
        )
        warnings.warn(message, InversionWarning, stacklevel=2)
    statistic = 2 * (losses - min(least, losses.min())) / factor
    return ProfileLikelihood(estimate, points, statistic, tuple(fitted[i] for i in range(len(points))), factor)


def _is_node(model: PyTree, parameter: Callable[[Any], Any]) -> bool:
    """Whether what is selected can be replaced."""
    try:
        eqx.tree_at(parameter, model, replace_fn=lambda node: node)
    except (ValueError, TypeError):
        return False
    return True


def _with_value(node: Any, value: float) -> Any:
    """The parameter or the leaf with another value, of its own shape."""
    if isinstance(node, AbstractParameter):
        return node.with_value(jnp.full(np.shape(node.value), value, node.value.dtype))
    return jnp.full(jnp.shape(node), value, jnp.result_type(node))


def _without(model: PyTree, parameter: Callable[[Any], Any], trainable: Any) -> PyTree:
    """Which leaves are free beside the parameter's own: booleans like the model."""
    free = eqx.filter(model, trainable)
    mask = jtu.tree_map(lambda leaf: leaf is not None, free, is_leaf=lambda leaf: leaf is None)
    return eqx.tree_at(parameter, mask, replace_fn=lambda node: jtu.tree_map(lambda _: False, node))


def _fitted(loss: AbstractLoss, model: PyTree, optimiser: Any, others: PyTree, max_iterations: int) -> PyTree:
    if not any(jtu.tree_leaves(others)):
        return model
    result = fit(
        loss, model, optimiser, trainable=others, max_iterations=max_iterations, progress=None, certified=False
    )
    if result.failed:
        message = f"profile_likelihood: a fit of the other parameters ended early: {result.reason}."
        warnings.warn(message, InversionWarning, stacklevel=3)
    return result.model


def _crossing(estimate: float, values: np.ndarray, root: np.ndarray, threshold: float) -> float | None:
    """Where the root first reaches the threshold on the way out; `None` where it does not."""
    reached = np.flatnonzero(root >= threshold)
    if not reached.size:
        return None
    last = int(reached[0])
    inner, inner_root = (values[last - 1], root[last - 1]) if last else (estimate, 0.0)
    share = (threshold - inner_root) / (root[last] - inner_root)
    return float(inner + share * (values[last] - inner))
