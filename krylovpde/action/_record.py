"""What a march writes down for the backward pass."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Int, PyTree, Real

from ._batch import write_where
from ._reduction import Reduction


class Step(eqx.Module):
    """What the backward pass needs to know about one step."""

    time: Real[Array, ""]
    end: Real[Array, ""]
    first_output: Int[Array, ""]
    state: tuple[PyTree[Array], ...]


class Record(eqx.Module):
    """Steps of a march (leading axis `max_steps`), and the spaces of the first few of them."""

    steps: Step
    spaces: list[Reduction]
    count: Int[Array, ""]

    @property
    def slots(self) -> int:
        """How many spaces are kept; one more place is for those that are not."""
        return self.spaces[0].dimension.shape[0] - 1


def empty_record(settings, problem, start, schedule, slots: int) -> Record:
    """Room for `max_steps` steps and the spaces of `slots` of them."""
    zero = jnp.zeros_like(schedule.times[0])
    step = Step(zero, zero, jnp.zeros((), jnp.int32), start)
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

    slots = min(slots, settings.max_steps)
    return Record(stacked(settings.max_steps, step), stacked(slots + 1, like), jnp.zeros((), jnp.int32))


def remember(record: Record, active: Array, step: Step, spaces: list[Reduction]) -> Record:
    """The record with one more step, where the lane is active."""

    def write(buffers, values):
        return jtu.tree_map(lambda buffer, value: write_where(buffer, value, record.count, active), buffers, values)

    # In place and without a branch, which would copy the buffers in every step.
    kept = jtu.tree_map(
        lambda buffer, value: write_where(buffer, value, jnp.minimum(record.count, record.slots), active),
        record.spaces,
        spaces,
    )
    return Record(write(record.steps, step), kept, record.count + active.astype(jnp.int32))
