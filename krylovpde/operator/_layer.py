"""Absorbing layers: where they lie, how strongly they absorb, and the few operations that they need.

A perfectly matched layer along axis a continues the coordinate into the complex plane: with `s` for `∂/∂t`,

    ∂_a → (1/S) ∂_a,     S = 1 + ζ / (s + α),     1/S = 1 - ζ / (s + α + ζ),

`ζ` and `α` functions of the depth in the layer, zero at its face. Waves enter it without reflection (on a grid: nearly)
and decay like `exp(-cos θ ∫ζ/c)`, at all frequencies above `α` alike. `1/S` becomes a memory `z' = -(α + ζ) z + input`,
`output = input - ζ z`, which exists in the layer only.

A layer is its own little grid: `width` cells, and as many faces, the wall behind it included and its face to the
interior, where `ζ = 0`, left out.
"""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ..grid import AbstractGrid, Dirichlet
from ._constant import hide, reveal
from ._flux import FluxOperator
from ._kernel import Coefficient, Values, cut, following, preceding
from ._precision import cast
from ._walls import wall

# What a wave of normal incidence has left of its amplitude after the way to the wall and back: R₀, at the angle θ
# R₀^cos θ, of the energy R₀² at 0° and R₀ at 60°, which 20 cells reach. Each digit more makes the spectrum wider and a
# solve dearer.
_AMPLITUDE_LEFT = 1e-3
# ζ rises like this power of the depth. The largest ζ, which widens the spectrum, is proportional to one more than it;
# the linear rise reflected 5e-7 (8 cells in a wavelength) and 2e-6 (20) at 0°, 1.2e-3 at 60°, the square 9e-7 and
# 1.2e-3.
_POWER = 1
# α at the face, in crossings of the layer per unit time, falling linearly to the wall. Without it zero is a defective
# eigenvalue, and what is at rest in the layer grows like t. Wavelengths beyond some ten layers are absorbed less.
_SLOWEST = 0.2


class Layer(eqx.Module):
    """One absorbing layer: at the lower (`side = 0`) or the upper end (`side = -1`) of an axis.

    * `coupling`: κ of its faces, as the flux operator has them.
    * `outer`: κ of the wall, in the outermost cell; zero in the others.
    * `scale`: the operator's, in the layer; a leaf of its own, so that derivatives inside of loops stay in the layer.
    * `rate`: the largest speed in it over its thickness; a constant to every derivative.
    """

    coupling: Any
    outer: Any
    scale: Array | None
    rate: Array
    axis: int = eqx.field(static=True)
    side: int = eqx.field(static=True)
    width: int = eqx.field(static=True)
    size: int = eqx.field(static=True)

    def cut(self, values: Values) -> Values:
        """The part of a field that lies in the layer."""
        start, stop = (0, self.width) if self.side == 0 else (self.size - self.width, self.size)
        return cut(values, self.axis, start, stop)

    def cut_any(self, values: Coefficient) -> Coefficient:
        """`cut`, also of geometry, which stays NumPy."""
        if isinstance(values, jax.Array) or values.shape[self.axis] == 1:
            return self.cut(jnp.asarray(values)) if isinstance(values, jax.Array) else values
        start = 0 if self.side == 0 else self.size - self.width
        return np.take(values, range(start, start + self.width), axis=self.axis)

    def add(self, field: Values, values: Values) -> Values:
        """The field with these values added in the layer.

        In place: sums with fields that are padded with zeros made an application twice as dear (128 x 128 cells, four
        layers).
        """
        start = 0 if self.side == 0 else self.size - self.width
        return lax.dynamic_update_slice_in_dim(field, self.cut(field) + values, start, self.axis)

    def jumps(self, values: Values) -> Values:
        """From each cell to the next across the faces; zero is the value behind the wall."""
        if self.side == 0:
            return values - preceding(values, self.axis, False)
        return following(values, self.axis, False) - values

    def spread(self, values: Values) -> Values:
        """The transpose of `jumps`; minus what flows in through the faces."""
        if self.side == 0:
            return values - following(values, self.axis, False)
        return preceding(values, self.axis, False) - values

    def rates(self, grid: AbstractGrid, on_faces: bool) -> tuple[np.ndarray, np.ndarray]:
        """`ζ` and `ζ + α` in units of `rate`, shaped to broadcast."""
        depth = _depths(grid, self, on_faces)
        absorbed = (_POWER + 1) / 2.0 * math.log(1.0 / _AMPLITUDE_LEFT) * depth**_POWER
        total = absorbed + _SLOWEST * (1.0 - depth)
        shape = [-1 if axis == self.axis else 1 for axis in range(grid.ndim)]
        return absorbed.reshape(shape), total.reshape(shape)


