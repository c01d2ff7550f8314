"""Columns of numbers and dates by name, with the line that each number stands in."""

import csv
import dataclasses
import datetime as dt
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np

from ._column import Column, ColumnLike, as_column
from ._units import check_unit, convert, split_unit


@dataclasses.dataclass(frozen=True)
class Found:
    """A column that was found: what it is called, its cells, and the unit that they are in."""

    label: str
    cells: Sequence[str] | np.ndarray
    unit: str | None


@dataclasses.dataclass(frozen=True)
class Table:
    """Columns of one length. `where(row)` says where a row stands, for messages."""

    path: str
    names: Sequence[str]
    columns: Sequence[Sequence[str] | np.ndarray]
    where: Callable[[int], str]

    def find(self, column: ColumnLike) -> Found:
        """A column by its name, with or without unit, or by its number.

        **Raises:** `ValueError` where there is none, or more than one.
        """
        column = as_column(column)
        number = self._number(column.name)
        label = f"{self.path}, column {self.names[number]!r}"
        unit = split_unit(self.names[number])[1] if column.unit is None else column.unit
        check_unit(unit, label)
        return Found(label, self.columns[number], unit)

    def _number(self, name: str | int) -> int:
        if isinstance(name, int):
            fitting = [name] if 0 <= name < len(self.names) else []
        else:
            fitting = [n for n, header in enumerate(self.names) if header.strip() == name.strip()]
            fitting = fitting or [n for n, header in enumerate(self.names) if split_unit(header)[0] == name.strip()]
        if len(fitting) != 1:
            what = "no column" if not fitting else "more than one column"
            message = f"{self.path} has {what} {name!r}; its columns are {list(self.names)}."
            raise ValueError(message)
        return fitting[0]

    def numbers(self, column: ColumnLike, missing: Collection[str] = ()) -> tuple[np.ndarray, str | None]:
        """A column of numbers in the unit that is wanted, and that unit; NaN where a cell says that it is missing."""
        column = as_column(column)
        found = self.find(column)
        if isinstance(found.cells, np.ndarray):
            values = _array_of_numbers(found, self.where, allow_missing=bool(missing))
        else:
            values = np.array([self._number_in(found, row, missing) for row in range(len(found.cells))])
        return convert(values, found.unit, column.to, found.label), column.to or found.unit

    def _number_in(self, found: Found, row: int, missing: Collection[str]) -> float:
        text = found.cells[row].strip()
        if text in missing:
            return np.nan
        try:
            number = float(text)
        except ValueError:
            number = np.nan
        if not np.isfinite(number):
            message = (
                f"{found.label}, {self.where(row)}: {text!r} is no finite number. If it says that nothing was "
                f"measured, name it: missing=({text!r},)."
            )
            raise ValueError(message)
        return number

    def times(self, column: Column, origin: str | None) -> tuple[np.ndarray, str | None, np.datetime64 | None]:
        """A column of times: numbers, or ISO dates, which become a time since an origin, the first date if `None`."""
        found = self.find(column)
        if len(found.cells) == 0 or not _is_date(found.cells[0]):
            check_unit(found.unit, found.label, "[time]")
            return *self.numbers(column), None
        dates = self._dates(found)
        start = dates[0] if origin is None else _as_date(origin)
        seconds = (dates - start) / np.timedelta64(1, "s")
        return convert(seconds, "s", column.to, found.label), column.to or "s", start

    def _dates(self, found: Found) -> np.ndarray:
        if isinstance(found.cells, np.ndarray):
            return found.cells.astype("datetime64[ns]")
        dates = []
        for row, cell in enumerate(found.cells):
            try:
                dates.append(_as_date(cell))
            except ValueError:
                message = f"{found.label}, {self.where(row)}: {cell!r} is no ISO date such as 2015-04-16T03:00:00."
                raise ValueError(message) from None
        return np.array(dates)


def read_table(path: Path | str, *, delimiter: str | None, header: bool, comment: str | None, encoding: str) -> Table:
    """The table in a text file.

    **Raises:** `ValueError` for a file without rows, and rows of different lengths.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding=encoding)
    except UnicodeDecodeError as error:
        message = f"{path} is no text in {encoding!r} ({error.reason} at byte {error.start}); give another `encoding=`."
        raise ValueError(message) from None
    numbered = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    numbered = [(n, line) for n, line in numbered if line and not (comment and line.startswith(comment))]
    rows = [(number, _cells(line, delimiter)) for number, line in numbered]
    names = [cell.strip() for cell in rows[0][1]] if header and rows else []
    body = rows[1:] if header else rows
    if not body:
        what = "is empty" if not rows else "has a header but no rows below it; without one, give `header=False`"
        message = f"{path} {what}."
        raise ValueError(message)
    names = names or [str(number) for number in range(len(body[0][1]))]
    for number, cells in body:
        if len(cells) != len(names):
            message = f"{path}, line {number}: {len(cells)} cells where there are {len(names)} columns: {names}."
            raise ValueError(message)
    lines = [number for number, _ in body]
    columns = [list(column) for column in zip(*(cells for _, cells in body), strict=True)]
    return Table(str(path), names, columns, lambda row: f"line {lines[row]}")


def _cells(line: str, delimiter: str | None) -> list[str]:
    return line.split() if delimiter is None else next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))


def _array_of_numbers(found: Found, where: Callable[[int], str], *, allow_missing: bool) -> np.ndarray:
    values = as_floats(np.asarray(found.cells), found.label)
    bad = ~np.isfinite(values) if not allow_missing else np.isinf(values)
    if np.any(bad):
        row = int(np.argmax(bad.reshape(len(values), -1).any(axis=1)))
        message = (
            f"{found.label}, {where(row)}: {values[row]} is not finite. If NaN says that nothing was measured, give "
            "`missing=True`."
        )
        raise ValueError(message)
    return values


def as_floats(values: np.ndarray, label: str) -> np.ndarray:
    """An array of numbers in double precision, or an error that says what it is instead."""
    if values.dtype.kind not in "fiub":
        message = f"{label}: holds {values.dtype}, not real numbers."
        raise ValueError(message)
    return values.astype(np.float64)


def _is_date(cell: str | np.generic) -> bool:
    if isinstance(cell, np.generic):
        return cell.dtype.kind == "M"
    try:
        float(cell)
    except ValueError:
        pass
    else:
        return False
    try:
        _as_date(cell)
    except ValueError:
        return False
    return True


def _as_date(text: str) -> np.datetime64:
    """An ISO date; one with an offset from UTC becomes UTC."""
    date = dt.datetime.fromisoformat(text.strip())
    if date.tzinfo is not None:
        date = date.astimezone(dt.UTC).replace(tzinfo=None)
    return np.datetime64(date, "ns")
