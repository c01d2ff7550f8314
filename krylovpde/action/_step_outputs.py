"""What a step writes: every output time in its reach, read from the same spaces."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax
from jaxtyping import Array, PyTree

from ..krylov._space import add
from ._batch import batch_any
from ._problem import Problem, Settings
from ._reduction import Reduction, lift

_CHUNK = 8


def component_from_tables(order: int, component: int, spaces: list[Reduction], tables: list[Array]) -> PyTree[Array]:
    """Component of the state from coefficients `tables[l][k] = F_(l-order+1+k)` (one set or a stack of them)."""
    parts = [lift(space, table[..., order - 1 - component, :]) for space, table in zip(spaces, tables, strict=True)]
    total = parts[0]
    for part in parts[1:]:
        total = add(total, part)
    return total


def write_outputs(settings, problem, schedule, spaces, time, end, active, next_output, outputs):
    """Evaluates every output time in reach, `_CHUNK` at once: one pass over the basis serves them all."""
    count = schedule.times.size
    chunk = min(count, _CHUNK)
    reader = _reader(settings, problem, spaces)

    def in_reach(index: Array) -> Array:
        times = schedule[index]
        forward = jnp.where(end < time, times >= end, times <= end) & ((times < 0) == (schedule[next_output] < 0))
        return active & (index < count) & forward

    def body(carry):
        index, outputs = carry
        indices = index + jnp.arange(chunk, dtype=jnp.int32)
        valid = in_reach(indices)
        values = reader(jnp.where(valid, schedule[indices] - time, 0.0))

        def write(buffer, value):
            old = lax.dynamic_slice_in_dim(buffer, index, chunk, axis=0)
            mask = valid.reshape((chunk,) + (1,) * (value.ndim - 1))
            return lax.dynamic_update_slice_in_dim(buffer, jnp.where(mask, value, old), index, axis=0)

        return index + jnp.sum(valid, dtype=jnp.int32), jtu.tree_map(write, outputs, values)

    return lax.while_loop(lambda carry: batch_any(in_reach(carry[0])), body, (next_output, outputs))


def _reader(settings: Settings, problem: Problem, spaces: list[Reduction]):
    """A function of a stack of offsets that returns the outputs there."""
    order = problem.order
    seen = spaces
    if problem.observation is not None:
        # Observe the basis once; every output is then a sum of a few short rows.
        observe = jax.vmap(problem.observation.operator.mv)
        seen = [eqx.tree_at(lambda s: s.basis, space, observe(space.basis)) for space in spaces]

    def read(offsets: Array) -> PyTree[Array]:
        tables = [
            jax.vmap(
                lambda t, level=level, space=space: settings.krylov.coefficients(
                    order, level - order + 1, level, t, space
                )[0]
            )(offsets)
            for level, space in enumerate(spaces)
        ]
        if problem.observation is not None:
            return component_from_tables(order, problem.observation.component, seen, tables)
        return tuple(component_from_tables(order, component, spaces, tables) for component in range(order))

    return read


def empty_outputs(problem: Problem, start: tuple[PyTree[Array], ...], count: int) -> PyTree[Array]:
    """NaN for `count` outputs, and room for the last chunk."""
    if problem.observation is None:
        like = jax.eval_shape(lambda: start[: problem.order])
    else:
        like = jax.eval_shape(problem.observation.operator.mv, start[problem.observation.component])
    rows = count + min(count, _CHUNK) - 1
    return jtu.tree_map(lambda leaf: jnp.full((rows, *leaf.shape), jnp.nan, leaf.dtype), like)
