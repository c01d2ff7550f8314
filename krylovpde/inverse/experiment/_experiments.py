"""Several runs of one shape, one batched solve."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, ArrayLike, PRNGKeyArray, PyTree

from ..._solution import Solution
from ._batch import check_batch_size, check_num_devices, predicted, solve_all
from ._experiment import Experiment, grid_of
from ._measurements import with_noise


class Experiments(eqx.Module):
    """Several runs that differ in their initial states, their sources, or both: shots, tracer tests, pulses.

    By default they run one after another (`jax.lax.map`), and each adapts on its own: under `vmap` all would take as
    many steps as the most difficult one. With a `batch_size` so many run side by side, and a gradient runs each batch
    once more instead of keeping what it needs of all of them: it is accumulated batch by batch, in the memory of one.
    [`krylovpde.inverse.batch_size_for`][] chooses it for a given memory. Runs that differ in their times, sensors or
    shapes make an [`krylovpde.inverse.ExperimentSet`][].

    **Arguments:**

    - `experiment`: an `Experiment` whose `initial` and `source` have one more leading axis on each leaf: one entry per
        run. `eqx.filter_vmap(lambda x: kp.PointSource(grid, x, wavelet))(positions)` makes such a source. So have its
        `data`, where there are any; `sigma` and `mask` broadcast against them.
    - `batch_size`: how many run side by side; `None` for one at a time.
    - `shared_source`: whether `source` is one for all runs, without a leading axis.
    - `num_devices`: among how many of `jax.devices()` the runs are shared out. A processor is one device whose cores
        share the work of each operation, which small ones do badly: after
        `jax.config.update("jax_num_cpu_devices", 2)` two cores take one run each.

    **Returns** predictions with the same leading axis.

    **Raises:** `ValueError` for a batch size below 1, or more devices than there are.
    """

    experiment: Experiment
    batch_size: int | None = eqx.field(default=None, static=True)
    shared_source: bool = eqx.field(default=False, static=True)
    num_devices: int = eqx.field(default=1, static=True)

    def __check_init__(self):
        check_batch_size(self.batch_size, "Experiments")
        check_num_devices(self.num_devices, "Experiments")
        if callable(self.experiment.initial):
            message = "Experiments: `initial` must be the stacked initial states, not a function of the model."
            raise TypeError(message)

    @property
    def num_runs(self) -> int:
        """How many."""
        return jtu.tree_leaves(self.experiment.initial)[0].shape[0]

    def __call__(self, model: Any) -> PyTree[Array]:
        """The predictions, stacked."""
        return self.solve(model).value

    def solve(self, model: Any) -> Solution:
        """The solutions, every leaf stacked."""
        drive = dataclasses.replace(self.experiment, data=None, sigma=None, mask=None)
        return solve_all(drive, self._differs(drive), self.num_runs, self.batch_size, model, self.num_devices)

    @property
    def measurements(self) -> tuple[PyTree[Array], PyTree[Array]]:
        """`(data, sigma)` as of an `Experiment`, stacked like the predictions."""
        return self.experiment.measurements

    def synthesise(
        self,
        model: Any,
        *,
        noise: ArrayLike | None = None,
        fraction: ArrayLike | None = None,
        key: PRNGKeyArray,
    ) -> "Experiments":
        """The same runs with data that a model predicts, plus noise: see `Experiment.synthesise`.

        `fraction` is that of the root mean square of all runs together.
        """
        data, sigma = with_noise(predicted(self, model), noise, fraction, key)
        made = self.experiment.with_data(data, sigma, mask=self.experiment.mask, made_on=grid_of(model))
        return dataclasses.replace(self, experiment=made)

    def with_measurements_of(self, other: "Experiments") -> "Experiments":
        """The same runs with the data of others: of runs that were made on a finer grid."""
        return dataclasses.replace(self, experiment=self.experiment.with_measurements_of(other.experiment))

    def with_batch_size(self, batch_size: int | None) -> "Experiments":
        """The same runs, so many side by side."""
        return dataclasses.replace(self, batch_size=batch_size)

    def __getitem__(self, index: int) -> Experiment:
        """One run; its mask is folded into `sigma`."""
        data, sigma = (None, None) if self.experiment.data is None else self.measurements
        full = dataclasses.replace(self.experiment, data=data, sigma=sigma, mask=None)
        stacked, rest = eqx.partition(full, self._differs(full))
        return eqx.combine(jtu.tree_map(lambda leaf: leaf[index], stacked), rest)

    def _differs(self, experiment: Experiment) -> PyTree[bool]:
        """For every leaf of the experiment, whether each run has its own."""
        none = jtu.tree_map(lambda _: False, experiment)

        def where(e: Experiment) -> list:
            source = None if self.shared_source else e.source
            return jtu.tree_leaves((e.initial, source, e.data, e.sigma))

        own = [isinstance(leaf, jax.Array | np.ndarray) for leaf in where(experiment)]
        return eqx.tree_at(where, none, own) if own else none
