"""How well a model fits its data, and where it does not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, PyTree
from scipy.special import chdtri

from ..loss import AbstractDataLoss, AbstractLoss, Total
from ._residuals import Residuals, ResidualSummary

_AXES = {0: (), 1: ("time",), 2: ("time", "sensor"), 3: ("run", "time", "sensor")}
# Neighbours that are this alike are not independent, whatever else they are.
_CORRELATED = 0.3
_MAX_ROWS = 40


@dataclass(frozen=True)
class ResidualReport:
    """What `residual_report` found. `print` it for the verdict and the table by sensor.

    - `misfit`: `χ²/N` over all data.
    - `num_data`: how many data count.
    - `expected`: between which limits `χ²/N` lies with a probability of 99 %, where the model and `sigma` are right and
        the errors independent and Gaussian; with the number of fitted parameters taken off, if that was given.
    - `parts`: the residuals of each array of the data, see `Residuals`.
    - `verdict`: in words.
    """

    misfit: float
    num_data: int
    expected: tuple[float, float]
    parts: tuple[Residuals, ...]

    def by(self, axis: str) -> ResidualSummary:
        """Statistics for each `"sensor"`, `"time"` or `"run"`: arrays `misfit`, `bias`, `rms`, `largest`, ...

        The entries of several arrays of data stand one after the other; arrays without such an axis are left out.

        **Raises:** `ValueError` where no array has such an axis.
        """
        having = [part for part in self.parts if axis in part.axes] or self.parts[:1]
        summaries = [part.by(axis) for part in having]
        columns = {
            name: np.concatenate([getattr(summary, name) for summary in summaries])
            for name in ("count", "misfit", "bias", "rms", "largest", "autocorrelation")
        }
        return ResidualSummary(tuple(label for summary in summaries for label in summary.label), **columns)

    def table(self, by: str = "sensor") -> str:
        """A line for each sensor, time or run; `high` and `low` mark a `χ²/N` outside its own range of 99 %."""
        summary = self.by(by)
        width = max(len(by), *(len(label) for label in summary.label))
        header = f"{by:<{width}} {'data':>6} {'χ²/N':>9} {'bias':>11} {'rms':>10} {'largest/σ':>9} {'lag 1':>6}"
        rows = [
            f"{label:<{width}} {summary.count[i]:6d} {summary.misfit[i]:9.4g} {summary.bias[i]:11.3e} "
            f"{summary.rms[i]:10.3e} {summary.largest[i]:9.2f} {summary.autocorrelation[i]:6.2f}"
            f"{self._mark(int(summary.count[i]), summary.misfit[i])}"
            for i, label in enumerate(summary.label)
        ]
        if len(rows) > _MAX_ROWS:
            rows = [*rows[:_MAX_ROWS], f"... and {len(rows) - _MAX_ROWS} more"]
        return "\n".join([header, *rows])

    def _mark(self, count: int, misfit: float) -> str:
        low, high = _expected(count, 0.0, _numbers_each(self.parts))
        return "  high" if misfit > high else "  low" if misfit < low else ""

    @property
    def verdict(self) -> str:
        """Whether the misfit is in its expected range, and what may be wrong where it is not."""
        low, high = self.expected
        text = f"χ²/N = {self.misfit:.4g} of {self.num_data} data, expected between {low:.4g} and {high:.4g}: "
        if self.misfit > high:
            text += "the data are not explained (fit not done, model too stiff, mesh too coarse, or sigma too small)"
        elif self.misfit < low:
            text += "the data are fitted better than they are known (noise is fitted, or sigma is too large)"
        else:
            text += "the data are fitted as well as they are known"
        lasting, least = self._correlation()
        if lasting > least:
            text += f"; neighbours in time are alike (correlation {lasting:.2f}): something that lasts is missing"
        return text

    def _correlation(self) -> tuple[float, float]:
        """Of neighbours in time, over all data, and what it has to exceed to say something."""
        pairs = [pair for pair in (part.neighbours() for part in self.parts) if pair is not None]
        products, squares = (sum(float(pair[i].sum()) for pair in pairs) for i in (0, 1))
        count = sum(int(np.count_nonzero(pair[1])) for pair in pairs)
        # By chance it is of the size of one over the root of the number of pairs.
        return (products / squares, max(_CORRELATED, 3 / np.sqrt(count))) if squares > 0 else (0.0, _CORRELATED)

    def __str__(self) -> str:
        """The verdict, and the table by sensor where the data have sensors."""
        axes = {axis for part in self.parts for axis in part.axes}
        by = next((axis for axis in ("sensor", "run", "time") if axis in axes), None)
        return self.verdict if by is None else f"{self.verdict}\n{self.table(by)}"


def residual_report(
    loss: AbstractLoss,
    model: PyTree,
    *,
    axes: Sequence[str] | None = None,
    labels: Mapping[str, Sequence[object]] | None = None,
    num_parameters: float = 0.0,
) -> ResidualReport:
    """`χ²/N`, bias, root mean square, outliers and correlation of the residuals, by sensor, by time, by run.

    **Arguments:**

    - `loss`: `LeastSquares` or another loss with data, alone or in a sum with penalties (which are left out). Data may
        be a pytree of arrays; data whose `sigma` is infinite are left out.
    - `model`: usually `result.model` of a fit.
    - `axes`: the names of the axes of each array of data. `None`: `("time",)` for one axis, `("time", "sensor")` for
        two, `("run", "time", "sensor")` for three, as `Experiment` and `Experiments` give them.
    - `labels`: names for the entries of an axis, `{"sensor": ["P1", "P2"], "time": times}`.
    - `num_parameters`: how many parameters were fitted to these data; for a field under a penalty that is `tr H` of
        `GCV`, less than its number of cells. It lowers the expected range of `χ²/N`.

    **Returns:** a `ResidualReport` of NumPy arrays.

    **Raises:** `TypeError` for a loss without data; `ValueError` for data with other axes than `axes` names.
    """
    terms = loss.terms if isinstance(loss, Total) else (loss,)
    terms = [term for term in terms if isinstance(term, AbstractDataLoss)]
    if not terms:
        message = f"residual_report: {type(loss).__name__} has no data; give LeastSquares, or a sum with it."
        raise TypeError(message)
    parts = []
    for number, term in enumerate(terms):
        prefix = f"term {number}" if len(terms) > 1 else ""
        parts += _parts(term, model, prefix, None if axes is None else tuple(axes), dict(labels or {}))
    count = sum(int(np.sum(part.counted)) for part in parts)
    misfit = sum(part.sum_of_squares / part.unit_misfit for part in parts) / max(count, 1)
    expected = _expected(count, num_parameters, _numbers_each(parts))
    return ResidualReport(float(misfit), count, expected, tuple(parts))


def _parts(
    term: Any, model: PyTree, prefix: str, axes: tuple[str, ...] | None, labels: dict[str, Sequence[object]]
) -> list[Residuals]:
    """The residuals of each array of one loss's data."""
    prediction, residual, data, sigma, misfit_of_half = _evaluated(term, model)
    # Half a unit of loss is a sum of squares of 1, of which reduced_misfit says how much of χ²/N that is.
    unit_misfit = 1.0 / (float(misfit_of_half) * float(term.num_data))
    parts = []
    for (path, r), p, d, s in zip(
        jtu.tree_leaves_with_path(residual), *map(jtu.tree_leaves, (prediction, data, sigma)), strict=True
    ):
        names = _AXES.get(np.ndim(d)) if axes is None else axes
        if names is None or len(names) != np.ndim(d):
            message = (
                f"residual_report: data of shape {np.shape(d)} have {np.ndim(d)} axes, but "
                f"{'none has a name; pass `axes`' if names is None else f'`axes` names {names}'}."
            )
            raise ValueError(message)
        counted = np.broadcast_to(np.isfinite(np.asarray(s)), np.shape(d))
        normalised, difference = (np.where(counted, x, np.nan) for x in (np.asarray(r), np.asarray(p) - np.asarray(d)))
        name = " ".join(filter(None, (prefix, jtu.keystr(path))))
        parts.append(Residuals(name, names, normalised, difference, np.asarray(d), np.asarray(p), labels, unit_misfit))
    return parts


