"""What was measured, where and when: a small table from which an experiment is made."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import ArrayLike, Bool, Float

from ...grid import AbstractGrid, Sensors
from ...signal import Sampled
from ..experiment import Experiment


@dataclasses.dataclass(frozen=True, eq=False)
class Observations:
    """Measured values at times and points, in known units.

    Files give it ([`krylovpde.inverse.read_csv`][] and its neighbours), or arrays do. It is NumPy in double precision,
    and no pytree; `experiment` makes what a loss can use.

    **Arguments:**

    - `times`: shape `(times,)`, increasing.
    - `points`: shape `(sensors, dimension)`.
    - `values`: shape `(times, sensors)`.
    - `sigma`: standard deviations in the unit of the values: one number, or what broadcasts to their shape; `None` if
        they are not known.
    - `mask`: booleans of the shape of the values, True where something was measured; everywhere if `None`. Values
        elsewhere do not count and may be NaN.
    - `units`: names of the units of `"time"`, `"position"` and `"value"`, `None` for those that are not known.
    - `origin`: the date of time 0, where times were dates.

    **Raises:** `ValueError` for shapes that do not agree, times that do not increase, values that count and are not
    finite, and a `sigma` that is not positive.
    """

    times: Float[np.ndarray, " times"]
    points: Float[np.ndarray, "sensors dimension"]
    values: Float[np.ndarray, "times sensors"]
    sigma: Float[np.ndarray, "..."] | float | int | None = None
    mask: Bool[np.ndarray, "times sensors"] | None = None
    units: dict[str, str | None] = dataclasses.field(
        default_factory=lambda: {"time": None, "position": None, "value": None}
    )
    origin: np.datetime64 | None = None

    def __post_init__(self):
        shape = (len(self.times), len(self.points))
        if self.values.shape != shape or self.points.ndim != 2 or self.times.ndim != 1:
            message = (
                f"Observations: values of shape {self.values.shape} do not belong to {self.times.shape} times and "
                f"points of shape {self.points.shape}; need shapes (times, sensors), (times,), (sensors, dimension)."
            )
            raise ValueError(message)
        if self.mask is not None and self.mask.shape != shape:
            message = f"Observations: the mask has shape {self.mask.shape}, the values have {shape}."
            raise ValueError(message)
        if not np.all(np.diff(self.times) > 0):
            message = (
                f"Observations: times must increase, but after {self.times[:-1][np.diff(self.times) <= 0][0]} not."
            )
            raise ValueError(message)
        missing = int(np.sum(~np.isfinite(self.values) & self._counts))
        if missing:
            message = f"Observations: {missing} of {self.values.size} values are not finite. `mask` says which count."
            raise ValueError(message)
        if self.sigma is None:
            return
        bad = int(np.sum(~(np.broadcast_to(self.sigma, shape)[self._counts] > 0)))
        if bad:
            message = f"Observations: standard deviations must be positive, but {bad} of {self.num_data} are not."
            raise ValueError(message)

    @property
    def _counts(self) -> np.ndarray:
        return np.ones(self.values.shape, bool) if self.mask is None else self.mask

    @property
    def num_data(self) -> int:
        """How many values count."""
        return int(np.sum(self._counts))

    def select(self, *, times: Any = slice(None), sensors: Any = slice(None)) -> "Observations":
        """Some of them.

        **Arguments:**

        - `times`, `sensors`: what indexes an array along one axis: a slice, booleans, or a list of numbers, for example
            `observations.times > 3.0` or `observations.points[:, 0] >= 0.3`.

        **Returns:** an `Observations`.
        """

        def part(array: Any) -> Any:
            return None if array is None else np.broadcast_to(array, self.values.shape)[times][:, sensors]

        return dataclasses.replace(
            self,
            times=self.times[times],
            points=self.points[sensors],
            values=part(self.values),
            sigma=part(self.sigma),
            mask=part(self.mask),
        )

    def series(self, sensor: int) -> Sampled:
        """The values of one sensor as a signal, straight lines between its times: for a driven boundary or a source.

        Times at which it did not measure are left out.
        """
        counts = self._counts[:, sensor]
        return Sampled(self.times[counts], self.values[counts, sensor])

    def profile(self, time: int, x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """The values at one of the times, straight lines between the sensors of a one-dimensional problem.

        **Arguments:**

        - `time`: which one.
        - `x`: where to have it, such as `grid.coordinates[0]`; beyond the outermost sensors it is constant.

        **Returns:** an array like `x`: for example an initial state.

        **Raises:** `ValueError` for points of more than one coordinate.
        """
        if self.points.shape[1] != 1:
            message = f"Observations.profile: points have {self.points.shape[1]} coordinates, but must have one."
            raise ValueError(message)
        counts = np.flatnonzero(self._counts[time])
        counts = counts[np.argsort(self.points[counts, 0])]
        return np.interp(x, self.points[counts, 0], self.values[time, counts])

    def experiment(
        self, grid: AbstractGrid, initial: Any, *, t0: ArrayLike = 0.0, source: Any = None, **options: Any
    ) -> Experiment:
        """The experiment that predicts these values, with them as its data.

        **Arguments:**

        - `grid`: where the unknowns live, in the units of times and points.
        - `initial`: the state at `t0`, or a function of the model that gives it.
        - `t0`, `source`: as for [`krylovpde.inverse.Experiment`][].
        - `options`: further arguments of [`krylovpde.solve`][].

        **Returns:** an `Experiment` that observes [`krylovpde.Sensors`][] at the points.

        **Raises:** `ValueError` for points outside of the grid.
        """
        return Experiment(
            initial,
            self.times,
            Sensors(grid, self.points),
            t0=t0,
            source=source,
            data=self.values,
            sigma=self.sigma,
            mask=None if self.mask is None or self.mask.all() else self.mask,
            options=options,
        )
