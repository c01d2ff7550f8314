"""Parameters: numbers and arrays as leaves, and checks that name the argument, what was found and what to do."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array


def broadcasts_to(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether an array of `shape` broadcasts to `target` itself."""
    return len(shape) <= len(target) and all(n in (1, m) for n, m in zip(shape[::-1], target[::-1], strict=False))


def is_concrete(value: Any) -> bool:
    """Whether the numbers of an array are known while Python runs."""
    return not isinstance(value, Tracer)


def known_false(condition, *values: Any) -> bool:
    """Whether `condition(*values)` is known to fail: it is not asked of traced values."""
    if not all(map(is_concrete, values)):
        return False
    with jax.ensure_compile_time_eval():
        return not bool(jnp.all(condition(*values)))


def as_parameter(value: Any, where: str) -> Any:
    """A number or an array as a floating-point JAX array: a leaf that derivatives reach.

    Python numbers become weakly typed scalars, which take the precision of what they meet.
    """
    if callable(value) and not isinstance(value, jax.Array | np.ndarray):
        message = f"`{where}` is a {type(value).__name__}; give a number or an array. It does not vary in time."
        raise TypeError(message)
    if isinstance(value, bool | int | float):
        return jnp.asarray(float(value))
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError) as error:
        message = f"`{where}` must be a number or an array, got {type(value).__name__}."
        raise TypeError(message) from error
    if not jnp.issubdtype(array.dtype, jnp.inexact):
        array = array.astype(jnp.result_type(float))
    return array


def as_inexact(value: Any) -> Array:
    """An array of floating-point or complex numbers: those keep their type, integers become floats."""
    array = jnp.asarray(value)
    return array if jnp.issubdtype(array.dtype, jnp.inexact) else array.astype(float)


def as_positive(value: Any, where: str) -> Array:
    """One positive number as an array: a leaf, so that a new one compiles nothing."""
    return _as_number(value, where, "positive", lambda number: number > 0)


def as_nonnegative(value: Any, where: str) -> Array:
    """One number that is not negative, as an array."""
    return _as_number(value, where, "non-negative", lambda number: number >= 0)


def _as_number(value: Any, where: str, what: str, accepts: Callable[[Any], Any]) -> Array:
    number = as_parameter(value, where)
    if number.ndim != 0 or known_false(lambda x: jnp.isfinite(x) & accepts(x), number):
        message = f"`{where}` must be one {what} number, got {value}."
        raise ValueError(message)
    return number
