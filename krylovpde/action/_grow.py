"""Growing a Krylov space until it is good enough, in buffers of static size."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Int

from ._batch import batch_any
from ._reduction import Reduction

# A basis takes at most this many bytes by default.
_BASIS_BYTES = 2**28
# So many bytes of bases are kept for the backward pass. Buffers are filled with zeros at every call, which at a quarter
# of a gigabyte took ten times as long as the forward march of a 128 x 128 field; one basis is kept in any case.
_RECORD_BYTES = 2**24


def default_capacity(structure: Any, lowest: int, highest: int) -> int:
    """As many vectors as fit into a quarter of a gigabyte, within bounds, and never more than unknowns."""
    leaves = jtu.tree_leaves(structure)
    size = sum(leaf.size for leaf in leaves)
    width = sum(leaf.size * np.dtype(leaf.dtype).itemsize for leaf in leaves)
    return min(max(size, 1), int(np.clip(_BASIS_BYTES // max(width, 1), lowest, highest)))


def record_slots(capacity: int, structure: Any, count: int) -> int:
    """For how many steps the spaces of `count` starts are kept for a backward pass; later ones are built again."""
    width = sum(leaf.size * np.dtype(leaf.dtype).itemsize for leaf in jtu.tree_leaves(structure))
    return int(np.clip(_RECORD_BYTES // max(width * capacity * count, 1), 1, 8))


def checkpoints(capacity: int, first: int, ratio: float) -> tuple[int, ...]:
    """Dimensions at which a growing space is judged: geometric, ending at the capacity."""
    dimensions, dimension = [], first
    while dimension < capacity:
        dimensions.append(dimension)
        dimension = max(dimension + 1, math.ceil(dimension * ratio))
    return (*dimensions, capacity)


def grow(
    state: Any,
    step: Callable[[Any], Any],
    summarise: Callable[[Any, int], Any],
    accept: Callable[[Reduction], Bool[Array, ""]],
    checks: Sequence[int],
) -> Reduction:
    """Takes Krylov steps up to each of the dimensions `checks` until `accept`, breakdown, or the last of them.

    **Arguments:**

    - `state`: a `LanczosState` or `ArnoldiState` (`basis`, `residual_norm`, `dimension`, `done`, `lengths`).
    - `step`: `state -> state`, doing nothing in lanes that are done.
    - `summarise(state, dimension)`: the small matrix of the first `dimension` (static) rows, ready for functions.
    - `accept(reduction)`: whether the space is good enough; its `basis` is None.
    """
    limits = jnp.asarray(checks, jnp.int32)

    def reduction_of(state: Any, small: Any, basis: Any) -> Reduction:
        return Reduction(
            basis=basis,
            small=small,
            coupling=state.residual_norm,
            norm=norm,
            dimension=state.dimension,
            applications=state.dimension,
        )

    def body(carry):
        k, state, _ = carry
        lower = jnp.where(k > 0, limits[jnp.maximum(k - 1, 0)], 0)
        state = lax.fori_loop(lower, limits[k], lambda _, state: step(state), state)
        small = lax.switch(k, [functools.partial(_summarise, summarise, count) for count in checks], state)
        good = accept(reduction_of(state, small, None)) & ~state.done
        return k + 1, eqx.tree_at(lambda state: state.done, state, state.done | good), small

    def working(carry) -> Bool[Array, ""]:
        k, state, _ = carry
        return batch_any(~state.done) & (k < len(checks))

    norm = state.residual_norm
    empty = jtu.tree_map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
        jax.eval_shape(functools.partial(_summarise, summarise, 1), state),
    )
    _, state, small = lax.while_loop(working, body, (_zero(), state, empty))
    # A start that is zero or not finite keeps its norm for whoever judges the result.
    return reduction_of(state, small, state.basis)


def _summarise(summarise, count: int, state):
    return summarise(state, count)


def _zero() -> Int[Array, ""]:
    return jnp.zeros((), jnp.int32)
