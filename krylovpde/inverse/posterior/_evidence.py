"""The logarithm of the evidence, and how strong prior and noise should be by it."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Scalar
from scipy.optimize import minimize_scalar

from ..loss import AbstractLoss, LeastSquares, Total
from ..loss._data import count_data
from ._curvature import AbstractCurvature

# Logarithms of ratios of precisions between which an evidence is looked for, and how finely at first.
_WIDEST, _FIRST_STEP = 40.0, 0.5


class Squares(NamedTuple):
    """What the evidence is made of beside the curvature, for the precisions that were told.

    `data` is `|r|²` at the estimate, `prior` is `|z|²`, `num_data` counts real numbers, and `constant` is
    `-½ N log 2π - Σ log sigma`.
    """

    data: Scalar
    prior: Scalar
    num_data: Scalar
    constant: Scalar


def log_evidence(curvature: AbstractCurvature, squares: Squares, prior: Scalar, noise: Scalar) -> Scalar:
    """`constant + ½ [N log noise - noise |r|² - prior |z|² - log det (I + noise/prior H)]`."""
    prior, noise = (jnp.asarray(x, squares.data.dtype) for x in (prior, noise))
    fit = squares.num_data * jnp.log(noise) - noise * squares.data - prior * squares.prior
    return squares.constant + 0.5 * (fit - curvature.log_determinant(noise / prior))


def gaussian_constants(loss: AbstractLoss) -> tuple[Scalar, Scalar]:
    """How many real numbers the data are, and `-½ N log 2π - Σ log sigma`.

    **Raises:** `TypeError` for a loss that is no sum of `LeastSquares`: its likelihood has other constants.
    """
    terms = loss.terms if isinstance(loss, Total) else (loss,)
    for term in terms:
        if not isinstance(term, LeastSquares):
            message = (
                f"The evidence needs a likelihood with all of its constants, which kp.inverse.LeastSquares is; "
                f"{type(term).__name__} is not."
            )
            raise TypeError(message)
    parts = [_constants(term) for term in terms if isinstance(term, LeastSquares)]
    count = sum((n for n, _ in parts[1:]), parts[0][0])
    logarithms = sum((x for _, x in parts[1:]), parts[0][1])
    return count, -0.5 * count * math.log(2 * math.pi) - logarithms


def _constants(term: LeastSquares) -> tuple[Scalar, Scalar]:
    count, total = [], []
    for data, sigma in zip(jtu.tree_leaves(term.data), jtu.tree_leaves(term.sigma), strict=True):
        # Real and imaginary part of a complex datum are two numbers, each of this standard deviation.
        parts = 2.0 if jnp.iscomplexobj(data) else 1.0
        counted = jnp.isfinite(sigma)
        logarithm = jnp.where(counted, jnp.log(jnp.where(counted, sigma, jnp.ones_like(sigma))), 0)
        count.append(parts * count_data(data, sigma))
        total.append(parts * jnp.sum(jnp.broadcast_to(logarithm, data.shape)))
    return sum(count[1:], count[0]), sum(total[1:], total[0])


def best_precisions(curvature: AbstractCurvature, squares: Squares, prior: bool, noise: bool) -> tuple[float, float]:
    """The precisions of largest evidence, at a fixed estimate; those that are not to be chosen are 1.

    With `noise = ratio * prior`, the best prior precision for a given ratio is `N / (ratio |r|² + |z|²)`: one unknown
    is left in either case.

    **Raises:** `ValueError` where the evidence grows without end.
    """
    data, weight, count = (float(x) for x in (squares.data, squares.prior, squares.num_data))

    def pair(logarithm: Array | float) -> tuple[Array, Array]:
        exponential = jnp.exp(jnp.asarray(logarithm, squares.data.dtype))
        one = jnp.ones_like(exponential)
        if prior and noise:
            scale = count / (exponential * data + weight)
            return scale, exponential * scale
        return (exponential, one) if prior else (one, exponential)

    logarithm = _maximiser(jax.jit(lambda x: log_evidence(curvature, squares, *pair(x))))
    chosen_prior, chosen_noise = pair(logarithm)
    return float(chosen_prior), float(chosen_noise)


def _maximiser(function: Callable[[float], Scalar]) -> float:
    """Of a function of one number that may have several maxima: the best of a grid, then Brent's method."""
    nodes = np.arange(-_WIDEST, _WIDEST + _FIRST_STEP, _FIRST_STEP)
    values = np.asarray([float(function(node)) for node in nodes])
    best = int(np.nanargmax(values))
    # An evidence that levels off is a tie with its end, to rounding.
    rounding = 1e-10 * (1 + abs(values[best]))
    if max(values[0], values[-1]) >= values[best] - rounding:
        side = "small" if values[0] > values[-1] else "larg"
        message = (
            f"calibrated: the evidence grows for ever {side}er precisions; there is no best one. An estimate that fits "
            "its data exactly, or that lies exactly at the prior's mean, does not say how strong noise or prior are."
        )
        raise ValueError(message)
    around = (nodes[best - 1], nodes[best + 1])
    found = minimize_scalar(lambda x: -float(function(x)), bounds=around, method="bounded", options={"xatol": 1e-9})
    return float(found.x)
