"""Runs that differ in some of their leaves, one after another or side by side."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, PyTree

from ..._solution import Solution
from ._experiment import Experiment


def solve_all(
    experiment: Experiment,
    differs: PyTree[bool],
    num_runs: int,
    batch_size: int | None,
    model: Any,
    num_devices: int = 1,
) -> Solution:
    """The solutions of all runs, every leaf stacked.

    With a `batch_size` so many run side by side, and a gradient runs each batch once more instead of keeping what it
    needs of all of them. Runs in which nothing differs (one alone, or replicates of a measurement) are solved once.
    """
    stacked, rest = eqx.partition(experiment, differs)
    if not jtu.tree_leaves(stacked):
        once = eqx.combine(stacked, rest).solve(model)
        return jtu.tree_map(lambda leaf: jnp.broadcast_to(leaf, (num_runs, *jnp.shape(leaf))), once)
    if num_devices == 1:
        return _solve_here(stacked, rest, num_runs, batch_size, model)
    each = -(-num_runs // num_devices)
    shared, static = eqx.partition((rest, model), eqx.is_array)

    def share(stacked: PyTree, shared: PyTree) -> Solution:
        rest, model = eqx.combine(shared, static)
        return _solve_here(stacked, rest, each, batch_size, model)

    mesh = jax.sharding.Mesh(np.array(jax.devices()[:num_devices]), ("runs",))
    runs, everywhere = jax.sharding.PartitionSpec("runs"), jax.sharding.PartitionSpec()
    # Loops whose length depends on the run are not something whose replication JAX can check.
    solve = jax.shard_map(share, mesh=mesh, in_specs=(runs, everywhere), out_specs=runs, check_vma=False)
    solutions = solve(jtu.tree_map(lambda leaf: _filled_up(leaf, each * num_devices), stacked), shared)
    return jtu.tree_map(lambda leaf: leaf[:num_runs], solutions)


def _solve_here(stacked: PyTree, rest: PyTree, num_runs: int, batch_size: int | None, model: Any) -> Solution:
    """On one device."""

    def run(own: PyTree) -> Solution:
        return eqx.combine(own, rest).solve(model)

    if batch_size is None:
        return jax.lax.map(run, stacked)
    count, size = _evenly(num_runs, batch_size)
    if count == 1:
        return jax.vmap(run)(stacked)
    # A remainder of another size would be a second program to compile, with memory of its own.
    batches = jtu.tree_map(lambda leaf: _in_batches(leaf, count, size), stacked)
    solutions = jax.lax.map(jax.checkpoint(jax.vmap(run)), batches)
    return jtu.tree_map(lambda leaf: leaf.reshape(count * size, *leaf.shape[2:])[:num_runs], solutions)


def _evenly(num_runs: int, batch_size: int) -> tuple[int, int]:
    """How many batches of at most that size, and how large they are when all are equal."""
    count = -(-num_runs // batch_size)
    return count, -(-num_runs // count)


def _in_batches(leaf: Array, count: int, size: int) -> Array:
    """Runs in batches."""
    return _filled_up(leaf, count * size).reshape(count, size, *leaf.shape[1:])


def _filled_up(leaf: Array, num_runs: int) -> Array:
    """So many runs; the last one is repeated where they do not suffice."""
    missing = num_runs - leaf.shape[0]
    widths = [(0, missing)] + [(0, 0)] * (leaf.ndim - 1)
    return jnp.pad(leaf, widths, mode="edge") if missing else jnp.asarray(leaf)


@eqx.filter_jit
def predicted(predict: Callable[[Any], PyTree[Array]], model: Any) -> PyTree[Array]:
    """A prediction, compiled: a loop over runs that is not would be compiled at every call."""
    return predict(model)


def check_batch_size(batch_size: int | None, where: str):
    """Tell the user no."""
    if batch_size is not None and batch_size < 1:
        message = f"{where}: `batch_size` must be at least 1 or None, got {batch_size}."
        raise ValueError(message)


def check_num_devices(num_devices: int, where: str):
    """Tell the user no."""
    if not 1 <= num_devices <= len(jax.devices()):
        message = (
            f"{where}: `num_devices` must be between 1 and {len(jax.devices())}, as many as JAX has, got {num_devices}."
            ' A processor is one device, unless `jax.config.update("jax_num_cpu_devices", n)` before all else.'
        )
        raise ValueError(message)
