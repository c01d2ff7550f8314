"""One run: what is done to a system and what is measured. It predicts data from a model."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, PRNGKeyArray, PyTree, Shaped

from ..._solution import Solution
from ...equation import AbstractEquation, AbstractSource
from ...grid import AbstractGrid
from ...integrate import solve
from ._measurements import as_inexact_tree, as_mask_tree, check_measurements, folded, with_noise


class Experiment(eqx.Module):
    """One run: start from a known state, measure at known times.

        prediction = kp.solve(model.equation(), initial, times, observe=observe).value

    It is the `predict` of a `LeastSquares`, and a plain function does as well. It also holds what was measured.

    **Arguments:**

    - `initial`: the initial state, or a function of the model that gives it (when it is unknown itself).
    - `times`: when to measure: one number, or a non-decreasing array.
    - `observe`: what is measured: `kp.Sensors`, `kp.Averages`, `kp.LineIntegrals`, or whatever else `kp.solve` takes;
        the state itself if `None`.
    - `t0`: when it starts.
    - `source`: what drives this run, in addition to the equation's own source: a `kp.PointSource`, a `kp.Source`, or a
        list of these. The equation must have a field `source`, as the package's have.
    - `data`: what was measured, like the prediction: for sensors an array of shape `(times, sensors)`.
    - `sigma`: its standard deviations in the unit of the data, for each datum or one for all (anything that
        broadcasts); 1 if left out.
    - `mask`: booleans, True where a datum counts; it broadcasts, too. A datum that does not count may be NaN.
    - `made_on`: the grid on which data were made, where they are synthetic; static. Data made on the grid of the
        inversion hide the error of the mesh.
    - `options`: further arguments of `kp.solve`: `method`, `adjoint`, `rtol`, `atol`, `max_steps`, `throw`.

    A model is an Equinox module with a method `equation()`, or a `kp.AbstractEquation` itself.

    **Raises:** `ValueError` for a `sigma` that is known and not positive, for `sigma` and `mask` that do not fit the
    data, and without data.

    !!! Example

        ```python
        fine = Experiment(start_on(fine_grid), times, kp.Sensors(fine_grid, points))
        run = Experiment(start_on(grid), times, kp.Sensors(grid, points))
        run = run.with_measurements_of(fine.synthesise(truth, fraction=0.02, key=jax.random.key(0)))
        ```
    """

    initial: PyTree | Callable[[Any], PyTree]
    times: Shaped[Array, "..."] = eqx.field(converter=jnp.asarray)
    observe: Any = None
    t0: ArrayLike = 0.0
    source: Any = None
    data: PyTree[Array] = eqx.field(default=None, converter=as_inexact_tree)
    sigma: PyTree[Array] = eqx.field(default=None, converter=as_inexact_tree)
    mask: PyTree[Array] = eqx.field(default=None, converter=as_mask_tree)
    made_on: AbstractGrid | None = eqx.field(default=None, static=True)
    options: dict[str, Any] = eqx.field(default_factory=dict)

    def __check_init__(self):
        check_measurements(self.data, self.sigma, self.mask)

    def __call__(self, model: Any) -> PyTree[Array]:
        """The prediction: the value of the solution."""
        return self.solve(model).value

    def solve(self, model: Any) -> Solution:
        """The solution with its result and statistics."""
        initial = self.initial(model) if callable(self.initial) else self.initial
        equation = _with_source(equation_of(model), self.source)
        return solve(equation, initial, self.times, t0=self.t0, observe=self.observe, **self.options)

    @property
    def measurements(self) -> tuple[PyTree[Array], PyTree[Array]]:
        """`(data, sigma)`, pytrees of the same shapes; `sigma` is `inf` where the mask is false.

        **Raises:** `ValueError` where there are no data.
        """
        if self.data is None:
            message = "This experiment has no data: give `Experiment(..., data=..., sigma=...)`, or `synthesise` them."
            raise ValueError(message)
        return folded(self.data, self.sigma, self.mask)

    def synthesise(
        self,
        model: Any,
        *,
        noise: ArrayLike | None = None,
        fraction: ArrayLike | None = None,
        key: PRNGKeyArray,
    ) -> "Experiment":
        """The same experiment with data that a model predicts, plus independent normal noise.

        **Arguments:**

        - `model`: the truth. Its grid should be finer than that of the inversion (see `with_measurements_of`).
        - `noise`: the standard deviation, in the unit of the data.
        - `fraction`: instead, the standard deviation as a fraction of the root mean square of the noise-free data.
        - `key`: for the random numbers.

        **Returns:** an `Experiment` with `data`, `sigma` and `made_on`, the grid of the model's equation.

        **Raises:** `ValueError` unless one of `noise` and `fraction` is given, positive.
        """
        data, sigma = with_noise(self(model), noise, fraction, key)
        return self.with_data(data, sigma, mask=self.mask, made_on=grid_of(model))

    def with_data(
        self, data: PyTree, sigma: PyTree = None, *, mask: PyTree = None, made_on: AbstractGrid | None = None
    ) -> "Experiment":
        """The same run with other data; arguments as above."""
        return dataclasses.replace(self, data=data, sigma=sigma, mask=mask, made_on=made_on)

    def with_measurements_of(self, other: "Experiment") -> "Experiment":
        """The same run with the data of another one: of one that was made on a finer grid."""
        return self.with_data(other.data, other.sigma, mask=other.mask, made_on=other.made_on)


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


def grid_of(model: Any) -> AbstractGrid | None:
    """The grid of the equation that a model makes, where it has one."""
    grid = getattr(equation_of(model), "grid", None)
    return grid if isinstance(grid, AbstractGrid) else None
