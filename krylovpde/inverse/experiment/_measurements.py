"""Data with their standard deviations and masks: checked, folded into one, made synthetic."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, ArrayLike, PRNGKeyArray, PyTree, Scalar

from ..._parameter import as_inexact
from ...grid import broadcasts_to, is_concrete


def as_inexact_tree(tree: PyTree) -> PyTree[Array]:
    """Data as arrays of floating-point (or complex) numbers; `None` stays."""
    return jtu.tree_map(as_inexact, tree)


def as_mask_tree(mask: PyTree) -> PyTree[Array]:
    """A mask as arrays of booleans; `None` stays."""

    def cast(leaf: Any) -> Array:
        leaf = jnp.asarray(leaf)
        if leaf.dtype != bool:
            message = f"Experiment: `mask` must be booleans, True where a datum counts, got {leaf.dtype}."
            raise TypeError(message)
        return leaf

    return jtu.tree_map(cast, mask)


def check_measurements(data: PyTree, sigma: PyTree, mask: PyTree):
    """Tell the user no, where `sigma` or `mask` cannot belong to the data."""
    for name, tree in (("sigma", sigma), ("mask", mask)):
        if tree is None:
            continue
        if data is None:
            message = f"Experiment: there is `{name}` but no `data` that it could belong to."
            raise ValueError(message)
        for part, datum in zip(_like(tree, data, name), jtu.tree_leaves(data), strict=True):
            if not broadcasts_to(part.shape, datum.shape):
                message = (
                    f"Experiment: `{name}` of shape {part.shape} does not broadcast to data of shape {datum.shape}."
                )
                raise ValueError(message)
    for part in jtu.tree_leaves(sigma):
        if is_concrete(part) and not bool(np.all(np.asarray(part) > 0)):
            message = (
                f"Experiment: `sigma` must be positive, but its least entry is {np.min(np.asarray(part)):.6g}. "
                "`mask` leaves data out, and so does a standard deviation of inf."
            )
            raise ValueError(message)


def folded(data: PyTree[Array], sigma: PyTree, mask: PyTree) -> tuple[PyTree[Array], PyTree[Array]]:
    """Data, and standard deviations of the same shapes that are `inf` where the mask is false."""
    leaves, structure = jtu.tree_flatten(data)
    deviations = [jnp.ones((), jnp.finfo(d.dtype).dtype) for d in leaves] if sigma is None else _like(sigma, data, "")
    masks = [jnp.asarray(True) for _ in leaves] if mask is None else _like(mask, data, "")
    parts = []
    for datum, deviation, counts in zip(leaves, deviations, masks, strict=True):
        full = jnp.broadcast_to(deviation.astype(jnp.finfo(datum.dtype).dtype), datum.shape)
        parts.append(jnp.where(jnp.broadcast_to(counts, datum.shape), full, jnp.full_like(full, jnp.inf)))
    return data, structure.unflatten(parts)


def _like(tree: PyTree, data: PyTree, name: str) -> list[Array]:
    """The leaves that belong to the data's: as many, or one for all."""
    leaves, structure = jtu.tree_flatten(tree)
    wanted = jtu.tree_structure(data)
    if jtu.treedef_is_leaf(structure):
        return leaves * wanted.num_leaves
    if structure != wanted:
        message = f"Experiment: `{name}` must be one array or a pytree like the data, {wanted}, got {structure}."
        raise ValueError(message)
    return leaves


def with_noise(
    clean: PyTree[Array], noise: ArrayLike | None, fraction: ArrayLike | None, key: PRNGKeyArray
) -> tuple[PyTree[Array], PyTree[Array]]:
    """Predictions plus normal noise, and its standard deviations: given, or a fraction of each leaf's RMS."""
    if (noise is None) == (fraction is None):
        message = (
            "synthesise: give either `noise`, a standard deviation, or `fraction`, of the data's root mean square."
        )
        raise ValueError(message)
    given = noise if noise is not None else fraction
    assert given is not None
    if is_concrete(given) and not bool(np.all(np.asarray(given) > 0)):
        message = f"synthesise: the noise must be positive, got {given}."
        raise ValueError(message)
    leaves, structure = jtu.tree_flatten(clean)
    keys = jax.random.split(key, len(leaves))
    deviations = [_deviation(leaf, given, relative=noise is None) for leaf in leaves]
    noisy = [
        leaf + deviation.astype(leaf.dtype) * jax.random.normal(k, leaf.shape, leaf.dtype)
        for leaf, deviation, k in zip(leaves, deviations, keys, strict=True)
    ]
    return structure.unflatten(noisy), structure.unflatten(deviations)


def _deviation(leaf: Array, given: ArrayLike, *, relative: bool) -> Scalar:
    deviation = jnp.asarray(given, jnp.finfo(leaf.dtype).dtype)
    return deviation * jnp.sqrt(jnp.mean(jnp.abs(leaf) ** 2)) if relative else deviation
