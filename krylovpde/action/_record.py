"""What a march writes down for the backward pass."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Int, PyTree, Real

from ._batch import write_where
from ._reduction import Reduction
from ._stored_states import StoredStates, empty_states


class Step(eqx.Module):
    """What the backward pass needs to know about one step."""

    time: Real[Array, ""]
    end: Real[Array, ""]
    first_output: Int[Array, ""]


class Record(eqx.Module):
    """Steps of a march (leading axis `max_steps`), some of the states that they began with, and some of their spaces.

    * `spaces`: those of the first few steps, and in the last row that of the last step (the first one to be needed).
    """

    steps: Step
    states: StoredStates
    spaces: list[Reduction]
    count: Int[Array, ""]

    def has_spaces(self, step: Int[Array, ""]) -> Bool[Array, ""]:
        """Whether the spaces of a step are kept."""
        return (step < self._rows - 1) | (step == self.count - 1)

    def spaces_of(self, step: Int[Array, ""]) -> list[Reduction]:
        """Those of a step whose spaces are kept."""
        row = jnp.minimum(step, self._rows - 1)
        return jtu.tree_map(lambda leaf: leaf[row], self.spaces)

    def step(self, step: Int[Array, ""]) -> Step:
        """A step."""
        return jtu.tree_map(lambda leaf: leaf[step], self.steps)

    @property
    def _rows(self) -> int:
        return self.spaces[0].dimension.shape[0]


def empty_record(settings, problem, start, schedule, slots: int) -> Record:
    """Room for `max_steps` steps and the spaces of `slots` of them."""
    zero = jnp.zeros_like(schedule.times[0])
    step = Step(zero, zero, jnp.zeros((), jnp.int32))
    like = [
        jax.eval_shape(
            lambda vector: settings.krylov.reduce(
                problem.operator, problem.weight, vector, zero, settings.rtol, lambda _: jnp.array(True)
            ),
            vector,
        )
        for vector in start
    ]

    def stacked(count: int, tree: PyTree) -> PyTree:
        return jtu.tree_map(lambda leaf: jnp.zeros((count, *leaf.shape), leaf.dtype), tree)

    steps, spaces = stacked(settings.max_steps, step), stacked(min(slots, settings.max_steps), like)
    return Record(steps, empty_states(start, settings.max_steps), spaces, jnp.zeros((), jnp.int32))


def remember(
    record: Record, active: Array, step: Step, state: tuple[PyTree[Array], ...], spaces: list[Reduction]
) -> Record:
    """The record with one more step, where the lane is active."""

    def write(buffers, values, row):
        # In place and without a branch, which would copy the buffers in every step.
        return jtu.tree_map(lambda buffer, value: write_where(buffer, value, row, active), buffers, values)

    return Record(
        steps=write(record.steps, step, record.count),
        states=record.states.remember(record.count, state, active),
        spaces=write(record.spaces, spaces, jnp.minimum(record.count, record._rows - 1)),
        count=record.count + active.astype(jnp.int32),
    )
