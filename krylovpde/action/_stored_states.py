"""States of a march at evenly spaced steps, thinned out as the march gets longer.

A backward pass needs the state at the start of every step. Room for all of them would be filled with zeros at every
call and be most of the time of a short march (47 of 54 ms for 256 states of 128 x 128 x 2 numbers, where one step
sufficed). So a fixed number of states is kept: of all steps while there is room, then of every second, every fourth,
and so on. Those in between are made again, once each, from the one before (`adjoint/_recall.py`).
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Int, PyTree

from ._batch import write_where

# States take this many bytes, or more where these are fewer than the least number. With sixteen states and gaps of
# sixteen, 256 steps fit into 32 states.
_BYTES, _LEAST = 2**22, 16


class StoredStates(eqx.Module):
    """Rows of states, and whose they are.

    * `states`: a pytree like the state with a leading axis; one row more than `slots`, for what is not kept.
    * `owners`: the step of each slot, -1 for nobody's.
    * `spacing`: a power of two; kept are the steps that are its multiples.
    """

    states: PyTree[Array]
    owners: Int[Array, " slots"]
    spacing: Int[Array, ""]

    def remember(self, step: Int[Array, ""], state: PyTree[Array], active: Bool[Array, ""]) -> "StoredStates":
        """With the state at the start of a step, where it is one of those that are kept and the lane is active."""
        due = active & (step % self.spacing == 0)
        full = ~jnp.any(_free(self.owners, self.spacing))
        spacing = jnp.where(due & full, 2 * self.spacing, self.spacing)
        kept = active & (step % spacing == 0)
        # The rows of steps that are multiples no more are free.
        slot = jnp.where(kept, jnp.argmax(_free(self.owners, spacing)), self.owners.size).astype(jnp.int32)
        owners = jnp.where(jnp.arange(self.owners.size, dtype=jnp.int32) == slot, step, self.owners)
        states = jtu.tree_map(lambda rows, leaf: write_where(rows, leaf, slot, active), self.states, state)
        return StoredStates(states, owners, spacing)

    def state(self, step: Int[Array, ""]) -> PyTree[Array]:
        """The state at the start of a step that is kept."""
        slot = jnp.argmax(self.owners == step).astype(jnp.int32)
        return jtu.tree_map(lambda rows: lax.dynamic_index_in_dim(rows, slot, keepdims=False), self.states)


def _free(owners: Array, spacing: Array) -> Array:
    return (owners < 0) | (owners % spacing != 0)


def empty_states(state: PyTree[Array], max_steps: int) -> StoredStates:
    """Room for some states of a march of at most `max_steps` steps."""
    slots = num_slots(state, max_steps)
    rows = jtu.tree_map(lambda leaf: jnp.zeros((slots + 1, *leaf.shape), leaf.dtype), state)
    return StoredStates(rows, jnp.full((slots,), -1, jnp.int32), jnp.ones((), jnp.int32))


def num_slots(state: PyTree[Any], max_steps: int) -> int:
    """How many states are kept: a static number."""
    width = sum(leaf.size * np.dtype(leaf.dtype).itemsize for leaf in jtu.tree_leaves(state))
    return min(max(_BYTES // max(width, 1), _LEAST), max_steps)


def widest_spacing(slots: int, max_steps: int) -> int:
    """The spacing after `max_steps` steps."""
    spacing = 1
    while spacing * slots < max_steps:
        spacing *= 2
    return spacing
