"""Random probes for traces, and the subspace that is left out of them."""

from typing import Literal

import jax
import jax.flatten_util as jfu
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._custom_types import Weight
from ._complement import complement

Kind = Literal["rademacher", "normal"]


def draw(kind: Kind, key: PRNGKeyArray, like: PyTree[Array], weight: Weight, count: int) -> PyTree[Array]:
    """`count` vectors `z = M^{-1/2} ζ`, stacked: the mean of `<z, B z>` in the weight is the trace of `B`.

    Rademacher numbers have the smaller variance: `2 ‖B‖²` without the diagonal, where normal ones have it with.
    """
    keys = jtu.tree_structure(like).unflatten(list(jax.random.split(key, len(jtu.tree_leaves(like)))))

    def draw_leaf(leaf: Array, leaf_key: PRNGKeyArray) -> Array:
        shape, dtype = (count, *leaf.shape), jnp.finfo(leaf.dtype).dtype
        if kind == "normal":
            return jax.random.normal(leaf_key, shape, dtype).astype(leaf.dtype)
        return jax.random.rademacher(leaf_key, shape, dtype).astype(leaf.dtype)

    return _times_root(jtu.tree_map(draw_leaf, like, keys), weight, -0.5)


def orthonormal_basis(rows: PyTree[Array], weight: Weight) -> PyTree[Array]:
    """An orthonormal basis (in the weight) of the span of stacked vectors."""
    images = _times_root(rows, weight, 0.5)
    first = jtu.tree_map(lambda leaf: leaf[0], images)
    unravel = jfu.ravel_pytree(first)[1]
    columns = jax.vmap(lambda image: jfu.ravel_pytree(image)[0], out_axes=1)(images)
    return _times_root(jax.vmap(unravel)(jnp.linalg.qr(columns)[0].T), weight, -0.5)


def projected(probes: PyTree[Array], basis: PyTree[Array], weight: Weight) -> PyTree[Array]:
    """Every probe without its part in the span of the basis."""
    return jax.vmap(lambda z: complement(basis, z, weight))(probes)


def _times_root(rows: PyTree[Array], weight: Weight, power: float) -> PyTree[Array]:
    if weight is None:
        return rows
    return jtu.tree_map(lambda leaf, m: leaf * (m**power).astype(leaf.dtype), rows, weight)
