"""A field at several times, side by side or as an animation."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import ArrayLike, Shaped

from ..grid import AbstractGrid
from ._field import blank, field
from ._style import colour_bar, figure, with_unit

# Waves are short and high where they start: a scale that held the largest value would show nothing afterwards.
_QUANTILE = 0.998


def snapshots(
    axes: Iterable[Any],
    grid: AbstractGrid,
    fields: Shaped[ArrayLike, "times x y"],
    times: Shaped[ArrayLike, " times"],
    *,
    limit: float | None = None,
    diverging: bool = True,
    label: str = "",
    unit: str = "",
    length_unit: str = "",
    time_unit: str = "",
    sensors: Shaped[ArrayLike, "sensors 2"] | None = None,
    sources: Shaped[ArrayLike, "sources 2"] | None = None,
) -> Any:
    """Draw a field at several times on one colour scale, white at zero: a wave as it travels.

    **Arguments:**

    - `axes`: one for each time.
    - `grid`: a two-dimensional grid.
    - `fields`: `solution.value` of a `kp.solve` for those times (of a wave, its `.displacement`).
    - `times`: for the titles.
    - `limit`: the value at the ends of the scale, from `-limit` to `limit` (without `diverging`, from the least value);
        `None` takes one that 99.8 % of all values stay within.
    - `diverging`: `False` for fields that do not change sign, a concentration.
    - `label`, `unit`: of the field.
    - `length_unit`, `time_unit`: of the axes and of the titles.
    - `sensors`, `sources`: positions to mark.

    **Returns:** the colour bar.

    **Raises:** `ValueError` for another number of axes or times than fields.
    """
    axes, fields, times = _checked("snapshots", axes, fields, times)
    limits = _limits(grid, fields, limit, diverging)
    marks = {"length_unit": length_unit, "sensors": sensors, "sources": sources}
    options = {"limits": limits, "diverging": diverging, **marks}
    meshes = []
    for place, values, time in zip(axes, fields, times, strict=True):
        meshes.append(field(place, grid, values, title=_title(time, time_unit), **options))
        place.label_outer()
    return colour_bar(meshes[0], axes, with_unit(label, unit), extend=_extend(fields, limits))


def animate(
    path: str | Path,
    grid: AbstractGrid,
    fields: Shaped[ArrayLike, "times x y"],
    times: Shaped[ArrayLike, " times"],
    *,
    seconds: float = 5.0,
    limit: float | None = None,
    diverging: bool = True,
    label: str = "",
    unit: str = "",
    length_unit: str = "",
    time_unit: str = "",
    sensors: Shaped[ArrayLike, "sensors 2"] | None = None,
    sources: Shaped[ArrayLike, "sources 2"] | None = None,
    size: tuple[float, float] = (5.0, 4.2),
    dpi: int = 100,
) -> Path:
    """Write an animation of a field: a GIF, which needs nothing else, or an MP4, which needs ffmpeg.

    **Arguments:**

    - `path`: where to, `.gif` or `.mp4`; folders that are missing are made.
    - `grid`, `fields`, `times`, `limit`, `diverging`, `label`, `unit`, `length_unit`, `time_unit`, `sensors`,
        `sources`: as for `snapshots`. Each time is a frame; about a hundred are smooth.
    - `seconds`: how long it lasts.
    - `size`: in inches; `dpi`: dots per inch.

    **Returns:** the path.

    **Raises:** `ValueError` for another ending of the name; `RuntimeError` where ffmpeg is asked for and missing.
    """
    from matplotlib.animation import FuncAnimation

    path = Path(path)
    frames = np.asarray(fields)
    writer = _writer(path, len(frames) / seconds)
    drawing, axes = figure(size=size)
    _, frames, times = _checked("animate", [axes] * len(frames), frames, times)
    limits = _limits(grid, frames, limit, diverging)
    marks = {"length_unit": length_unit, "sensors": sensors, "sources": sources}
    options = {"limits": limits, "diverging": diverging, **marks}
    mesh = field(axes, grid, frames[0], title=_title(times[0], time_unit), **options)
    colour_bar(mesh, [axes], with_unit(label, unit), extend=_extend(frames, limits))
    # Once laid out, it stays: a layout for each frame would take most of the time, and the picture would shiver.
    drawing.draw_without_rendering()
    drawing.set_layout_engine("none")

    def show(index: int) -> list[Any]:
        mesh.set_array(blank(grid, frames[index]).T)
        axes.set_title(_title(times[index], time_unit))
        return [mesh]

    path.parent.mkdir(parents=True, exist_ok=True)
    FuncAnimation(drawing, show, frames=len(frames)).save(path, writer=writer, dpi=dpi)
    return path


def _writer(path: Path, rate: float) -> Any:
    from matplotlib import animation

    if path.suffix not in (".gif", ".mp4"):
        message = f"plot.animate writes .gif and .mp4 files, not {path.name!r}."
        raise ValueError(message)
    if path.suffix == ".gif":
        return animation.PillowWriter(fps=max(1, round(rate)))
    if not animation.FFMpegWriter.isAvailable():
        message = f"plot.animate: {path.name} needs ffmpeg, which is not on the path. Write a .gif, or install ffmpeg."
        raise RuntimeError(message)
    return animation.FFMpegWriter(fps=max(1, round(rate)))


def _checked(name: str, axes: Iterable[Any], fields: Any, times: Any) -> tuple[list[Any], np.ndarray, np.ndarray]:
    axes, fields, times = list(np.ravel(np.asarray(axes, dtype=object))), np.asarray(fields), np.asarray(times)
    if not len(axes) == len(fields) == len(times):
        message = f"plot.{name}: {len(axes)} axes and {len(times)} times for {len(fields)} fields: one each."
        raise ValueError(message)
    return axes, fields, times


def _limits(grid: AbstractGrid, fields: np.ndarray, limit: float | None, diverging: bool) -> tuple[float, float]:
    shown = fields[:, np.asarray(grid.active)] if grid.is_masked else fields.reshape(len(fields), -1)
    high = float(np.quantile(np.abs(shown) if diverging else shown, _QUANTILE)) if limit is None else float(limit)
    low = -high if diverging else float(np.min(shown))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _extend(fields: np.ndarray, limits: tuple[float, float]) -> str:
    below, above = float(np.nanmin(fields)) < limits[0], float(np.nanmax(fields)) > limits[1]
    return {(True, True): "both", (True, False): "min", (False, True): "max", (False, False): "neither"}[below, above]


def _title(time: float, unit: str) -> str:
    return f"t = {time:.4g} {unit}".rstrip()
