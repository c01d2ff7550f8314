"""Rough random vectors: independent numbers at every unknown.

Smooth vectors hide mistakes. A Krylov iteration excites a smooth direction well, so that even a derivative which is
useless elsewhere looks right along it; every certificate therefore draws its directions here.
"""

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree


def rough(key: PRNGKeyArray, structure: PyTree) -> PyTree[Array]:
    """Standard normal numbers for every leaf of a pytree of arrays or of `jax.ShapeDtypeStruct`s."""
    leaves, treedef = jtu.tree_flatten(structure)
    keys = jax.random.split(key, len(leaves))
    normals = [jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
    return treedef.unflatten(normals)


def rough_direction(key: PRNGKeyArray, point: PyTree[Array]) -> PyTree[Array]:
    """A rough vector whose leaves have the root mean square of the point's leaves (1 where a leaf is zero).

    A step of 0.1 then changes each parameter by about a tenth of its size, whatever its unit.
    """

    def scaled(normal: Array, leaf: Array) -> Array:
        size = jnp.sqrt(jnp.mean(jnp.abs(leaf) ** 2))
        size = jnp.where(size > 0, size, jnp.ones_like(size))
        return normal * size.astype(leaf.dtype)

    return jtu.tree_map(scaled, rough(key, point), point)


def machine_epsilon(*trees: PyTree) -> float:
    """The unit of rounding of the coarsest dtype among the leaves."""
    return max(float(np.finfo(leaf.dtype).eps) for tree in trees for leaf in jtu.tree_leaves(tree))
