"""The starts of an action, one after another: side by side, all would hold their vectors at the same time."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax

Carry = TypeVar("Carry")
Item = TypeVar("Item")
Row = TypeVar("Row")
Result = TypeVar("Result")

# So many starts of one kind share a program. Two are a displacement and a velocity, whose copies side by side would
# cost more than a program for each.
_MANY = 3


def one_by_one(
    function: Callable[[Carry, tuple[Item, Row]], tuple[Carry, Result]], carry: Carry, items: list[Item], table: Row
) -> tuple[Carry, list[Result]]:
    """`carry, result = function(carry, (item, row))` for every item and its row of the table.

    Many of one kind are a loop, compiled once: the rows of an exponential Runge–Kutta method have four or five starts.
    """
    if len(items) < _MANY or not _of_one_kind(items):
        results = []
        for i, item in enumerate(items):
            carry, result = function(carry, (item, jtu.tree_map(lambda leaf, i=i: leaf[i], table)))
            results.append(result)
        return carry, results
    stacked = jtu.tree_map(lambda *leaves: jnp.stack(leaves), *items)
    carry, results = lax.scan(function, carry, (stacked, table))
    return carry, [jtu.tree_map(lambda leaf, i=i: leaf[i], results) for i in range(len(items))]


def _of_one_kind(items: list[Any]) -> bool:
    kinds = [(jtu.tree_structure(item), [(leaf.shape, leaf.dtype) for leaf in jtu.tree_leaves(item)]) for item in items]
    return all(kind == kinds[0] for kind in kinds)
