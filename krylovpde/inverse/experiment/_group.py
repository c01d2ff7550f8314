"""Runs that share one compiled solve although their times and sensors are not equally many."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, PyTree

from ..._solution import Solution
from ...grid import AbstractRows, OneOf, is_concrete
from ._batch import solve_all
from ._experiment import Experiment


class Group(eqx.Module):
    """Several runs, filled up to one shape.

    - `experiment`: without data; what differs from run to run is stacked, the rest is there once.
    - `differs`: which of its leaves are stacked.
    - `measurements`: `(data, sigma)`, stacked; what fills up has `sigma = inf`. `None` where there are no data.
    - `members`: the runs' positions in the list that they came from.
    - `lengths`: of each run, how many times and sensors it has; `None` where there is no such axis.
    - `observers`: the sensors of each run; none where `experiment` has what they observe.
    """

    experiment: Experiment
    differs: tuple[bool, ...] = eqx.field(static=True)
    measurements: PyTree[Array]
    members: tuple[int, ...] = eqx.field(static=True)
    lengths: tuple[tuple[int | None, int | None], ...] = eqx.field(static=True)
    observers: tuple[AbstractRows, ...]

    def solve(self, model: Any, batch_size: int | None) -> Solution:
        """The solutions, stacked."""
        return solve_all(self.experiment, self._which, len(self.members), batch_size, model)

    def run(self, number: int) -> Experiment:
        """One run as it was, its mask folded into `sigma`."""
        stacked, rest = eqx.partition(self.experiment, self._which)
        one = eqx.combine(jtu.tree_map(lambda leaf: leaf[number], stacked), rest)
        times = self.lengths[number][0]
        data, sigma = (None, None) if self.measurements is None else self.unpad(self.measurements, number)
        return dataclasses.replace(
            one,
            times=one.times if times is None else one.times[:times],
            observe=self.observers[number] if self.observers else one.observe,
            data=data,
            sigma=sigma,
        )

    def unpad(self, values: PyTree[Array], number: int) -> PyTree[Array]:
        """What belongs to one run, out of something stacked and filled up."""
        used = tuple(slice(length) for length in self.lengths[number] if length is not None)
        return jtu.tree_map(lambda leaf: leaf[(number, *used)], values)

    @property
    def _which(self) -> PyTree[bool]:
        return jtu.tree_unflatten(jtu.tree_structure(self.experiment), self.differs)


def make_group(experiments: Sequence[Experiment], members: Sequence[int]) -> Group:
    """The group of the runs at some positions; `alike` says which may be together."""
    runs = [experiments[member] for member in members]
    lengths = [_lengths(run) for run in runs]
    longest = [None if column[0] is None else max(column) for column in zip(*lengths, strict=True)]
    drives = [
        dataclasses.replace(
            run,
            times=_filled_up(run.times, longest[:1], "edge"),
            observe=observe,
            data=None,
            sigma=None,
            mask=None,
        )
        for run, observe in zip(runs, _chosen([run.observe for run in runs]), strict=True)
    ]
    columns = list(zip(*(jtu.tree_leaves(drive) for drive in drives), strict=True))
    differs = tuple(not _same(column) for column in columns)
    leaves = [
        jnp.stack([jnp.asarray(x) for x in column]) if own else column[0]
        for column, own in zip(columns, differs, strict=True)
    ]
    return Group(
        experiment=jtu.tree_unflatten(jtu.tree_structure(drives[0]), leaves),
        differs=differs,
        measurements=_measurements(runs, longest),
        members=tuple(members),
        lengths=tuple(lengths),
        observers=tuple(run.observe for run in runs) if _sees_rows(runs[0]) else (),
    )


def alike(first: Experiment, second: Experiment) -> bool:
    """Whether two runs can be in one group: all but what is stacked or filled up is equal."""
    one, other = _skeleton(first), _skeleton(second)
    if jtu.tree_structure(one) != jtu.tree_structure(other):
        return False
    pairs = zip(jtu.tree_leaves(one), jtu.tree_leaves(other), strict=True)
    return all(_stackable(a, b) for a, b in pairs)


def check_shapes(run: Experiment, number: int):
    """Tell the user no, where data cannot be what the run predicts."""
    if run.data is None:
        return
    expected = tuple(length for length in _lengths(run) if length is not None)
    for leaf in jtu.tree_leaves(run.data):
        if leaf.shape[: len(expected)] != expected or (_sees_rows(run) and leaf.ndim != len(expected)):
            message = (
                f"ExperimentSet: experiment {number} has data of shape {leaf.shape}, but predicts {expected} "
                "(times, sensors)."
            )
            raise ValueError(message)


def _lengths(run: Experiment) -> tuple[int | None, int | None]:
    times = run.times.shape[0] if run.times.ndim else None
    return times, run.observe.num_rows if _sees_rows(run) else None


def _sees_rows(run: Experiment) -> bool:
    return isinstance(run.observe, AbstractRows)


def _chosen(observers: list[Any]) -> list[Any]:
    """What the runs of a group observe, in one structure."""
    if not isinstance(observers[0], AbstractRows) or all(observe == observers[0] for observe in observers):
        return observers
    choices = list(dict.fromkeys(observers))
    return [OneOf(choices, choices.index(observe)) for observe in observers]


def _skeleton(run: Experiment) -> tuple:
    """What has to be equal, or of equal shapes, in the runs of a group."""
    rows = _sees_rows(run)
    data = None if run.data is None else _element_shapes(run.data, len([n for n in _lengths(run) if n is not None]))
    rest = dataclasses.replace(
        run,
        times=jnp.zeros(()),
        t0=jnp.zeros(()),
        observe=None if rows else run.observe,
        data=None,
        sigma=None,
        mask=None,
    )
    static = (run.observe.grid, run.observe.dtype) if rows else None
    return rest, _Static((static, data, run.times.ndim, run.times.dtype))


class _Static(eqx.Module):
    value: Any = eqx.field(static=True)


def _element_shapes(data: PyTree, axes: int) -> tuple:
    """Structure, shapes and dtypes of data behind their first axes: hashable."""
    leaves, structure = jtu.tree_flatten(data)
    return structure, tuple((leaf.shape[axes:], str(leaf.dtype)) for leaf in leaves)


def _stackable(one: Any, other: Any) -> bool:
    if isinstance(one, jax.Array | np.ndarray) and isinstance(other, jax.Array | np.ndarray):
        return one.shape == other.shape and one.dtype == other.dtype
    return one is other or (type(one) is type(other) and bool(one == other))


def _same(column: Sequence[Any]) -> bool:
    """Whether all runs have one and the same leaf: it is then not stacked."""
    first = column[0]
    if all(leaf is first for leaf in column):
        return True
    if not all(is_concrete(leaf) for leaf in column):
        return False
    return all(np.shape(leaf) == np.shape(first) and np.array_equal(leaf, first) for leaf in column)


def _measurements(runs: list[Experiment], longest: list[int | None]) -> PyTree[Array] | None:
    if runs[0].data is None:
        return None
    pairs = [run.measurements for run in runs]
    axes = [n for n in longest if n is not None]
    filled = [
        (
            jtu.tree_map(lambda leaf: _filled_up(leaf, axes, "constant"), data),
            jtu.tree_map(lambda leaf: _filled_up(leaf, axes, "constant", jnp.inf), sigma),
        )
        for data, sigma in pairs
    ]
    return jtu.tree_map(lambda *leaves: jnp.stack(leaves), *filled)


def _filled_up(leaf: Array, longest: Sequence[int | None], mode: str, value: float | None = None) -> Array:
    """With the first axes as long as given: by repeating the last entry, or by a number."""
    missing = [0 if n is None else n - m for n, m in zip(longest, leaf.shape, strict=False)]
    if not any(missing):
        return leaf
    widths = [(0, n) for n in missing] + [(0, 0)] * (leaf.ndim - len(missing))
    return jnp.pad(leaf, widths, mode=mode) if value is None else jnp.pad(leaf, widths, constant_values=value)
