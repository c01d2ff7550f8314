"""Runs that differ in some of their leaves, one after another or side by side."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, PyTree

from ..._solution import Solution
from ._experiment import Experiment


def solve_all(
    experiment: Experiment, differs: PyTree[bool], num_runs: int, batch_size: int | None, model: Any
) -> Solution:
    """The solutions of all runs, every leaf stacked.

    With a `batch_size` so many run side by side, and a gradient runs each batch once more instead of keeping what it
    needs of all of them. Runs in which nothing differs (one alone, or replicates of a measurement) are solved once.
    """
    stacked, rest = eqx.partition(experiment, differs)

    def run(own: PyTree) -> Solution:
        return eqx.combine(own, rest).solve(model)

    if not jtu.tree_leaves(stacked):
        return jtu.tree_map(lambda leaf: jnp.broadcast_to(leaf, (num_runs, *jnp.shape(leaf))), run(stacked))
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
    """Runs in batches; the last run is repeated where they do not suffice."""
    missing = count * size - leaf.shape[0]
    widths = [(0, missing)] + [(0, 0)] * (leaf.ndim - 1)
    leaf = jnp.pad(leaf, widths, mode="edge") if missing else jnp.asarray(leaf)
    return leaf.reshape(count, size, *leaf.shape[1:])


@eqx.filter_jit
def predicted(predict: Callable[[Any], PyTree[Array]], model: Any) -> PyTree[Array]:
    """A prediction, compiled: a loop over runs that is not would be compiled at every call."""
    return predict(model)


def check_batch_size(batch_size: int | None, where: str):
    """Tell the user no."""
    if batch_size is not None and batch_size < 1:
        message = f"{where}: `batch_size` must be at least 1 or None, got {batch_size}."
        raise ValueError(message)
