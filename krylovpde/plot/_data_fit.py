"""Data beside predictions: over time for each sensor, or one against the other."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import ArrayLike, Shaped

from ._style import COLOURS, LINES, plain, with_unit


def data_fit(
    axes: Any,
    times: Shaped[ArrayLike, " times"],
    data: Shaped[ArrayLike, "times ..."],
    predictions: Mapping[str, Shaped[ArrayLike, "times ..."]],
    *,
    sigma: Shaped[ArrayLike, "..."] | None = None,
    names: Sequence[str] | None = None,
    title: str = "",
    label: str = "",
    unit: str = "",
    time_unit: str = "",
):
    """Draw what was measured as dots and what is predicted as lines over time, on one axes for each sensor.

    **Arguments:**

    - `axes`: one, for all sensors over each other, or an array of them, one for each sensor (the first ones, where
        there are more sensors).
    - `times`: of the measurements.
    - `data`: (times,) or (times, sensors). NaN is not drawn.
    - `predictions`: labels and predictions like the data: `{"start": ..., "estimate": ...}`.
    - `sigma`: standard deviations that broadcast against the data, drawn as bars of ± one; data whose `sigma` is
        infinite are left out.
    - `names`: of the sensors.
    - `title`: above a single axes.
    - `label`, `unit`: of the data.
    - `time_unit`: of the times.

    **Raises:** `ValueError` for shapes that do not fit to each other.
    """
    deviations = None if sigma is None else _columns(np.broadcast_to(sigma, np.shape(data)))
    times, data = np.asarray(times), _columns(data)
    curves = {name: _columns(curve) for name, curve in predictions.items()}
    wrong = {name: curve.shape for name, curve in curves.items() if curve.shape != data.shape}
    if wrong or len(times) != len(data):
        message = f"plot.data_fit: {len(times)} times and data of shape {data.shape}; predictions of shapes {wrong}."
        raise ValueError(message)
    if deviations is not None:
        data = np.where(np.isfinite(deviations), data, np.nan)
    names = [f"sensor {i}" for i in range(data.shape[1])] if names is None else list(names)
    single = not isinstance(axes, np.ndarray | list | tuple)
    places = [axes] * data.shape[1] if single else list(np.ravel(np.asarray(axes, dtype=object)))
    for i, place in enumerate(places[: data.shape[1]]):
        error = None if deviations is None else np.where(np.isfinite(deviations[:, i]), deviations[:, i], np.nan)
        first = i == 0
        _dots(place, times, data[:, i], error, "data" if first else None)
        for colour, (name, curve) in zip(LINES, curves.items(), strict=False):
            place.plot(times, curve[:, i], color=colour, linewidth=1.2, label=name if first else None, zorder=3)
        if not single or first:
            place.set_title(title if single else names[i])
            place.set_xlabel(with_unit("time", time_unit))
            place.set_ylabel(with_unit(label or "data", unit))
            plain(place)
    if not single and all(_is_shared(place) for place in places):
        for place in places:
            place.label_outer()
    handles, labels = places[0].get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: labels[i] != "data")
    places[0].legend([handles[i] for i in order], [labels[i] for i in order], frameon=False)


def scatter_fit(
    axes: Any,
    data: Shaped[ArrayLike, "..."],
    prediction: Shaped[ArrayLike, "..."],
    *,
    sigma: Shaped[ArrayLike, "..."] | None = None,
    title: str = "",
    label: str = "",
    unit: str = "",
    logarithmic: bool = False,
):
    """Draw each prediction over its datum, with the line on which they are equal.

    **Arguments:**

    - `axes`: where to draw.
    - `data`, `prediction`: arrays of one shape. NaN is not drawn.
    - `sigma`: if it is one number, a band of ± two of it is drawn; data whose `sigma` is infinite are left out.
    - `title`: above the axes.
    - `label`, `unit`: of the data.
    - `logarithmic`: for positive data that range over decades.

    **Raises:** `ValueError` for arrays of different shapes.
    """
    data, prediction = np.asarray(data), np.asarray(prediction)
    if data.shape != prediction.shape:
        message = f"plot.scatter_fit: data of shape {data.shape} and a prediction of shape {prediction.shape}."
        raise ValueError(message)
    counted = np.isfinite(data) & np.isfinite(prediction)
    if sigma is not None:
        counted &= np.isfinite(np.broadcast_to(sigma, data.shape))
    data, prediction = data[counted], prediction[counted]
    both = np.concatenate([data, prediction])
    ends = np.array([both.min(), both.max()]) if both.size else np.array([0.0, 1.0])
    if sigma is not None and np.ndim(sigma) == 0:
        style = {"color": COLOURS["sky"], "alpha": 0.3, "linewidth": 0, "label": "± 2σ"}
        axes.fill_between(ends, ends - 2 * np.asarray(sigma), ends + 2 * np.asarray(sigma), **style)
    axes.plot(ends, ends, color=COLOURS["grey"], linewidth=1, label="equal")
    axes.plot(data, prediction, ".", markersize=4, color=COLOURS["blue"], alpha=0.6, markeredgewidth=0)
    if logarithmic:
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.set_aspect("equal")
    axes.set_title(title)
    axes.set_xlabel(with_unit(f"{label or 'data'}, measured", unit))
    axes.set_ylabel(with_unit(f"{label or 'data'}, predicted", unit))
    axes.legend(frameon=False)
    plain(axes)


def _dots(axes: Any, times: np.ndarray, data: np.ndarray, error: np.ndarray | None, label: str | None):
    style = {"color": COLOURS["black"], "markersize": 4, "linestyle": "none", "marker": ".", "label": label}
    if error is None:
        axes.plot(times, data, **style)
    else:
        axes.errorbar(times, data, yerr=error, elinewidth=0.7, ecolor=COLOURS["grey"], **style)


def _is_shared(axes: Any) -> bool:
    return all(len(shared.get_siblings(axes)) > 1 for shared in (axes.get_shared_x_axes(), axes.get_shared_y_axes()))


def _columns(values: Any) -> np.ndarray:
    values = np.asarray(values)
    return values[:, None] if values.ndim == 1 else values
