"""Fields on two-dimensional grids, alone or side by side on one colour scale."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import ArrayLike, Shaped

from ..grid import AbstractGrid
from ._style import COLOURS, DIVERGING, SEQUENTIAL, colour_bar, with_unit


def field(
    axes: Any,
    grid: AbstractGrid,
    values: Shaped[ArrayLike, "x y"],
    *,
    title: str = "",
    limits: tuple[float, float] | None = None,
    diverging: bool = False,
    length_unit: str = "",
    sensors: Shaped[ArrayLike, "sensors 2"] | None = None,
    sources: Shaped[ArrayLike, "sources 2"] | None = None,
) -> Any:
    """Draw one field, cell by cell, in true proportions; cells that are not active stay blank.

    **Arguments:**

    - `axes`: where to draw.
    - `grid`: a two-dimensional grid.
    - `values`: the field, of `grid.shape`.
    - `title`: above the axes.
    - `limits`: the values at the ends of the colour scale; the field's own, if `None`.
    - `diverging`: a scale that is white at zero, for differences.
    - `length_unit`: the unit of the axes.
    - `sensors`, `sources`: positions to mark, dots and stars.

    **Returns:** what `figure.colorbar` takes.

    **Raises:** `ValueError` for a grid that is not two-dimensional, or a field of another shape.
    """
    values = np.asarray(values)
    if grid.ndim != 2 or values.shape != grid.shape:
        message = (
            f"plot.field draws fields of two-dimensional grids; got shape {values.shape} on grid.shape {grid.shape}."
        )
        raise ValueError(message)
    low, high = field_limits(grid, [values], diverging=diverging) if limits is None else limits
    values = blank(grid, values)
    mesh = axes.pcolormesh(
        *grid.edges, values.T, cmap=DIVERGING if diverging else SEQUENTIAL, vmin=low, vmax=high, rasterized=True
    )
    axes.set_aspect("equal")
    axes.set_title(title)
    axes.set_xlabel(with_unit("x", length_unit))
    axes.set_ylabel(with_unit("y", length_unit))
    if sensors is not None:
        axes.plot(*np.asarray(sensors).T, ".", markersize=2.5, color="white", markeredgewidth=0, label="sensors")
    if sources is not None:
        style = {"color": COLOURS["vermilion"], "markeredgecolor": "white", "markeredgewidth": 0.6}
        axes.plot(*np.asarray(sources).T, "*", markersize=11, label="sources", **style)
    return mesh


def compare(
    axes: Iterable[Any],
    grid: AbstractGrid,
    fields: Mapping[str, Shaped[ArrayLike, "x y"]],
    *,
    label: str = "",
    unit: str = "",
    length_unit: str = "",
    sensors: Shaped[ArrayLike, "sensors 2"] | None = None,
    sources: Shaped[ArrayLike, "sources 2"] | None = None,
) -> Any:
    """Draw several fields side by side on one colour scale, that of the first: truth, start, estimate.

    **Arguments:**

    - `axes`: one for each field.
    - `grid`: a two-dimensional grid.
    - `fields`: titles and fields.
    - `label`, `unit`: of the colour bar.
    - `length_unit`: of the axes.
    - `sensors`, `sources`: positions to mark in each.

    **Returns:** the colour bar.
    """
    axes = list(axes)
    first = next(iter(fields.values()))
    limits = field_limits(grid, [first])
    meshes = []
    for place, (title, values) in zip(axes, fields.items(), strict=True):
        options = {"limits": limits, "length_unit": length_unit, "sensors": sensors, "sources": sources}
        meshes.append(field(place, grid, values, title=title, **options))
    return colour_bar(meshes[0], axes, with_unit(label, unit))


def blank(grid: AbstractGrid, values: np.ndarray) -> np.ndarray:
    """The values, with a mask over cells that are not active."""
    return np.ma.masked_where(~grid.active, values) if grid.is_masked else values


def field_limits(grid: AbstractGrid, fields: Sequence[Any], *, diverging: bool = False) -> tuple[float, float]:
    """The ends of a colour scale for some fields, over active cells; symmetric if white is to be zero."""
    shown = [blank(grid, np.asarray(values)) for values in fields]
    low, high = min(float(np.min(f)) for f in shown), max(float(np.max(f)) for f in shown)
    if diverging:
        most = max(abs(low), abs(high))
        low, high = -most, most
    # A constant field would have a scale without extent.
    return (low, high) if high > low else (low - 0.5, high + 0.5)
