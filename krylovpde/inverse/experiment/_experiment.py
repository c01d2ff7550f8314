"""One run: what is done to a system and what is measured. It predicts data from a model."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, PyTree, Shaped

from ..._solution import Solution
from ...equation import AbstractEquation, AbstractSource
from ...integrate import solve


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
