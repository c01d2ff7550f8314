"""Experiments: what is done to a system and what is measured. They predict data from a model."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, PyTree, Shaped

from .._solution import Solution
from ..equation import AbstractEquation, AbstractSource
from ..integrate import solve


class Experiment(eqx.Module):
    """One run: start from a known state, measure at known times.

        prediction = kp.solve(model.equation(), initial, times, observe=observe).value

    It is the `predict` of a `LeastSquares`, and a plain function does as well.

    **Arguments:**

    - `initial`: the initial state, or a function of the model that gives it (when it is unknown itself).
    - `times`: when to measure: one number, or a non-decreasing array.
    - `observe`: what is measured: `kp.Sensors`, or whatever else `kp.solve` takes; the state itself if `None`.
    - `t0`: when it starts.
    - `source`: what drives this run, in addition to the equation's own source: a `kp.PointSource`, a `kp.Source`, or a
        list of these. The equation must have a field `source`, as the package's have.
    - `options`: further arguments of `kp.solve`: `method`, `adjoint`, `rtol`, `atol`, `max_steps`, `throw`.

    A model is an Equinox module with a method `equation()`, or a `kp.AbstractEquation` itself.
    """

    initial: PyTree | Callable[[Any], PyTree]
    times: Shaped[Array, "..."] = eqx.field(converter=jnp.asarray)
    observe: Any = None
    t0: ArrayLike = 0.0
    source: Any = None
    options: dict[str, Any] = eqx.field(default_factory=dict)

    def __call__(self, model: Any) -> PyTree[Array]:
        """The prediction: the value of the solution."""
        return self.solve(model).value

    def solve(self, model: Any) -> Solution:
        """The solution with its result and statistics."""
        initial = self.initial(model) if callable(self.initial) else self.initial
        equation = _with_source(equation_of(model), self.source)
        return solve(equation, initial, self.times, t0=self.t0, observe=self.observe, **self.options)


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


def _with_source(equation: AbstractEquation, source: Any) -> AbstractEquation:
    if source is None:
        return equation
    if "source" not in {field.name for field in dataclasses.fields(equation)}:
        message = f"Experiment: {type(equation).__name__} has no field `source` to add this run's source to."
        raise TypeError(message)
    added = tuple(source) if isinstance(source, list | tuple) else (source,)
    if not all(isinstance(part, AbstractSource) for part in added):
        message = f"Experiment(source=...) takes a kp.PointSource, a kp.Source or a list of these, got {source!r}."
        raise TypeError(message)
    own = equation.source
    before = () if own is None else own if isinstance(own, tuple) else (own,)
    return eqx.tree_at(lambda e: e.source, equation, (*before, *added), is_leaf=lambda leaf: leaf is None)


def equation_of(model: Any) -> AbstractEquation:
    """The equation that a model makes, or the model where it is one.

    **Raises:** `TypeError` for a model that is neither.
    """
    if isinstance(model, AbstractEquation):
        return model
    if not callable(getattr(model, "equation", None)):
        message = (
            f"The model is a {type(model).__name__}, which has no method `equation()` and is no kp.AbstractEquation. "
            "Give it one, or pass a function of the model as `predict`."
        )
        raise TypeError(message)
    return model.equation()
