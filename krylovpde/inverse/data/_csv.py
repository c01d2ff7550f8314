"""Tables in text files."""

from collections.abc import Collection
from pathlib import Path

from ._layout import AbstractLayout
from ._observations import Observations
from ._table import read_table


def read_csv(
    path: Path | str,
    layout: AbstractLayout,
    *,
    delimiter: str | None = ",",
    header: bool = True,
    comment: str | None = "#",
    missing: Collection[str] = (),
    encoding: str = "utf-8-sig",
) -> Observations:
    """Observations from a table in a text file.

    Units stand in the headers, as in `time [d]`, `depth [m]`, `temperature [degC]`; where they do not, the caller gives
    them. They are those of pint, and are converted to what is wanted. A file without units needs no pint.

    !!! Example

        ```python
        ice = read_csv("ice.csv", Wide("time [h]", {"T_0.3m": 0.3, "T_2m": 2.0}, unit="degC", to="K", sigma=0.05))
        well = read_csv("well.txt", Wide(Column(0, "min", to="d"), {1: 30.0}, unit="m"), delimiter=None, header=False)
        cells = read_csv("cells.csv", Long("time [h]", "position [um]", "density", sigma="sd"))
        ```

    **Arguments:**

    - `path`: the file. A byte order mark, empty lines and Windows' line ends do no harm.
    - `layout`: [`krylovpde.inverse.Wide`][] or [`krylovpde.inverse.Long`][].
    - `delimiter`: what is between two cells; `None` for any white space.
    - `header`: whether the first line holds names; if not, columns are numbered from 0.
    - `comment`: lines that begin with it are left out.
    - `missing`: what stands in a cell of values where nothing was measured, such as `("", "NA")`. It is masked.
    - `encoding`: of the file.

    **Returns:** [`krylovpde.inverse.Observations`][].

    **Raises:** `ValueError`, which names the file, the line and the column, for a file without rows, rows of different
    lengths, a column that is not there, cells that are no finite numbers or dates, times that decrease, times that come
    twice at one place, and units that are not known or do not fit; `ImportError` where units are there and pint is not.
    """
    table = read_table(path, delimiter=delimiter, header=header, comment=comment, encoding=encoding)
    return layout.read(table, missing)
