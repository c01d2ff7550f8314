"""Any experiments, solved in as few batched solves as their shapes allow."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.tree_util as jtu
from jaxtyping import Array, ArrayLike, PRNGKeyArray, PyTree

from ..._solution import Solution
from ._batch import check_batch_size, predicted
from ._experiment import Experiment, grid_of
from ._group import Group, alike, check_shapes, make_group
from ._measurements import with_noise


class ExperimentSet(eqx.Module):
    """Experiments of one model that may differ in everything: states, sources, times, starts, sensors, data.

        loss = LeastSquares(ExperimentSet([first, second, third]))

    Those that agree in structure and in the shapes of their states and sources become one group, and one compiled solve
    serves a group: times are filled up by repeating the last one, sensors by ones that see nothing, and the data of
    both do not count (`sigma = inf`). So the number of groups, not that of experiments, decides how long it takes to
    compile. Within a group what is the same for all is kept once. As in [`krylovpde.inverse.Experiments`][], the runs
    of a group go one after another, or `batch_size` of them side by side.

    Filling up costs outputs, not steps. Where one run has very many more times or sensors than the others, two sets and
    the sum of two losses cost less.

    **Arguments:**

    - `experiments`: a list of [`krylovpde.inverse.Experiment`][]. All have data, or none has.
    - `batch_size`: how many runs of a group are side by side; `None` for one at a time.

    **Returns** predictions as a tuple with one entry per group: arrays of shape `(runs, times, sensors)`, filled up.
    `measurements` are of the same form, so a loss can compare them; `unpad` gives the list of arrays of the single
    experiments, in the order in which those came.

    **Raises:** `ValueError` for an empty list, data for some only, and data that are not as long as times and sensors.
    """

    groups: tuple[Group, ...]
    batch_size: int | None = eqx.field(static=True)

    def __init__(self, experiments: Sequence[Experiment], batch_size: int | None = None):
        experiments = list(experiments)
        check_batch_size(batch_size, "ExperimentSet")
        _check(experiments)
        sorted_in: list[list[int]] = []
        for number, run in enumerate(experiments):
            fitting = [members for members in sorted_in if alike(experiments[members[0]], run)]
            if fitting:
                fitting[0].append(number)
            else:
                sorted_in.append([number])
        self.groups = tuple(make_group(experiments, members) for members in sorted_in)
        self.batch_size = batch_size

    @property
    def num_runs(self) -> int:
        """How many experiments."""
        return sum(len(group.members) for group in self.groups)

    def __len__(self) -> int:
        return self.num_runs

    def __call__(self, model: Any) -> tuple[PyTree[Array], ...]:
        """The predictions of each group, stacked and filled up."""
        return tuple(solution.value for solution in self.solve(model))

    def solve(self, model: Any) -> tuple[Solution, ...]:
        """The solutions of each group, every leaf stacked."""
        return tuple(group.solve(model, self.batch_size) for group in self.groups)

    @property
    def measurements(self) -> tuple[PyTree[Array], PyTree[Array]]:
        """`(data, sigma)`, both like the predictions; `sigma` is `inf` where nothing was measured.

        **Raises:** `ValueError` where there are no data.
        """
        if any(group.measurements is None for group in self.groups):
            message = "These experiments have no data: give each `Experiment` its `data`, or `synthesise` them."
            raise ValueError(message)
        data, sigma = zip(*(group.measurements for group in self.groups), strict=True)
        return data, sigma

    def unpad(self, values: tuple[PyTree[Array], ...]) -> list[PyTree[Array]]:
        """The parts of the single experiments, in their order.

        **Arguments:**

        - `values`: predictions, data, residuals, or anything else of their form.

        **Returns:** a list with one pytree per experiment, of its own shapes.
        """
        parts = {
            member: group.unpad(value, number)
            for group, value in zip(self.groups, values, strict=True)
            for number, member in enumerate(group.members)
        }
        return [parts[member] for member in range(self.num_runs)]

    def __getitem__(self, index: int) -> Experiment:
        """One experiment; its mask is folded into `sigma`."""
        wanted = range(self.num_runs)[index]
        group = next(group for group in self.groups if wanted in group.members)
        return group.run(group.members.index(wanted))

    def synthesise(
        self,
        model: Any,
        *,
        noise: ArrayLike | None = None,
        fraction: ArrayLike | None = None,
        key: PRNGKeyArray,
    ) -> "ExperimentSet":
        """The same experiments with data that a model predicts, plus noise: see `Experiment.synthesise`.

        `fraction` is that of the root mean square of each experiment.
        """
        keys = jax.random.split(key, self.num_runs)
        made = []
        for number, clean in enumerate(self.unpad(predicted(self, model))):
            data, sigma = with_noise(clean, noise, fraction, keys[number])
            made.append(self[number].with_data(data, sigma, made_on=grid_of(model)))
        return ExperimentSet(made, self.batch_size)

    def with_measurements_of(self, other: "ExperimentSet") -> "ExperimentSet":
        """The same runs with the data of others, one by one: of runs that were made on a finer grid."""
        if len(other) != len(self):
            message = f"ExperimentSet.with_measurements_of: {len(other)} experiments cannot serve {len(self)}."
            raise ValueError(message)
        return ExperimentSet([self[n].with_measurements_of(other[n]) for n in range(self.num_runs)], self.batch_size)

    def with_batch_size(self, batch_size: int | None) -> "ExperimentSet":
        """The same runs, so many side by side."""
        check_batch_size(batch_size, "ExperimentSet")
        changed = jtu.tree_map(lambda leaf: leaf, self)  # a copy
        object.__setattr__(changed, "batch_size", batch_size)
        return changed


def _check(experiments: list[Experiment]):
    if not experiments:
        message = "ExperimentSet: there must be at least one experiment."
        raise ValueError(message)
    for number, run in enumerate(experiments):
        if not isinstance(run, Experiment):
            message = f"ExperimentSet takes Experiment objects, but number {number} is a {type(run).__name__}."
            raise TypeError(message)
        check_shapes(run, number)
    without = [number for number, run in enumerate(experiments) if run.data is None]
    if without and len(without) < len(experiments):
        message = (
            f"ExperimentSet: experiments {without} have no data, while others have. Give all of them data, or none."
        )
        raise ValueError(message)
