"""Data of many sensors at several times: a curve along the sensors for each time."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import ArrayLike, Shaped

from ._style import COLOURS, plain, with_unit


def record_section(
    axes: Any,
    times: Shaped[ArrayLike, " times"],
    records: Mapping[str, Shaped[ArrayLike, "times sensors"]],
    *,
    title: str = "",
    time_unit: str = "",
    position_label: str = "sensor",
):
    """Draw what the sensors measure, each time as one curve at its height; several records over each other.

    **Arguments:**

    - `axes`: where to draw.
    - `times`: of the measurements.
    - `records`: labels and records. The first is drawn as dots (the data), the others as lines (predictions).
    - `title`: above the axes.
    - `time_unit`: unit of the vertical axis.
    - `position_label`: of the horizontal axis.
    """
    times = np.asarray(times)
    arrays = {label: np.asarray(record) for label, record in records.items()}
    first = next(iter(arrays.values()))
    spacing = np.min(np.diff(times)) if len(times) > 1 else 1.0
    # The highest of nearly all amplitudes reaches one and a half curves far: the direct wave may be cut by the next.
    scale = 1.5 * spacing / max(float(np.quantile(np.abs(first), 0.995)), np.finfo(first.dtype).tiny)
    sensors = np.arange(first.shape[1])
    styles = iter([COLOURS["orange"], COLOURS["blue"], COLOURS["green"]])
    for number, (label, record) in enumerate(arrays.items()):
        style = {"color": COLOURS["black"], "marker": ".", "markersize": 1.6, "linestyle": "none"}
        style = style if number == 0 else {"color": next(styles), "linewidth": 1.0}
        for index, (time, curve) in enumerate(zip(times, record, strict=True)):
            axes.plot(sensors, time + scale * curve, label=label if index == 0 else None, **style)
    axes.set_xlim(sensors[0], sensors[-1])
    axes.set_xlabel(position_label)
    axes.set_ylabel(with_unit("time", time_unit))
    axes.set_title(title)
    axes.legend(frameon=False, loc="upper right", ncols=len(arrays), bbox_to_anchor=(1.0, 1.02))
    plain(axes)
