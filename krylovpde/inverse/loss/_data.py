"""Data and their standard deviations: what the losses that compare with data have in common."""

from typing import Any

import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, PyTree, Scalar

from ...grid import is_concrete


def as_inexact(leaf: Any) -> Array:
    leaf = jnp.asarray(leaf)
    return leaf if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf.astype(float)


def like_data(sigma: PyTree, data: PyTree) -> PyTree[Array]:
    """One standard deviation per leaf of the data, in the data's real precision."""

    def cast(deviation, leaf):
        return jnp.asarray(deviation, dtype=jnp.finfo(leaf.dtype).dtype)

    if jtu.treedef_is_leaf(jtu.tree_structure(sigma)):
        return jtu.tree_map(lambda leaf: cast(sigma, leaf), data)
    if jtu.tree_structure(sigma) != jtu.tree_structure(data):
        message = (
            f"LeastSquares: sigma has the structure {jtu.tree_structure(sigma)} and data {jtu.tree_structure(data)}. "
            "Give one number, or a pytree like the data."
        )
        raise ValueError(message)
    return jtu.tree_map(cast, sigma, data)


def check_data(data: Array, sigma: Array):
    if not (is_concrete(data) and is_concrete(sigma)):
        return
    try:
        deviations = np.broadcast_to(np.asarray(sigma), data.shape)
    except ValueError:
        message = f"LeastSquares: sigma of shape {sigma.shape} does not broadcast to data of shape {data.shape}."
        raise ValueError(message) from None
    if not (deviations > 0).all():
        message = (
            f"LeastSquares: sigma must be positive, but its least entry is {deviations.min():.6g}. "
            "A standard deviation of inf leaves a datum out."
        )
        raise ValueError(message)
    missing = int((~np.isfinite(np.asarray(data)) & np.isfinite(deviations)).sum())
    if missing:
        message = (
            f"LeastSquares: {missing} of {data.size} data are not finite. Where a datum is missing, give sigma = inf."
        )
        raise ValueError(message)


def check_prediction(prediction: PyTree, data: PyTree):
    if jtu.tree_structure(prediction) != jtu.tree_structure(data):
        message = (
            f"LeastSquares: predict(model) has the structure {jtu.tree_structure(prediction)} "
            f"and data {jtu.tree_structure(data)}; they must agree."
        )
        raise ValueError(message)
    shapes = [(jnp.shape(p), d.shape) for p, d in zip(jtu.tree_leaves(prediction), jtu.tree_leaves(data), strict=True)]
    for found, expected in shapes:
        if found != expected:
            message = f"LeastSquares: predict(model) has the shape {found} where data have {expected}."
            raise ValueError(message)


def weighted(prediction: Array, data: Array, sigma: Array) -> Array:
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