def strongest(grid: AbstractGrid, layer: Layer) -> float:
    """The largest `ζ + α` in units of `rate`."""
    return float(np.max(layer.rates(grid, on_faces=True)[1]))


def make_layer(operator: FluxOperator, speed: Array, mobility: Coefficient, axis: int, side: int, width: int) -> Layer:
    """The layer in front of a `Dirichlet` wall of a stencil operator.

    **Arguments:**

    - `operator`: `speed² density div(1/density grad ·)`.
    - `speed`, `mobility`: the speed and one over the density that it was made of, numbers or fields.
    - `axis`, `side`, `width`: where, and how many cells thick.
    """
    grid, size = operator.grid, operator.grid.shape[axis]
    like = Layer(None, None, None, jnp.zeros(()), axis, side, width, size)
    outer = wall(Dirichlet(), grid, axis, side, mobility).sink
    assert outer is not None
    outer = like.cut_any(outer)
    fastest = jnp.max(jax.lax.stop_gradient(speed if speed.ndim == 0 else like.cut(speed)))
    rate = fastest * cast(1.0 / _thickness(grid, like), fastest.dtype)
    scale = None if operator.scale is None else like.cut(operator.scale)
    return Layer(hide(_coupling(operator, like, outer)), hide(outer), scale, rate, axis, side, width, size)


def _coupling(operator: FluxOperator, layer: Layer, outer: Coefficient) -> Coefficient:
    """The coefficients of the layer's faces: those between its cells, and the wall's."""
    grid, axis, width = operator.grid, layer.axis, layer.width
    exchange = reveal(operator.faces)[axis].exchange
    measure = 1.0 if grid.is_uniform(axis) else float(grid.cell_measures(axis)[layer.side])
    library = jnp if isinstance(exchange, jax.Array) else np
    shape = [
        layer.size if i == axis else max(n, m) for i, (n, m) in enumerate(zip(exchange.shape, outer.shape, strict=True))
    ]
    first = 0 if layer.side == 0 else layer.size - width
    between = [slice(first, first + width - 1) if i == axis else slice(None) for i in range(grid.ndim)]
    inner = library.broadcast_to(exchange, shape)[tuple(between)]
    last = [slice(layer.side, layer.side + 1 or None) if i == axis else slice(None) for i in range(grid.ndim)]
    shape[axis] = 1
    end = library.broadcast_to(library.asarray(outer)[tuple(last)] * library.asarray(measure, outer.dtype), shape)
    return library.concatenate([end, inner] if layer.side == 0 else [inner, end], axis=axis)


def _thickness(grid: AbstractGrid, layer: Layer) -> float:
    return float(np.sum(_widths(grid, layer)))


def _widths(grid: AbstractGrid, layer: Layer) -> np.ndarray:
    widths = grid.widths(layer.axis)
    return widths[: layer.width] if layer.side == 0 else widths[layer.size - layer.width :]


def _depths(grid: AbstractGrid, layer: Layer, on_faces: bool) -> np.ndarray:
    """From 0 at the face of the layer to 1 at the wall, at its cells or its faces, in the order of the grid."""
    widths = _widths(grid, layer)
    inwards = widths[::-1] if layer.side == 0 else widths
    depths = np.cumsum(inwards) - (0.0 if on_faces else inwards / 2)
    depths = depths / np.sum(widths)
    return depths[::-1] if layer.side == 0 else depths
