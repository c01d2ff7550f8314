"""The residuals of one array of data, and their statistics along one of its axes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Inexact


@dataclass(frozen=True)
class ResidualSummary:
    """Statistics of the residuals, one entry for each sensor (or time, or run).

    - `label`: what each entry is of.
    - `count`: how many data count.
    - `misfit`: `χ²/N`: the mean square of the residuals in units of `sigma`.
    - `bias`: the mean of prediction - data, in the unit of the data; its modulus for complex data.
    - `rms`: the root mean square of prediction - data, in the unit of the data.
    - `largest`: the largest modulus in units of `sigma`.
    - `autocorrelation`: of neighbours in time, `Σ r_t r_{t+1} / Σ r_t²`: about `± 1/sqrt(N)` for independent errors,
        near 1 where the model misses something that lasts. NaN where there are no two times.

    All but `count` are NaN where nothing counts.
    """

    label: tuple[str, ...]
    count: np.ndarray
    misfit: np.ndarray
    bias: np.ndarray
    rms: np.ndarray
    largest: np.ndarray
    autocorrelation: np.ndarray


@dataclass(frozen=True)
class Residuals:
    """The residuals of one array of the data.

    - `name`: where it stands in the pytree of the data; empty for data that are one array.
    - `axes`: what its axes are: some of `"run"`, `"time"`, `"sensor"`.
    - `normalised`: the loss's residual, in units of `sigma`; NaN where a datum does not count.
    - `difference`: prediction - data, in the unit of the data; NaN likewise.
    - `data`, `prediction`: themselves.
    """

    name: str
    axes: tuple[str, ...]
    normalised: Inexact[np.ndarray, "..."]
    difference: Inexact[np.ndarray, "..."]
    data: Inexact[np.ndarray, "..."]
    prediction: Inexact[np.ndarray, "..."]
    labels: dict[str, Sequence[object]]
    unit_misfit: float  # what the mean square is where the model is right: 1 for least squares

    @property
    def counted(self) -> Bool[np.ndarray, "..."]:
        """Which data count."""
        return ~np.isnan(self.normalised)

    @property
    def sum_of_squares(self) -> float:
        """`Σ|r|²` of the normalised residuals."""
        return float(np.nansum(np.abs(self.normalised) ** 2))

    def by(self, axis: str) -> ResidualSummary:
        """Statistics for each entry of an axis, over all others.

        **Raises:** `ValueError` for an axis that the data do not have.
        """
        if axis not in self.axes:
            message = f"residual_report: the data{self._where} have the axes {self.axes}, and none called {axis!r}."
            raise ValueError(message)
        place = self.axes.index(axis)
        r, difference = (_rows(values, place) for values in (self.normalised, self.difference))
        return ResidualSummary(
            label=self._labels(axis, len(r)),
            count=np.sum(~np.isnan(r), axis=1),
            misfit=_mean(np.abs(r) ** 2) / self.unit_misfit,
            bias=_bias(difference),
            rms=np.sqrt(_mean(np.abs(difference) ** 2)),
            largest=_largest(r),
            autocorrelation=self._autocorrelation(place),
        )

    def neighbours(self) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]] | None:
        """`r_t r_{t+1}` and `½ (r_t² + r_{t+1}²)`, one time fewer, zero where one of the two does not count."""
        if "time" not in self.axes:
            return None
        r = np.moveaxis(self.normalised, self.axes.index("time"), 0)
        products = np.real(r[1:] * np.conj(r[:-1]))
        squares = 0.5 * (np.abs(r[1:]) ** 2 + np.abs(r[:-1]) ** 2)
        one_is_missing = np.isnan(products)
        products[one_is_missing] = squares[one_is_missing] = 0.0
        return np.moveaxis(products, 0, self.axes.index("time")), np.moveaxis(squares, 0, self.axes.index("time"))

    def _autocorrelation(self, place: int) -> Float[np.ndarray, " entries"]:
        neighbours = None if self.axes[place] == "time" else self.neighbours()
        if neighbours is None:
            return np.full(self.normalised.shape[place], np.nan)
        products, squares = (_rows(values, place).sum(axis=1) for values in neighbours)
        return np.divide(products, squares, out=np.full(len(products), np.nan), where=squares > 0)

    def _labels(self, axis: str, size: int) -> tuple[str, ...]:
        given = self.labels.get(axis)
        names = [_short(label) for label in given] if given is not None else [f"{axis} {i}" for i in range(size)]
        if len(names) != size:
            message = f"residual_report: {len(names)} labels for the {size} entries of the axis {axis!r}{self._where}."
            raise ValueError(message)
        return tuple(f"{self.name} {name}".strip() for name in names)

    @property
    def _where(self) -> str:
        return f" at {self.name}" if self.name else ""


def _rows(values: np.ndarray, place: int) -> np.ndarray:
    """The entries of one axis as rows, all else as columns."""
    moved = np.moveaxis(values, place, 0)
    return moved.reshape(len(moved), -1)


def _mean(rows: np.ndarray) -> np.ndarray:
    """The mean of each row over what is not NaN; NaN, without a warning, where nothing is left."""
    count = np.sum(~np.isnan(rows), axis=1)
    return np.divide(np.nansum(rows, axis=1), count, out=np.full(len(rows), np.nan, rows.dtype), where=count > 0)


def _largest(rows: np.ndarray) -> np.ndarray:
    moduli = np.where(np.isnan(rows), -1.0, np.abs(rows))
    largest = np.max(moduli, axis=1, initial=-1.0)
    return np.where(largest < 0, np.nan, largest)


def _bias(rows: np.ndarray) -> np.ndarray:
    mean = _mean(rows)
    return np.abs(mean) if np.iscomplexobj(mean) else mean


def _short(label: object) -> str:
    return f"{label:.6g}" if isinstance(label, float | np.floating) else str(label)
