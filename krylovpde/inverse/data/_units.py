"""Units by pint: read off column names, checked, converted."""

import functools as ft
import re
from typing import Any

import numpy as np

_BRACKETS = re.compile(r"^(?P<name>.*?)\s*\[(?P<unit>[^\[\]]*)\]\s*$")
# CF conventions and spreadsheets write powers without a sign: `m s-1`, `m3/d`.
_POWER = re.compile(r"(?<=[A-Za-zµ])(-?\d+)\b")
_NO_UNIT = ("", "-", "1")


def split_unit(header: str) -> tuple[str, str | None]:
    """`"time [d]"` as `("time", "d")`; the unit is `None` where there are no brackets."""
    match = _BRACKETS.match(header)
    return (header.strip(), None) if match is None else (match["name"].strip(), match["unit"].strip())


def check_unit(unit: str | None, where: str, dimension: str | None = None):
    """Tell the user no, where pint does not know the unit, or it is none of a dimension such as `[time]`."""
    if unit is None:
        return
    found = _quantity(unit, where).dimensionality
    if dimension is not None and found and dict(found) != {dimension: 1}:
        message = f"{where}: [{unit}] is {found}, but must be a unit of {dimension}, or without dimension."
        raise ValueError(message)


def convert(values: np.ndarray, unit: str | None, target: str | None, where: str) -> np.ndarray:
    """Values in another unit; unchanged where no other one is wanted.

    **Raises:** `ValueError` for units that pint does not know or that cannot be converted, and where the unit that the
    values have is not known.
    """
    if target is None or target == unit:
        return values
    if unit is None:
        message = (
            f"{where}: cannot be converted to [{target}], for its own unit is not known. Name it in the header, as in "
            "`depth [m]`, or give `unit=...`."
        )
        raise ValueError(message)
    _quantity(unit, where)
    _quantity(target, where)
    try:
        return np.asarray(_registry().Quantity(values, _named(unit)).to(_named(target)).magnitude)
    except _pint().DimensionalityError as error:
        message = f"{where}: [{unit}] is no [{target}]: {error}."
        raise ValueError(message) from None


def convert_difference(values: np.ndarray, unit: str | None, target: str | None, where: str) -> np.ndarray:
    """Differences, such as standard deviations, in another unit: those of degC in K lose no 273.15."""
    ends = convert(np.array([0.0, 1.0]), unit, target, where)
    return values * (ends[1] - ends[0])


def _quantity(unit: str, where: str) -> Any:
    pint = _pint()
    try:
        return _registry().Quantity(1.0, _named(unit))
    except (pint.UndefinedUnitError, pint.DefinitionSyntaxError, AttributeError, TypeError, ValueError, SyntaxError):
        message = (
            f"{where}: [{unit}] is no unit that pint knows. Powers are written m**3, quotients m/s, degrees degC; "
            "what is without unit is [-]."
        )
        raise ValueError(message) from None


def _named(unit: str) -> str:
    return "dimensionless" if unit in _NO_UNIT else _POWER.sub(r"**\1", unit)


@ft.cache
def _registry() -> Any:
    return _pint().UnitRegistry()


def _pint() -> Any:
    try:
        import pint
    except ImportError as error:
        message = "Units of measured data need pint: `pip install krylovpde[data]`."
        raise ImportError(message) from error
    return pint
