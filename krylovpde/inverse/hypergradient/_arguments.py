"""Checks of the methods' arguments."""

from typing import Any

import numpy as np
from jaxtyping import Array

from ..._parameter import as_inexact
from ...grid import is_concrete


def as_positive(name: str, value: Any) -> Array:
    """One positive number as an array: a leaf, so that a new one compiles nothing."""
    return _as_number(name, value, "positive", lambda number: number > 0)


def as_nonnegative(name: str, value: Any) -> Array:
    """One number that is not negative, as an array."""
    return _as_number(name, value, "not negative", lambda number: number >= 0)


def check_count(name: str, value: Any) -> int:
    """A number of steps, columns or probes."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        message = f"{name} must be an integer, at least 1; got {value!r}."
        raise ValueError(message)
    return int(value)


def _as_number(name: str, value: Any, what: str, accepts: Any) -> Array:
    number = as_inexact(value)
    if number.ndim != 0 or (is_concrete(number) and not (np.isfinite(number) and accepts(number))):
        message = f"{name} must be one number, {what}; got {value}."
        raise ValueError(message)
    return number
