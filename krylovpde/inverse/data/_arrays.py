"""Observations from named arrays: NPZ files, xarray datasets and the NetCDF files that hold them."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._column import Column, ColumnLike, as_column
from ._layout import AbstractLayout
from ._observations import Observations
from ._table import Table, as_floats
from ._units import convert_difference


@dataclasses.dataclass(frozen=True)
class Matrix:
    """Values as one array of shape `(times, sensors)`.

    **Arguments:**

    - `time`: the name of the times: numbers, or dates, which become seconds since `origin`.
    - `points`: the name of the positions, an array of shape `(sensors, dimension)` or `(sensors,)`; or one name per
        coordinate. In a dataset these are coordinates of the sensors' dimension.
    - `values`: the name of the values; an array of shape `(times,)` is that of one sensor.
    - `sigma`: the name of their standard deviations, which broadcast to the values; or one number for all, in the unit
        of the result.
    - `origin`: the date of time 0; the first date if `None`.
    """

    time: ColumnLike
    points: ColumnLike | Sequence[ColumnLike]
    values: ColumnLike
    sigma: Column | str | float | int | None = None
    origin: str | None = None


def read_npz(path: Path | str, layout: Matrix | AbstractLayout, *, missing: bool = False) -> Observations:
    """Observations from the named arrays of an NPZ file.

    Units stand in the names, as in `np.savez(path, **{"time [d]": times, "depth [m]": depths, "head [m]": heads})`.

    **Arguments:**

    - `path`: the file. Nothing is unpickled.
    - `layout`: [`krylovpde.inverse.Matrix`][]; or `Wide` or `Long`, where all arrays have one axis.
    - `missing`: whether NaN among the values says that nothing was measured. It is an error otherwise.

    **Returns:** [`krylovpde.inverse.Observations`][].

    **Raises:** `ValueError` as `read_csv`.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, AttributeError, EOFError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        message = f"{path} is no NPZ file of arrays ({error}). `numpy.savez` makes one."
        raise ValueError(message) from None
    return _read(str(path), arrays, layout, missing)


def read_netcdf(path: Path | str, layout: Matrix, *, missing: bool = False, engine: str | None = None) -> Observations:
    """Observations from a NetCDF file, by xarray (`pip install krylovpde[data]`); see `from_xarray`.

    **Arguments:**

    - `path`, `layout`, `missing`: the file, and as for `from_xarray`.
    - `engine`: which library reads it; xarray chooses if `None`.

    **Returns:** [`krylovpde.inverse.Observations`][].

    **Raises:** `ValueError` as `from_xarray`; `ImportError` without xarray.
    """
    try:
        import xarray
    except ImportError as error:
        message = "NetCDF files need xarray: `pip install krylovpde[data]`."
        raise ImportError(message) from error
    with xarray.open_dataset(path, engine=engine) as dataset:
        return from_xarray(dataset, layout, missing=missing, path=str(path))


def from_xarray(dataset: Any, layout: Matrix, *, missing: bool = False, path: str = "dataset") -> Observations:
    """Observations from an `xarray.Dataset`.

    Units are the attributes `units` of the variables, as the CF conventions have it; xarray makes dates of
    times such as `hours since 2014-11-09`.

    **Arguments:**

    - `dataset`: with the values as a variable over the dimension of time and one of sensors (or that of time alone).
    - `layout`: which variables and coordinates.
    - `missing`: whether NaN among the values says that nothing was measured. It is an error otherwise.
    - `path`: what to call the dataset in messages.

    **Returns:** [`krylovpde.inverse.Observations`][].

    **Raises:** `ValueError` for names that are not there, dimensions that do not fit, and as `read_csv`.
    """
    known = {str(name): variable for name, variable in dataset.variables.items()}
    value, time = (str(as_column(column).name) for column in (layout.values, layout.time))
    for name in (value, time):
        if name not in known:
            message = f"{path} has no variable {name!r}; its variables are {sorted(known)}."
            raise ValueError(message)
    if len(known[time].dims) != 1 or known[time].dims[0] not in known[value].dims or len(known[value].dims) > 2:
        message = (
            f"{path}: {value!r} has the dimensions {known[value].dims} and {time!r} {known[time].dims}; need "
            "values over the dimension of time and one more at most."
        )
        raise ValueError(message)
    first = known[time].dims[0]
    arrays = {}
    for name, variable in known.items():
        ordered = variable.transpose(first, ...) if first in variable.dims else variable
        unit = variable.attrs.get("units")
        arrays[name if unit is None else f"{name} [{unit}]"] = np.asarray(ordered.values)
    return _read(path, arrays, layout, missing)


def _read(path: str, arrays: Mapping[str, np.ndarray], layout: Matrix | AbstractLayout, missing: bool) -> Observations:
    table = Table(path, list(arrays), [np.asarray(array) for array in arrays.values()], lambda row: f"entry {row}")
    marks = ("NaN",) if missing else ()
    if isinstance(layout, Matrix):
        return _read_matrix(table, layout, marks)
    shapes = {name: np.shape(array) for name, array in arrays.items()}
    if len(set(shapes.values())) != 1 or any(len(shape) != 1 or shape == (0,) for shape in shapes.values()):
        message = f"{path}: a Wide or Long table needs arrays of one axis, equally long and not empty, got {shapes}."
        raise ValueError(message)
    return layout.read(table, marks)


def _read_matrix(table: Table, layout: Matrix, missing: tuple[str, ...]) -> Observations:
    times, time_unit, start = table.times(as_column(layout.time), layout.origin)
    values, value_unit = table.numbers(layout.values, missing)
    points, position_unit = _points(table, layout.points)
    if values.ndim == 1:
        values = values[:, None]
    if len(times) == 0:
        message = f"{table.path} has no times."
        raise ValueError(message)
    if values.shape != (len(times), len(points)):
        message = (
            f"{table.path}: the values have shape {values.shape}, but there are {len(times)} times and {len(points)} "
            "points; they must have shape (times, sensors)."
        )
        raise ValueError(message)
    late = np.flatnonzero(np.diff(times) <= 0)
    if len(late):
        before, after = times[late[0]], times[late[0] + 1]
        message = f"{table.path}, entry {late[0] + 1}: times must increase, but {after:g} comes after {before:g}."
        raise ValueError(message)
    known = np.isfinite(values)
    return Observations(
        times,
        points,
        values,
        sigma=_deviations(table, layout, value_unit),
        mask=None if known.all() else known,
        units={"time": time_unit, "position": position_unit, "value": value_unit},
        origin=start,
    )


def _points(table: Table, columns: ColumnLike | Sequence[ColumnLike]) -> tuple[np.ndarray, str | None]:
    axes = [columns] if isinstance(columns, Column | str | int) else list(columns)
    parts, units = zip(*(table.numbers(column) for column in axes), strict=True)
    if len(set(units)) > 1:
        message = f"{table.path}: the coordinates are in the units {units}; give each a `Column(to=...)`."
        raise ValueError(message)
    if len(parts) == 1 and parts[0].ndim == 2:
        return parts[0], units[0]
    return np.stack([np.atleast_1d(part) for part in parts], axis=1), units[0]


def _deviations(table: Table, layout: Matrix, unit: str | None) -> np.ndarray | None:
    if layout.sigma is None:
        return None
    if isinstance(layout.sigma, float | int):
        return np.asarray(layout.sigma, np.float64)
    column = as_column(layout.sigma)
    found = table.find(column)
    own = found.unit or table.find(layout.values).unit
    return convert_difference(as_floats(np.asarray(found.cells), found.label), own, column.to or unit, found.label)
