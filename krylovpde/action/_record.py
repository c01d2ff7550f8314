"""What a march writes down for the backward pass."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax
from jaxtyping import Array, Int, PyTree, Real

from ._batch import batch_any, write_where
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
        return self.spaces[0].dimension.shape[0]


def empty_record(settings, problem, start, schedule, slots: int) -> Record:
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
    return Record(stacked(settings.max_steps, step), stacked(slots, like), jnp.zeros((), jnp.int32))


def remember(record: Record, active: Array, step: Step, spaces: list[Reduction]) -> Record:
    def write(buffers, values):
        return jtu.tree_map(lambda buffer, value: write_where(buffer, value, record.count, active), buffers, values)

    def room(slots: int) -> Array:
        return batch_any(active & (record.count < slots))

    # Past the slots nothing is written: the bases are large.
    keep = functools.partial(lax.cond, room(record.slots), write, lambda buffers, _: buffers)
    keep_step = functools.partial(lax.cond, room(record.steps.time.shape[0]), write, lambda buffers, _: buffers)
    return Record(
        steps=keep_step(record.steps, step),
        spaces=keep(record.spaces, spaces),
        count=record.count + active.astype(jnp.int32),
    )
