"""How a table holds observations: one datum a row, or one sensor a column."""

import abc
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ._column import Column, ColumnLike, as_column
from ._observations import Observations
from ._table import Table
from ._units import check_unit, convert_difference


class AbstractLayout(abc.ABC):
    """How a table holds observations."""

    @abc.abstractmethod
    def read(self, table: Table, missing: Collection[str]) -> Observations:
        """The observations in a table."""


@dataclasses.dataclass(frozen=True)
class Wide(AbstractLayout):
    """One time a row, one sensor a column.

    **Arguments:**

    - `time`: the column of times: numbers, or ISO dates, which become seconds since `origin`.
    - `sensors`: the position of each sensor by its column: a number or one number per coordinate.
    - `unit`: of the values in the file, where the headers do not say it; `to`: the one that is wanted.
    - `position_unit`: of the positions, a name that is kept.
    - `sigma`: standard deviations in the unit of the result: one number, or one per sensor.
    - `origin`: the date of time 0; the first date if `None`.
    """

    time: ColumnLike
    sensors: Mapping[str | int, Any]
    unit: str | None = None
    to: str | None = None
    position_unit: str | None = None
    sigma: float | int | Sequence[float] | None = None
    origin: str | None = None

    def read(self, table: Table, missing: Collection[str]) -> Observations:
        times, time_unit, start = table.times(as_column(self.time), self.origin)
        _check_increasing(table, times)
        check_unit(self.position_unit, "Wide(position_unit=...)")
        columns, units = zip(
            *(table.numbers(Column(name, self.unit, self.to), missing) for name in self.sensors), strict=True
        )
        if len(set(units)) > 1:
            message = f"{table.path}: the sensors are in the units {sorted(set(map(str, units)))}; give `to=...`."
            raise ValueError(message)
        points = np.array([np.atleast_1d(np.asarray(point, np.float64)) for point in self.sensors.values()])
        values = np.stack(columns, axis=1)
        return Observations(
            times,
            points,
            values,
            sigma=None if self.sigma is None else np.asarray(self.sigma, np.float64),
            mask=_known(values),
            units={"time": time_unit, "position": self.position_unit, "value": units[0]},
            origin=start,
        )


@dataclasses.dataclass(frozen=True)
class Long(AbstractLayout):
    """One datum a row: time, position, value. Sensors are the different positions, in increasing order.

    Sensors may have measured at different times: what is not there is masked.

    **Arguments:**

    - `time`: the column of times: numbers, or ISO dates, which become seconds since `origin`.
    - `position`: the column of positions, or one column per coordinate.
    - `value`: the column of values.
    - `sigma`: the column of standard deviations (in the unit of the value, if it has none of its own), or one number
        for all, in the unit of the result (the number of a column is `Column(3)`).
    - `origin`: the date of time 0; the first date if `None`.
    """

    time: ColumnLike
    position: ColumnLike | Sequence[ColumnLike]
    value: ColumnLike
    sigma: Column | str | float | int | None = None
    origin: str | None = None

    def read(self, table: Table, missing: Collection[str]) -> Observations:
        times, time_unit, start = table.times(as_column(self.time), self.origin)
        axes = [self.position] if isinstance(self.position, Column | str | int) else list(self.position)
        positions, position_units = zip(*(table.numbers(column) for column in axes), strict=True)
        if len(set(position_units)) > 1:
            message = f"{table.path}: the coordinates are in the units {position_units}; give each a `Column(to=...)`."
            raise ValueError(message)
        value, value_unit = table.numbers(self.value, missing)
        points, sensors = np.unique(np.stack(positions, axis=1), axis=0, return_inverse=True)
        instants, rows = np.unique(times, return_inverse=True)
        _check_order(table, times, sensors.reshape(-1))
        values = np.full((len(instants), len(points)), np.nan)
        values[rows, sensors.reshape(-1)] = value
        return Observations(
            instants,
            points,
            values,
            sigma=self._deviations(table, value_unit, values, (rows, sensors.reshape(-1)), missing),
            mask=_known(values),
            units={"time": time_unit, "position": position_units[0], "value": value_unit},
            origin=start,
        )

    def _deviations(
        self, table: Table, unit: str | None, values: np.ndarray, where: tuple, missing: Collection[str]
    ) -> np.ndarray | None:
        if self.sigma is None:
            return None
        if isinstance(self.sigma, float | int):
            return np.asarray(self.sigma, np.float64)
        column = as_column(self.sigma)
        found, own = table.numbers(dataclasses.replace(column, to=None), missing)
        value = table.find(self.value)
        deviations = np.full(values.shape, np.nan)
        deviations[where] = convert_difference(found, own or value.unit, column.to or unit, table.find(column).label)
        return np.where(np.isnan(values), 1.0, deviations)  # what was not measured does not count


def _known(values: np.ndarray) -> np.ndarray | None:
    known = np.isfinite(values)
    return None if known.all() else known


def _check_increasing(table: Table, times: np.ndarray):
    late = np.flatnonzero(np.diff(times) <= 0)
    if len(late):
        _refuse(table, times, int(late[0]), int(late[0]) + 1)


def _check_order(table: Table, times: np.ndarray, sensors: np.ndarray):
    """The rows of each sensor have to be in order, and no time may come twice."""
    for sensor in range(int(sensors.max()) + 1):
        rows = np.flatnonzero(sensors == sensor)
        late = np.flatnonzero(np.diff(times[rows]) <= 0)
        if len(late):
            _refuse(table, times, int(rows[late[0]]), int(rows[late[0] + 1]))


def _refuse(table: Table, times: np.ndarray, first: int, second: int):
    here, before = table.where(second), table.where(first)
    if times[first] == times[second]:
        message = f"{table.path}, {here}: the same time and place as {before}, {times[first]:g}; which of them counts?"
    else:
        message = f"{table.path}, {here}: time {times[second]:g} comes after {times[first]:g} of {before}."
    raise ValueError(message)
