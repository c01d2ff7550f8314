"""Experiments: what is done to a system and what is measured. They predict data from a model."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, PyTree, Shaped

from .._solution import Solution
from ..equation import AbstractEquation
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
    - `options`: further arguments of `kp.solve`: `method`, `adjoint`, `rtol`, `atol`, `max_steps`, `throw`.

    A model is an Equinox module with a method `equation()`, or a `kp.AbstractEquation` itself.
    """

    initial: PyTree | Callable[[Any], PyTree]
    times: Shaped[Array, "..."] = eqx.field(converter=jnp.asarray)
    observe: Any = None
    t0: ArrayLike = 0.0
    options: dict[str, Any] = eqx.field(default_factory=dict)

    def __call__(self, model: Any) -> PyTree[Array]:
        """The prediction: the value of the solution."""
        return self.solve(model).value

    def solve(self, model: Any) -> Solution:
        """The solution with its result and statistics."""
        initial = self.initial(model) if callable(self.initial) else self.initial
        equation = equation_of(model)
        return solve(equation, initial, self.times, t0=self.t0, observe=self.observe, **self.options)


class Experiments(eqx.Module):
    """Several runs that differ in their initial state: shots, tracer tests, pulses.

    They run one after another (`jax.lax.map`), so that the memory is that of one, and each adapts on its own: under
    `vmap` all would take as many Krylov steps as the most difficult one.

    **Arguments:**

    - `experiment`: an `Experiment` whose `initial` has one more leading axis on each leaf: one entry per run.

    **Returns** predictions with the same leading axis.
    """

    experiment: Experiment

    def __check_init__(self):
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

        def run(initial: PyTree) -> Solution:
            return eqx.tree_at(lambda e: e.initial, self.experiment, initial).solve(model)

        return jax.lax.map(run, self.experiment.initial)

    def __getitem__(self, index: int) -> Experiment:
        """One run."""
        initial = jax.tree_util.tree_map(lambda leaf: leaf[index], self.experiment.initial)
        return eqx.tree_at(lambda e: e.initial, self.experiment, initial)


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
