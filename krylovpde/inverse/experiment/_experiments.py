"""Several runs of one shape, one batched solve."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, PyTree

from ..._solution import Solution
from ._experiment import Experiment


class Experiments(eqx.Module):
    """Several runs that differ in their initial states, their sources, or both: shots, tracer tests, pulses.

    By default they run one after another (`jax.lax.map`), and each adapts on its own: under `vmap` all would take as
    many steps as the most difficult one. With a `batch_size` so many run side by side, and a gradient runs each batch
    once more instead of keeping what it needs of all of them: it is accumulated batch by batch, in the memory of one.

    **Arguments:**

    - `experiment`: an `Experiment` whose `initial` and `source` have one more leading axis on each leaf: one entry per
        run. `eqx.filter_vmap(lambda x: kp.PointSource(grid, x, wavelet))(positions)` makes such a source.
    - `batch_size`: how many run side by side; `None` for one at a time.
    - `shared_source`: whether `source` is one for all runs, without a leading axis.

    **Returns** predictions with the same leading axis.
    """

    experiment: Experiment
    batch_size: int | None = eqx.field(default=None, static=True)
    shared_source: bool = eqx.field(default=False, static=True)

    def __check_init__(self):
        if self.batch_size is not None and self.batch_size < 1:
            message = f"Experiments: `batch_size` must be at least 1 or None, got {self.batch_size}."
            raise ValueError(message)
        if callable(self.experiment.initial):
            message = "Experiments: `initial` must be the stacked initial states, not a function of the model."
            raise TypeError(message)

    @property
    def num_runs(self) -> int:
        """How many."""
        return jax.tree_util.tree_leaves(self.experiment.initial)[0].shape[0]

    def __call__(self, model: Any) -> PyTree[Array]:
        """The predictions, stacked."""
        return self.solve(model).value

    def solve(self, model: Any) -> Solution:
        """The solutions, every leaf stacked."""
        stacked, rest = eqx.partition(self.experiment, self._differs)

        def run(own: PyTree) -> Solution:
            return eqx.combine(own, rest).solve(model)

        if self.batch_size is None:
            return jax.lax.map(run, stacked)
        return jax.lax.map(jax.checkpoint(run), stacked, batch_size=self.batch_size)

    def __getitem__(self, index: int) -> Experiment:
        """One run."""
        stacked, rest = eqx.partition(self.experiment, self._differs)
        return eqx.combine(jax.tree_util.tree_map(lambda leaf: leaf[index], stacked), rest)

    @property
    def _differs(self) -> PyTree[bool]:
        """For every leaf of the experiment, whether each run has its own."""
        none = jax.tree_util.tree_map(lambda _: False, self.experiment)

        def where(e: Experiment) -> tuple:
            return (e.initial,) if self.shared_source else (e.initial, e.source)

        leaves = [leaf for part in where(self.experiment) for leaf in jax.tree_util.tree_leaves(part)]
        return eqx.tree_at(
            lambda e: jax.tree_util.tree_leaves(where(e)),
            none,
            [isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves],
        )
