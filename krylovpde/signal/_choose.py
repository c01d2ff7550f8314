"""What a user may write for a signal."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._parameter import as_parameter
from ._base import AbstractSignal
from ._sampled import Sampled
from ._smooth import Smooth


def as_signal(value: Any, where: str) -> AbstractSignal:
    """A signal from one, from a callable, which is taken as smooth, or from a number."""
    if isinstance(value, AbstractSignal):
        return value
    if callable(value) and not isinstance(value, jax.Array | np.ndarray):
        return Smooth(value)
    number = as_parameter(value, where)
    if number.ndim != 0:
        message = f"`{where}` must be a signal, a function of time or a number, got an array of shape {number.shape}."
        raise ValueError(message)
    return Sampled(jnp.zeros_like(number)[None], number[None], kind="previous")