@eqx.filter_jit
def _evaluated(term: Any, model: PyTree) -> tuple[PyTree[Array], PyTree[Array], PyTree[Array], PyTree[Array], Array]:
    """Predictions and residuals with a single solve: the residual is asked of the loss with the predictions known."""
    prediction = term.predict(model)
    known = eqx.tree_at(lambda t: t.predict, term, _Known(prediction))
    half = jnp.asarray(0.5, term.num_data.dtype)
    return prediction, known.residual(model), term.data, term.sigma, term.reduced_misfit(model, half)


class _Known(eqx.Module):
    prediction: PyTree

    def __call__(self, model: PyTree) -> PyTree[Array]:
        return self.prediction


def _expected(count: int, num_parameters: float, numbers_each: int) -> tuple[float, float]:
    """The range of 99 % of `χ²/N`."""
    size = numbers_each * count
    if size <= num_parameters:
        return (0.0, float("inf"))
    # `chdtri` is the inverse of the probability that χ² is larger.
    low, high = (float(chdtri(size - num_parameters, above)) / size for above in (0.995, 0.005))
    return (low, high)


def _numbers_each(parts: Sequence[Residuals]) -> int:
    """A complex datum has two parts, each of half the variance."""
    return 2 if any(np.iscomplexobj(part.normalised) for part in parts) else 1
