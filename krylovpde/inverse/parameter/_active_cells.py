"""Only some cells are unknown."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Shaped

from ...grid import broadcasts_to, is_concrete
from ...operator._constant import Constant
from ._base import AbstractParameter, Raw, as_raw, check_shape, like, structure_of, value_of, with_value_of
from ._fixed import as_fixed


class ActiveCells(AbstractParameter):
    """Unknown where a mask is true, a known background elsewhere: water above the sea floor, ground beyond the sensors.

    `with_value` takes the cells of the mask and leaves the background.

    **Arguments:**

    - `raw`: one number per true cell, in the order of `value[mask]`, or a parameter with such a value.
    - `mask`: booleans of the field's shape. They are structure.
    - `background`: what stands in the other cells: a number, or a field of the mask's shape. Fixed, unless it is a
        parameter.

    **Raises:** `ValueError` for a mask that is not one of booleans, a `raw` of another length and a background of
    another shape; `TypeError` for a traced mask or background.
    """

    raw: Raw
    mask: Constant
    background: AbstractParameter

    def __init__(self, raw: Any, mask: Bool[ArrayLike, "..."] | Constant, background: Any):
        self.raw, self.background = as_raw(raw), as_fixed(background)
        self.mask = mask if isinstance(mask, Constant) else _as_mask(mask)
        count = int(self.mask.array.sum())
        check_shape(self.raw, (count,), "ActiveCells", f"one number for each of the {count} true cells of the mask")
        found = structure_of(self.background).shape
        if not broadcasts_to(found, self.mask.shape):
            message = f"ActiveCells: background has the shape {found}, but the mask {self.mask.shape}."
            raise ValueError(message)

    @classmethod
    def from_value(
        cls, value: Shaped[ArrayLike, "..."], mask: Bool[ArrayLike, "..."], background: Any
    ) -> "ActiveCells":
        """The parameter whose value in the cells of the mask is `value`, a number or a field."""
        mask = np.asarray(mask)
        return cls(jnp.broadcast_to(jnp.asarray(value), mask.shape)[mask], mask, background)

    @property
    def value(self) -> Float[Array, "..."]:
        """A field of the mask's shape."""
        numbers = value_of(self.raw)
        known = value_of(self.background).astype(numbers.dtype)
        return (
            jnp.broadcast_to(known, self.mask.shape).at[np.nonzero(self.mask.array)].set(numbers, unique_indices=True)
        )

    def with_value(self, value: Shaped[ArrayLike, "..."]) -> "ActiveCells":
        wanted = like(value, self.mask.shape, structure_of(self.raw).dtype, "ActiveCells.with_value(value)")
        return ActiveCells(with_value_of(self.raw, wanted[self.mask.array]), self.mask, self.background)


def _as_mask(mask: Any) -> Constant:
    if not is_concrete(mask):
        message = "ActiveCells(mask=...): a mask is structure, but this one is traced by JAX. Make it outside of jit."
        raise TypeError(message)
    array = np.asarray(mask)
    if array.dtype != np.bool_:
        message = f"ActiveCells(mask=...) must be booleans, true in the unknown cells; got {array.dtype}."
        raise ValueError(message)
    return Constant(array)
