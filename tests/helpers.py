"""What several test files share: tolerances with names, and comparisons of pytrees."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree


def rounding(dtype, condition: float = 1.0) -> float:
    """What rounding alone may do: 100 units of the last place, times the conditioning of the problem."""
    return 100 * float(jnp.finfo(dtype).eps) * condition


def relative_error(value: PyTree, reference: PyTree) -> float:
    """Norm of the difference over the norm of the reference, over all leaves together, in double precision."""
    assert jax.tree.structure(value) == jax.tree.structure(reference)
    difference, scale = 0.0, 0.0
    for leaf, expected in zip(jax.tree.leaves(value), jax.tree.leaves(reference), strict=True):
        leaf, expected = _widened(leaf), _widened(expected)
        assert leaf.shape == expected.shape, f"shape {leaf.shape} beside {expected.shape}"
        difference += float(np.sum(np.abs(leaf - expected) ** 2))
        scale += float(np.sum(np.abs(expected) ** 2))
    return float(np.sqrt(difference) / np.sqrt(scale)) if scale else float(np.sqrt(difference))


def _widened(leaf) -> np.ndarray:
    leaf = np.asarray(leaf)
    return leaf.astype(np.complex128 if np.iscomplexobj(leaf) else np.float64)


def random_like(key: PRNGKeyArray, tree: PyTree) -> PyTree:
    """Standard normal numbers of the tree's shapes and dtypes: as rough as the grid can carry."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))
    return structure.unflatten(
        [jax.random.normal(k, jnp.shape(leaf), leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
    )


def dense(operator) -> Array:
    """The matrix of an operator on one array, column by column through `mv`: the reference that shares no code."""
    structure = operator.in_structure()
    size = int(np.prod(structure.shape))
    columns = jax.vmap(lambda e: operator.mv(e.reshape(structure.shape)).ravel())(jnp.eye(size, dtype=structure.dtype))
    return columns.T
