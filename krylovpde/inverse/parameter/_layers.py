"""Constant between interfaces."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Shaped

from ...grid import AbstractGrid, RadialGrid, is_concrete
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
from ._fixed import Fixed


class Layers(AbstractParameter):
    r"""Constant in each layer along one axis, with known or unknown interfaces.

    A cell that an interface passes through has the mean of both layers, weighted with their parts of its volume. So
    `∫ value dV` is exact wherever the interfaces lie, and the derivative with respect to an interface is that of the
    cells' means: `(raw_above - raw_below) / height` of the cell that holds it. It is piecewise constant, and jumps
    where an interface enters another cell: unknown interfaces want cells that are small beside what the data resolve.

    The mean is the arithmetic one. Where a flux crosses the layers, what counts in a cell of two is the harmonic mean
    of its diffusivities, an error of first order in the height of the one cell; give the logarithm or the resistivity
    layers if that matters, or let known interfaces lie on edges.

    `with_value` keeps the interfaces and fits the layers' numbers, in least squares weighted with the cells' volumes.

    **Arguments:**

    - `raw`: one number per layer, in the order of the coordinate, or a parameter with such a value.
    - `interfaces`: the coordinates between the layers, increasing, one fewer than layers. A list, a tuple or a NumPy
        array is fixed; a JAX array is unknown, and so is what is in a parameter (`Bounded.from_value(...)`). An unknown
        interface that has passed the next one takes it along.
    - `grid`: where the field lives.
    - `axis`: along which the layers follow each other.

    **Raises:** `ValueError` for a `raw` that is not one list of numbers, another number of interfaces, known interfaces
    that do not increase, and an axis that the grid does not have.
    """

    raw: Raw
    interfaces: Raw
    grid: AbstractGrid
    axis: int = eqx.field(static=True)

    def __init__(self, raw: Any, interfaces: Any, grid: AbstractGrid, axis: int = -1):
        self.raw, self.grid = as_raw(raw), grid
        is_unknown = isinstance(interfaces, AbstractParameter | jax.Array)
        self.interfaces = as_raw(interfaces) if is_unknown else Fixed(interfaces)
        if not -grid.ndim <= axis < grid.ndim:
            message = f"Layers(axis={axis}): the grid has {grid.ndim} axes."
            raise ValueError(message)
        self.axis = axis % grid.ndim
        count = structure_of(self.raw).size
        check_shape(self.raw, (count,), "Layers", "one number per layer")
        _check_interfaces(self.interfaces, count)

    @property
    def value(self) -> Float[Array, "..."]:
        """A field of `grid.shape`."""
        numbers = value_of(self.raw)
        profile = jnp.matmul(self.fractions(numbers.dtype), numbers, precision="highest")
        shape = [-1 if i == self.axis else 1 for i in range(self.grid.ndim)]
        return jnp.broadcast_to(profile.reshape(shape), self.grid.shape)

    def fractions(self, dtype: Any) -> Float[Array, "cells layers"]:
        """Which part of each cell along the axis lies in each layer."""
        power = self.grid.dimension if isinstance(self.grid, RadialGrid) else 1
        between = jax.lax.cummax(value_of(self.interfaces).astype(dtype))
        between = between if power == 1 else jnp.maximum(between, 0) ** power
        edges = self.grid.edges[self.axis] ** power
        lower = jnp.asarray(edges[:-1, None], dtype)
        heights = jnp.asarray(np.diff(edges)[:, None], dtype)
        below = jnp.clip((between[None, :] - lower) / heights, 0, 1)
        one = jnp.ones_like(lower)
        return jnp.diff(jnp.concatenate([jnp.zeros_like(lower), below, one], axis=1), axis=1)

    def with_value(self, value: Shaped[ArrayLike, "..."]) -> "Layers":
        before = value_of(self.raw)
        wanted = like(value, self.grid.shape, before.dtype, "Layers.with_value(value)")
        wanted, weights = field_and_weights(self.grid, wanted)
        others = tuple(i for i in range(self.grid.ndim) if i != self.axis)
        sums = jnp.sum(wanted * jnp.asarray(weights, before.dtype), axis=others)
        root = np.sqrt(np.sum(weights, axis=others))
        root, safe = (jnp.asarray(r, before.dtype) for r in (root, np.where(root > 0, root, 1.0)))
        matrix = root[:, None] * self.fractions(before.dtype)
        # The least change that does it: a layer without a cell keeps its number.
        change = jnp.linalg.lstsq(matrix, sums / safe - matrix @ before)[0]
        return Layers(with_value_of(self.raw, before + change), self.interfaces, self.grid, self.axis)


def _check_interfaces(interfaces: Raw, num_layers: int):
    check_shape(interfaces, (num_layers - 1,), "Layers(interfaces)", f"one fewer than the {num_layers} layers")
    positions = value_of(interfaces)
    if is_concrete(positions) and not bool(np.all(np.diff(np.asarray(positions)) > 0)):
        message = f"Layers: interfaces must increase, got {np.asarray(positions)}."
        raise ValueError(message)
