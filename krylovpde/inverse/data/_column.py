"""Which column of a table is meant, and in which unit."""

import dataclasses
from typing import TypeAlias


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table, an array of an NPZ file or a variable of a dataset.

    **Arguments:**

    - `name`: as in the header, with its unit (`"depth [m]"`) or without (`"depth"`); or its number, counted from 0.
    - `unit`: the unit of what stands there, where the header does not say it. Any that pint knows: `"degC"`, `"m/d"`.
    - `to`: the unit that is wanted; the column's own if left out.

    Where no unit is wanted a name or a number alone will do.
    """

    name: str | int
    unit: str | None = None
    to: str | None = None


ColumnLike: TypeAlias = Column | str | int


def as_column(column: ColumnLike) -> Column:
    """A name or a number alone is a column, too."""
    return column if isinstance(column, Column) else Column(column)
