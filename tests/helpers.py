"""What several test files share: tolerances with names, and comparisons of pytrees."""

from collections.abc import Collection, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
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


def variants(values: Iterable[Any], *, quick: Collection[Any] = (), slow: Collection[Any] = ()) -> list[Any]:
    """`values` for `pytest.mark.parametrize`, marked slow where not in `quick`, or where in `slow`: one of the two.

    Tuples are the values of several arguments.
    """
    values = list(values)
    unknown = [name for name in (*quick, *slow) if name not in values]
    assert not unknown, f"no such variants: {unknown}"
    assert bool(quick) != bool(slow)
    later = [value in slow if slow else value not in quick for value in values]
    parts = [value if isinstance(value, tuple) else (value,) for value in values]
    return [
        pytest.param(*part, marks=pytest.mark.slow) if mark else pytest.param(*part)
        for part, mark in zip(parts, later, strict=True)
    ]
