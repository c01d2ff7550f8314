"""Arithmetic of pytrees of arrays: what the optimisers compute with, leaf by leaf, so that sharded fields stay so."""

import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, PyTree, Scalar


def dot(first: PyTree[Array], second: PyTree[Array]) -> Scalar:
    """`Σ Re(conj(a) b)` over the leaves of two pytrees, in the widest of their real precisions."""
    pairs = list(zip(jtu.tree_leaves(first), jtu.tree_leaves(second), strict=True))
    parts = [jnp.sum(jnp.real(jnp.conj(a) * b)) for a, b in pairs]
    widest = jnp.result_type(*[part.dtype for part in parts])
    return sum((part.astype(widest) for part in parts[1:]), parts[0].astype(widest))


def euclidean_norm(tree: PyTree[Array]) -> Scalar:
    """`sqrt(Σ|x|²)` over the leaves of a pytree."""
    return jnp.sqrt(dot(tree, tree))


def add_scaled(tree: PyTree[Array], factor: Scalar, direction: PyTree[Array]) -> PyTree[Array]:
    """`tree + factor direction`, each leaf in its own precision."""
    return jtu.tree_map(lambda a, b: a + factor.astype(a.dtype) * b.astype(a.dtype), tree, direction)


def subtract(first: PyTree[Array], second: PyTree[Array]) -> PyTree[Array]:
    """`first - second`."""
    return jtu.tree_map(lambda a, b: a - b, first, second)


def scale(tree: PyTree[Array], factor: Scalar) -> PyTree[Array]:
    """`factor tree`, each leaf in its own precision."""
    return jtu.tree_map(lambda a: factor.astype(a.dtype) * a, tree)


def only(mask: PyTree[Bool[Array, "..."]] | None, tree: PyTree[Array]) -> PyTree[Array]:
    """The tree with zeros where the mask is false; `None` masks nothing."""
    if mask is None:
        return tree
    return jtu.tree_map(lambda keep, leaf: jnp.where(keep, leaf, jnp.zeros_like(leaf)), mask, tree)


def all_finite(*trees: PyTree[Array]) -> Bool[Array, ""]:
    """Whether every number of every tree is finite."""
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jtu.tree_leaves(trees)]
    return jnp.all(jnp.stack(finite))


def equal(first: PyTree[Array], second: PyTree[Array]) -> Bool[Array, ""]:
    """Whether all numbers of two trees are the same."""
    same = jtu.tree_map(lambda a, b: jnp.all(a == b), first, second)
    return jnp.all(jnp.stack(jtu.tree_leaves(same)))


def select(condition: Bool[Array, ""], if_true: PyTree[Array], if_false: PyTree[Array]) -> PyTree[Array]:
    """One tree or the other, leaf by leaf."""
    return jtu.tree_map(lambda a, b: jnp.where(condition, a, b), if_true, if_false)
