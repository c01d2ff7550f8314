"""One number for each zone."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, Shaped

from ...grid import AbstractGrid, is_concrete
from ...operator._constant import Constant
from ._base import (
    AbstractParameter,
    Raw,
    as_raw,
    check_shape,
    field_and_weights,
    like,
    structure_of,
    value_of,
    with_value_of,
)


class Zones(AbstractParameter):
    """`value_i = raw[labels_i]`: constant in each zone of a map, for example a geological one.

    `with_value` takes the mean over each zone, weighted with the cells' volumes.

    **Arguments:**

    - `raw`: one number per zone, or a parameter with such a value, as in
        `Zones(Positive.from_value(conductivities), labels)`.
    - `labels`: which zone each cell belongs to: integers from 0 to the number of zones less 1, in the shape of the
        field. They are structure.
    - `grid`: where the field lives, for the volumes in `with_value`; without it all cells count alike.

    **Raises:** `ValueError` for labels that are not integers from 0 to the number of zones less 1, a `raw` that is not
    one list of numbers, and labels of another shape than `grid.shape`; `TypeError` for traced labels.
    """

    raw: Raw
    labels: Constant
    grid: AbstractGrid | None

    def __init__(self, raw: Any, labels: Int[ArrayLike, "..."] | Constant, grid: AbstractGrid | None = None):
        self.raw, self.grid = as_raw(raw), grid
        self.labels = labels if isinstance(labels, Constant) else _as_labels(labels)
        check_shape(self.raw, (structure_of(self.raw).size,), "Zones", "one number per zone")
        _check_labels(self.labels.array, structure_of(self.raw).size, grid)

    @property
    def value(self) -> Float[Array, "..."]:
        """The field of the labels' shape."""
        return value_of(self.raw)[self.labels.array]

    def with_value(self, value: Shaped[ArrayLike, "..."]) -> "Zones":
        before = value_of(self.raw)
        wanted = like(value, self.labels.shape, before.dtype, "Zones.with_value(value)")
        wanted, weights = field_and_weights(self.grid, wanted)
        labels = jnp.asarray(self.labels.array.ravel())
        volumes = np.bincount(self.labels.array.ravel(), weights.ravel(), before.size)
        weighted = wanted.ravel() * jnp.asarray(weights.ravel(), before.dtype)
        sums = jax.ops.segment_sum(weighted, labels, before.size)
        means = sums / jnp.asarray(np.where(volumes > 0, volumes, 1.0), before.dtype)
        means = jnp.where(volumes > 0, means, before)  # no cell of the zone, no news of it
        return Zones(with_value_of(self.raw, means), self.labels, self.grid)


def _as_labels(labels: Any) -> Constant:
    if not is_concrete(labels):
        message = "Zones(labels=...): labels are structure, but these are traced by JAX. Make them outside of jit."
        raise TypeError(message)
    array = np.asarray(labels)
    if not np.issubdtype(array.dtype, np.integer):
        message = f"Zones(labels=...) must be integers, the number of each cell's zone; got {array.dtype}."
        raise ValueError(message)
    return Constant(array.astype(np.int32))


def _check_labels(labels: np.ndarray, num_zones: int, grid: AbstractGrid | None):
    if labels.size and not (labels.min() >= 0 and labels.max() < num_zones):
        message = (
            f"Zones: raw has {num_zones} numbers, so labels must be from 0 to {num_zones - 1}; "
            f"they range from {labels.min()} to {labels.max()}."
        )
        raise ValueError(message)
    if grid is not None and labels.shape != grid.shape:
        message = f"Zones: labels have the shape {labels.shape}, but the grid {grid.shape}."
        raise ValueError(message)
