"""Residuals in units of their standard deviation: where, when, and how they are distributed."""

from typing import Any

import numpy as np
from jaxtyping import ArrayLike, Shaped

from ._style import BLANK, COLOURS, DIVERGING, plain, with_unit

_LIMIT = 4.0  # standard deviations at the ends of the colour scale: one in 16000 of Gaussian errors lies beyond
# The histogram of outliers would have one bar in its middle, and that is all one would see.
_OUTERMOST = 8.0


def residuals(
    axes: Any,
    normalised: Shaped[ArrayLike, "..."],
    *,
    positions: Shaped[ArrayLike, " entries"] | None = None,
    along: str = "sensor",
    axis: int = -1,
    unit: str = "",
    title: str = "residuals",
):
    """Draw normalised residuals over the sensors (or the times), with bands of ± 1 and ± 2 standard deviations.

    Where model and `sigma` are right, two thirds of the dots lie in the dark band and 95 % in the light one, and the
    line of the means stays near zero.

    **Arguments:**

    - `axes`: where to draw.
    - `normalised`: `(prediction - data) / sigma`: `loss.residual(model)`, or `report.parts[0].normalised` of a
        `residual_report`. NaN is not drawn.
    - `positions`: of the entries along the horizontal axis; 0, 1, 2, ... if `None`.
    - `along`: the name of the horizontal axis.
    - `axis`: which axis of the array runs along it: -1 for sensors, -2 for times, as experiments give them.
    - `unit`: of the positions.
    - `title`: above the axes.
    """
    rows = np.moveaxis(np.atleast_1d(np.asarray(normalised)), axis, 0)
    rows = rows.reshape(len(rows), -1)
    places = np.arange(len(rows)) if positions is None else np.asarray(positions)
    for width, alpha in ((2, 0.25), (1, 0.35)):
        axes.axhspan(-width, width, color=COLOURS["sky"], alpha=alpha, linewidth=0, label=f"± {width}σ")
    size = 6 if rows.size < 500 else 3
    axes.plot(
        np.repeat(places, rows.shape[1]), rows.ravel(), ".", markersize=size, color=COLOURS["blue"], markeredgewidth=0
    )
    count = np.sum(~np.isnan(rows), axis=1)
    means = np.divide(np.nansum(rows, axis=1), count, out=np.full(len(rows), np.nan), where=count > 0)
    if rows.shape[1] > 1:
        axes.plot(places, means, color=COLOURS["vermilion"], linewidth=1.4, label="mean")
    axes.axhline(0.0, color=COLOURS["grey"], linewidth=0.6)
    axes.set_xlabel(with_unit(along, unit))
    axes.set_ylabel("residual / σ")
    axes.set_title(title, loc="left")
    # Above the axes, where no residual is hidden by it.
    axes.legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1.0, 1.0), fontsize="small", borderpad=0.1)
    plain(axes)


def residual_map(
    axes: Any,
    normalised: Shaped[ArrayLike, "times sensors"],
    *,
    times: Shaped[ArrayLike, " times"] | None = None,
    time_unit: str = "",
    position_label: str = "sensor",
    title: str = "residuals",
) -> Any:
    """Draw normalised residuals in colour, sensors to the right and time downwards; the scale ends at ± 4σ.

    **Arguments:**

    - `axes`: where to draw.
    - `normalised`: as for `residuals`, (times, sensors). NaN is grey.
    - `times`: of the measurements; numbers of the rows if `None`.
    - `time_unit`: their unit.
    - `position_label`: of the horizontal axis.
    - `title`: above the axes.

    **Returns:** the colour bar.

    **Raises:** `ValueError` for an array that has not two axes.
    """
    values = np.asarray(normalised)
    if values.ndim != 2:
        message = f"plot.residual_map draws arrays of shape (times, sensors), got shape {values.shape}. Give one run."
        raise ValueError(message)
    rows = np.arange(len(values), dtype=float) if times is None else np.asarray(times, float)
    edges = _edges(np.arange(values.shape[1], dtype=float)), _edges(rows)
    style = {"cmap": DIVERGING, "vmin": -_LIMIT, "vmax": _LIMIT, "rasterized": True}
    image = axes.pcolormesh(*edges, np.ma.masked_invalid(values), **style)
    axes.set_facecolor(BLANK)
    axes.invert_yaxis()
    axes.set_xlabel(position_label)
    axes.set_ylabel("measurement" if times is None else with_unit("time", time_unit))
    axes.set_title(title)
    return axes.figure.colorbar(image, ax=axes, label="residual / σ", extend="both", aspect=30)


def residual_histogram(axes: Any, normalised: Shaped[ArrayLike, "..."], *, title: str = "distribution"):
    """Draw the histogram of normalised residuals beside the standard normal density that they should have.

    **Arguments:**

    - `axes`: where to draw.
    - `normalised`: as for `residuals`, of any shape.
    - `title`: above the axes; the standard deviation and the share beyond ± 2σ (5 % are expected) stand below it.
        Residuals beyond ± 8σ are counted in the outermost bars.
    """
    values = np.asarray(normalised).ravel()
    values = values[np.isfinite(values)]
    largest = float(np.max(np.abs(values), initial=0.0))
    reach = min(max(_LIMIT, largest), _OUTERMOST)
    bins = np.linspace(-reach, reach, max(11, min(61, int(2 * np.sqrt(values.size)) | 1)))
    style = {"color": COLOURS["sky"], "edgecolor": "white", "linewidth": 0.4, "label": "residuals"}
    axes.hist(np.clip(values, -reach, reach), bins=bins, density=True, **style)
    x = np.linspace(-reach, reach, 201)
    axes.plot(x, np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi), color=COLOURS["vermilion"], linewidth=1.4, label="expected")
    deviation = float(np.sqrt(np.mean(values**2))) if values.size else float("nan")
    beyond = float(np.mean(np.abs(values) > 2)) if values.size else float("nan")
    axes.set_title(f"{title}\nrms {deviation:.3g}, {100 * beyond:.3g} % beyond ± 2σ")
    axes.set_xlabel("residual / σ" + (f", the ends with all beyond ± {reach:g}" if largest > reach else ""))
    axes.set_ylabel("density")
    axes.legend(frameon=False, fontsize="small")
    plain(axes)


def _edges(centres: np.ndarray) -> np.ndarray:
    """Halfway between neighbours; the outer ones as far outside."""
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    middles = 0.5 * (centres[1:] + centres[:-1])
    return np.concatenate([[2 * centres[0] - middles[0]], middles, [2 * centres[-1] - middles[-1]]])
