"""Data and their standard deviations: what the losses that compare with data have in common.

Every function takes the name of the loss that asks, for its messages.
"""

import functools as ft
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, PyTree, Scalar

from ..._parameter import as_inexact
from ...grid import is_concrete


def measured(name: str, predict: Any, data: PyTree | None, sigma: PyTree | None) -> tuple[PyTree[Array], PyTree[Array]]:
    """Data and standard deviations, checked: those given, and for what is not given those that `predict` carries."""
    own_sigma = None
    if data is None:
        data, own_sigma = _measurements_of(name, predict)
    if sigma is None and own_sigma is None:
        message = f"{name}: data were given without sigma. Give the standard deviations too: one number will do."
        raise ValueError(message)
    data = jtu.tree_map(as_inexact, data)
    given = own_sigma if sigma is None else sigma
    deviations = like_data(name, given, data)
    if sigma is not None and own_sigma is not None:
        # Another standard deviation says nothing of which data count: the mask of the measurements stays.
        deviations = jtu.tree_map(_keep_left_out, deviations, like_data(name, own_sigma, data))
    jtu.tree_map(ft.partial(_check_data, name), data, deviations)
    return data, deviations


def predicted(name: str, predict: Callable[[Any], PyTree], model: PyTree, data: PyTree[Array]) -> PyTree[Array]:
    """The predictions of a model, checked to be like the data."""
    prediction = predict(model)
    _check_prediction(name, prediction, data)
    return prediction


def refuse_complex(name: str, data: PyTree[Array]):
    """Say no to complex data, where the measure is one of real residuals."""
    if any(jnp.iscomplexobj(leaf) for leaf in jtu.tree_leaves(data)):
        message = f"{name} is for real data. Give real and imaginary parts as a pair of arrays, or use LeastSquares."
        raise TypeError(message)


def weighted(prediction: Array, data: Array, sigma: Array) -> Array:
    """`(prediction - data) / sigma`; 0 where `sigma` is infinite."""
    # The prediction's precision decides: it is the state's.
    counted = jnp.isfinite(sigma)
    data, sigma = data.astype(prediction.dtype), sigma.astype(prediction.dtype)
    # Both operands are made harmless *before* the division: a NaN behind a `where` would come back in the derivative.
    difference = jnp.where(counted, prediction - jnp.where(counted, data, 0), 0)
    return difference / jnp.where(counted, sigma, 1)


def count_data(data: PyTree[Array], sigma: PyTree[Array]) -> Scalar:
    """How many data have a finite standard deviation."""
    leaves = zip(jtu.tree_leaves(data), jtu.tree_leaves(sigma), strict=True)
    counted = [(jnp.broadcast_to(jnp.isfinite(s), d.shape), s.dtype) for d, s in leaves]
    counts = [jnp.sum(finite, dtype=dtype) for finite, dtype in counted]
    return sum(counts[1:], counts[0])


def _measurements_of(name: str, predict: Any) -> tuple[PyTree, PyTree]:
    measurements = getattr(predict, "measurements", None)
    if measurements is None:
        message = (
            f"{name}: no data were given and predict, a {type(predict).__name__}, carries none. Pass data and sigma, "
            "or an Experiment with data."
        )
        raise ValueError(message)
    return measurements


def like_data(name: str, sigma: PyTree, data: PyTree) -> PyTree[Array]:
    """One standard deviation per leaf of the data, in the data's real precision."""

    def cast(deviation, leaf):
        return jnp.asarray(deviation, dtype=jnp.finfo(leaf.dtype).dtype)

    if jtu.treedef_is_leaf(jtu.tree_structure(sigma)):
        return jtu.tree_map(lambda leaf: cast(sigma, leaf), data)
    if jtu.tree_structure(sigma) != jtu.tree_structure(data):
        message = (
            f"{name}: sigma has the structure {jtu.tree_structure(sigma)} and data {jtu.tree_structure(data)}. "
            "Give one number, or a pytree like the data."
        )
        raise ValueError(message)
    return jtu.tree_map(cast, sigma, data)


def _keep_left_out(sigma: Array, measured_sigma: Array) -> Array:
    return jnp.where(jnp.isinf(measured_sigma), jnp.inf, sigma)


def _check_data(name: str, data: Array, sigma: Array):
    if not (is_concrete(data) and is_concrete(sigma)):
        return
    try:
        deviations = np.broadcast_to(np.asarray(sigma), data.shape)
    except ValueError:
        message = f"{name}: sigma of shape {sigma.shape} does not broadcast to data of shape {data.shape}."
        raise ValueError(message) from None
    if not (deviations > 0).all():
        message = (
            f"{name}: sigma must be positive, but its least entry is {deviations.min():.6g}. "
            "A standard deviation of inf leaves a datum out."
        )
        raise ValueError(message)
    missing = int((~np.isfinite(np.asarray(data)) & np.isfinite(deviations)).sum())
    if missing:
        message = f"{name}: {missing} of {data.size} data are not finite. Where a datum is missing, give sigma = inf."
        raise ValueError(message)


def _check_prediction(name: str, prediction: PyTree, data: PyTree):
    if jtu.tree_structure(prediction) != jtu.tree_structure(data):
        message = (
            f"{name}: predict(model) has the structure {jtu.tree_structure(prediction)} "
            f"and data {jtu.tree_structure(data)}; they must agree."
        )
        raise ValueError(message)
    shapes = [(jnp.shape(p), d.shape) for p, d in zip(jtu.tree_leaves(prediction), jtu.tree_leaves(data), strict=True)]
    for found, expected in shapes:
        if found != expected:
            message = f"{name}: predict(model) has the shape {found} where data have {expected}."
            raise ValueError(message)
