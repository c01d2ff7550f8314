"""Predicates that a whole batch shares.

Under `vmap`, a `while_loop` whose predicate differs between lanes selects over its whole carry, the Krylov basis
included, in every iteration. The loops of this package therefore do nothing in lanes that are done, and ask these
functions, which stay scalar under `vmap`, whether any lane still works.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax
from jaxtyping import Array

# So many times are worked on at once: the temporaries of a transform are several times as large as its result.
_TIMES = 8


@jax.custom_batching.custom_vmap
def batch_any(predicate: Array) -> Array:
    """The predicate itself; under `vmap`, whether it holds in any lane (the same scalar for all lanes)."""
    return predicate


@batch_any.def_vmap
def _(axis_size: int, in_batched: list[bool], predicate: Array) -> tuple[Any, bool]:
    del axis_size
    return batch_any(jnp.any(predicate, axis=0) if in_batched[0] else predicate), False


@jax.custom_batching.custom_vmap
def batch_max(number: Array) -> Array:
    """The number itself; under `vmap`, the largest over all lanes (the same scalar for all lanes)."""
    return number


@batch_max.def_vmap
def _(axis_size: int, in_batched: list[bool], number: Array) -> tuple[Any, bool]:
    del axis_size
    return batch_max(jnp.max(number, axis=0) if in_batched[0] else number), False


@jax.custom_batching.custom_vmap
def write_where(buffer: Array, value: Array, index: Array, condition: Array) -> Array:
    """`buffer` with row `index` replaced where `condition` holds and the row exists; known to be so in a single lane.

    Only a batch, whose lanes differ, pays for reading what it overwrites.
    """
    del condition
    return jax.lax.dynamic_update_index_in_dim(buffer, value, index, 0)


@write_where.def_vmap
def _(axis_size: int, in_batched: list[bool], *operands: Array) -> tuple[Any, bool]:
    axes = tuple(0 if batched else None for batched in in_batched)

    def write(buffer: Array, value: Array, index: Array, condition: Array) -> Array:
        inside = jnp.minimum(index, buffer.shape[0] - 1)
        old = jax.lax.dynamic_index_in_dim(buffer, inside, keepdims=False)
        kept = condition & (index < buffer.shape[0])
        return jax.lax.dynamic_update_index_in_dim(buffer, jnp.where(kept, value, old), inside, 0)

    return jax.vmap(write, in_axes=axes, axis_size=axis_size)(*operands), True


def for_all_times(function: Callable[[Any], Any], operands: Any) -> Any:
    """`function` for every time, a few at once: the last ones are filled up, so that it is compiled once."""
    count = operands[0].size
    if count <= _TIMES:
        return jax.vmap(function)(operands)
    batches = math.ceil(count / _TIMES)

    def fold(leaf: Array) -> Array:
        filled = jnp.concatenate([leaf, jnp.broadcast_to(leaf[-1:], (batches * _TIMES - count, *leaf.shape[1:]))])
        return filled.reshape(batches, _TIMES, *leaf.shape[1:])

    results = lax.map(jax.vmap(function), jtu.tree_map(fold, operands))
    return jtu.tree_map(lambda leaf: leaf.reshape(batches * _TIMES, *leaf.shape[2:])[:count], results)
