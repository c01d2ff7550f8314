"""Checks of the methods' arguments."""

from typing import Any

import numpy as np


def check_count(name: str, value: Any) -> int:
    """A number of steps, columns or probes."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        message = f"{name} must be an integer, at least 1; got {value!r}."
        raise ValueError(message)
    return int(value)
