"""Truth, start and estimate on one scale, with what is still wrong."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import ArrayLike, Float, Shaped

from ..grid import AbstractGrid
from ._field import field, field_limits
from ._style import colour_bar, with_unit


def triptych(
    axes: Iterable[Any],
    grid: AbstractGrid,
    truth: Shaped[ArrayLike, "x y"],
    start: Shaped[ArrayLike, "x y"],
    estimate: Shaped[ArrayLike, "x y"],
    *,
    label: str = "",
    unit: str = "",
    length_unit: str = "",
    sensors: Shaped[ArrayLike, "sensors 2"] | None = None,
    sources: Shaped[ArrayLike, "sources 2"] | None = None,
) -> tuple[float, float]:
    """Draw truth, start and estimate on the truth's colour scale; on a fourth axes estimate - truth, white at zero.

    The titles say by how much start and estimate are off: `‖field - truth‖ / ‖truth‖`, weighted with the volumes of the
    cells, over those that are active.

    **Arguments:**

    - `axes`: three, or four with one for the error.
    - `grid`: a two-dimensional grid.
    - `truth`, `start`, `estimate`: fields of `grid.shape`.
    - `label`, `unit`: of the field, at the colour bars.
    - `length_unit`: of the axes.
    - `sensors`, `sources`: positions to mark in the first three.

    **Returns:** the relative errors of start and estimate.

    **Raises:** `ValueError` for another number of axes, and for fields of other shapes.
    """
    axes = list(np.ravel(np.asarray(axes, dtype=object)))
    if len(axes) not in (3, 4):
        message = f"plot.triptych draws on three axes, or on four with one for the error; got {len(axes)}."
        raise ValueError(message)
    errors = relative_error(grid, start, truth), relative_error(grid, estimate, truth)
    titles = ("truth", *(f"{name}, {100 * e:.3g} % off" for name, e in zip(("start", "estimate"), errors, strict=True)))
    marks = {"length_unit": length_unit, "sensors": sensors, "sources": sources}
    limits = field_limits(grid, [truth])
    panels = zip(axes[:3], (truth, start, estimate), titles, strict=True)
    meshes = [field(place, grid, values, title=title, limits=limits, **marks) for place, values, title in panels]
    # In two rows the bar of the fields stands beside the first, that of the error beside the second.
    colour_bar(meshes[0], _row_of(axes[1], axes[:3]), with_unit(label, unit))
    if len(axes) == 4:
        wrong = np.asarray(estimate) - np.asarray(truth)
        mesh = field(axes[3], grid, wrong, title="estimate - truth", diverging=True, length_unit=length_unit)
        name = with_unit(f"error of {label}" if label else "error", unit)
        colour_bar(mesh, axes[3:], name)
    return errors


def _row_of(axes: Any, candidates: Sequence[Any]) -> list[Any]:
    """Those that stand in the same row; all, where there is no layout of rows."""
    own = axes.get_subplotspec()
    if own is None:
        return list(candidates)
    specs = [(other, other.get_subplotspec()) for other in candidates]
    return [other for other, spec in specs if spec is not None and spec.rowspan.start == own.rowspan.start]


def relative_error(grid: AbstractGrid, values: Shaped[ArrayLike, "..."], truth: Shaped[ArrayLike, "..."]) -> float:
    """`‖values - truth‖ / ‖truth‖` in the norm of the grid."""
    volumes = np.asarray(grid.cell_volumes)
    volumes = np.where(grid.active, volumes, 0.0) if grid.is_masked else volumes

    def squared(u: Float[np.ndarray, "..."]) -> float:
        return float(np.sum(volumes * np.abs(np.where(volumes > 0, u, 0.0)) ** 2))

    truth = np.asarray(truth)
    scale = squared(truth)
    return float(np.sqrt(squared(np.asarray(values) - truth) / scale)) if scale > 0 else float("nan")
