"""Values on a face: constant, varying in time, or a sum of both.

A value on the wall enters the discrete equation as a forcing that is linear in it. So one that varies in time is a
source: a profile over the face, times a signal.
"""

from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array

from .._parameter import as_parameter
from ..signal import AbstractSignal, AbstractSource, as_signal

# Of a sum; a value is one of these or a tuple of them.
_VARYING = (AbstractSignal, AbstractSource)


def as_face_value(value: Any, where: str) -> Any:
    """A boundary value as it is stored.

    **Arguments:**

    - `value`: `None`; a number or an array over the face; a signal, a function of time (taken as smooth) or a source,
        whose profile is over the face; or a list of these, which is their sum.
    - `where`: the caller's name, for messages.

    **Returns:**

    `None`, an array, a signal, a source, or a tuple of the latter three.

    **Raises:** `TypeError`, `ValueError` for anything else.
    """
    if value is None:
        return None
    # A list of numbers is an array over the face.
    if isinstance(value, list | tuple) and any(map(_varies, jtu.tree_leaves(value, is_leaf=_varies))):
        return tuple(_as_part(part, f"{where}[{index}]") for index, part in enumerate(value))
    return _as_part(value, where)


def constant_value(value: Any) -> Array | None:
    """The part of a stored value that does not vary in time."""
    constants = [part for part in _parts(value) if not isinstance(part, _VARYING)]
    # Numbers are weakly typed and arrays may differ in precision: summed as JAX promotes by itself.
    total = None
    for part in constants:
        total = part if total is None else _sum(total, part)
    return total


def varying_values(value: Any, face: tuple[int, ...], precision: Any) -> list[tuple[Array, AbstractSignal]]:
    """The other parts of a stored value: profiles over the face, or 1, and signals."""
    found = []
    for part in _parts(value):
        if isinstance(part, AbstractSignal):
            found.append((jnp.asarray(1.0), part))
        elif isinstance(part, AbstractSource):
            found.append((part.field(jax.ShapeDtypeStruct(face, precision)), part.signal))
    return found


def check_face_value(value: Any, face: tuple[int, ...], where: str) -> None:
    """Raises `ValueError` for a stored value that does not fit the face."""
    for part in _parts(value):
        if isinstance(part, AbstractSource):
            _check_profile(part, face, where)
        elif not isinstance(part, AbstractSignal) and part.shape not in ((), face):
            message = (
                f"`{where} has shape {part.shape}; a face there has shape {face}. Give a number or an array over the "
                "face."
            )
            raise ValueError(message)


def _check_profile(source: AbstractSource, face: tuple[int, ...], where: str) -> None:
    structure = jax.ShapeDtypeStruct(face, np.dtype(np.float32))
    try:
        jax.eval_shape(lambda: source.field(structure))
    except (TypeError, ValueError) as error:
        message = (
            f"`{where} is a {type(source).__name__} that does not fit; a face there has shape {face}. Give "
            f"Source(profile over the face, signal). {error}"
        )
        raise ValueError(message) from error


def _as_part(value: Any, where: str) -> Any:
    if isinstance(value, AbstractSource):
        return value
    return as_signal(value, where) if _varies(value) else as_parameter(value, where)


def _varies(value: Any) -> bool:
    is_function = callable(value) and not isinstance(value, jax.Array | np.ndarray)
    return is_function or isinstance(value, _VARYING)


def _parts(value: Any) -> tuple[Any, ...]:
    parts = value if isinstance(value, tuple) else (value,)
    return tuple(part for part in parts if part is not None)


def _sum(first: Array, second: Array) -> Array:
    dtype = jnp.result_type(first, second)
    return first.astype(dtype) + second.astype(dtype)
