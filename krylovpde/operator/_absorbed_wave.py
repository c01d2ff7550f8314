"""Waves with damping and absorbing layers, as one operator of first order in time."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax import lax
from jaxtyping import Array, Inexact, PyTree

from ..grid import cell_volumes
from ._base import AbstractOperator, reciprocal_weight
from ._constant import reveal
from ._ellipse import Rectangle
from ._flux import FluxOperator, reciprocal_measures
from ._kernel import net_inflow, net_inflow_transpose
from ._layer import Layer, strongest
from ._numerical_range import numerical_range
from ._precision import cast_tree
from ._spectral_interval import spectral_interval
from ._wave_state import AbsorbedState, LayerMemory, WaveState


class AbsorbedWaveOperator(AbstractOperator):
    r"""`u_tt + damping u_t = A u` with absorbing layers, of first order in time.

        u' = v
        v' = s Σ_a d_a - Σ_layers ζ y - damping v,      d_a = ∂_a (κ (∂_a u - z))
        z' = ζ ∂_a u - (ζ + α) z                        on the faces of the layers across a
        y' = s d_a - (ζ + α) y                          in their cells

    with the stencil `A = s Σ_a ∂_a κ ∂_a` of the interior. Per axis the layers divide both derivatives by
    `S = 1 + ζ/(∂/∂t + α)`. The state is a `WaveState`, with layers an `AbsorbedState`.

    No inner product makes it dissipative; but in the energy it nearly is, and what a polynomial needs is that its
    spectrum lies in a rectangle, from `-max damping - max(ζ + α)` to 0 and `± sqrt(ρ(A))` high (checked against dense
    eigenvalues for rough speeds and densities, overlapping layers, one to three dimensions).
    """

    flux: FluxOperator
    layers: tuple[Layer, ...]
    damping: Array | None
    transposed: bool = eqx.field(static=True)

    def __init__(self, flux: FluxOperator, layers: tuple[Layer, ...], damping: Array | None, transposed: bool = False):
        """From its parts.

        **Arguments:**

        - `flux`: the self-adjoint operator `A` on the displacement, with `Dirichlet` walls behind the layers.
        - `layers`: those of `make_layer`.
        - `damping`: an array that broadcasts to a field, or `None`.
        - `transposed`: makes this the transpose.
        """
        self.flux, self.layers, self.damping, self.transposed = flux, layers, damping, transposed

    def mv(self, vector: PyTree[Inexact[Array, "..."]]) -> PyTree[Inexact[Array, "..."]]:
        """The rate of change of a state, in its precision, real or complex."""
        dtype = np.result_type(*(leaf.dtype for leaf in jtu.tree_leaves(vector)))
        measures = [reciprocal_measures(self.flux.grid, axis) for axis in range(self.flux.grid.ndim)]
        parts = reveal((self.flux.faces, self.flux.diagonal, self.layers))
        # The rates of the layers are constants to every derivative.
        rates = lax.stop_gradient([_layer_rates(self.flux.grid, layer) for layer in self.layers])
        arguments = (*parts, self.flux.scale, self.damping, measures, rates)
        coefficients = _Coefficients(*cast_tree(arguments, np.finfo(dtype).dtype))
        apply = self._transpose if self.transposed else self._forward
        if jnp.issubdtype(dtype, jnp.complexfloating):
            real, imaginary = (apply(coefficients, jtu.tree_map(part, vector)) for part in (jnp.real, jnp.imag))
            return jtu.tree_map(lax.complex, real, imaginary)
        return apply(coefficients, vector)

    def _forward(self, c: "_Coefficients", state: Any) -> Any:
        u, v = state.displacement, state.velocity
        inflows = []
        for axis, (faces, measure) in enumerate(zip(c.faces, c.measures, strict=True)):
            inflow = net_inflow(faces, u, axis, self.flux.periodic[axis])
            inflows.append(inflow if measure is None else inflow * measure)
        total = sum(inflows[1:], start=inflows[0])
        for term in c.diagonal:
            total = total + term * u
        acceleration = c.scaled(total)
        memories = []
        for layer, (face, cell), memory in zip(c.layers, c.rates, _memories(state), strict=True):
            own = layer.cut(u)
            held = c.measured(layer, layer.spread(layer.coupling * memory.gradient))
            entering = c.scaled(layer.cut(inflows[layer.axis]) - layer.outer * own + held, layer)
            acceleration = layer.add(acceleration, c.scaled(held, layer) - cell.absorbed * memory.divergence)
            gradient = face.absorbed * layer.jumps(own) - face.total * memory.gradient
            memories.append(LayerMemory(gradient, entering - cell.total * memory.divergence))
        return self._state(v, acceleration if c.damping is None else acceleration - c.damping * v, memories)

    def _transpose(self, c: "_Coefficients", state: Any) -> Any:
        u, v = state.displacement, state.velocity
        push = c.scaled(v)
        pushes, backs, memories = [push] * len(c.faces), [], []
        for layer, (face, cell), memory in zip(c.layers, c.rates, _memories(state), strict=True):
            entering = c.scaled(memory.divergence, layer)
            pushes[layer.axis] = layer.add(pushes[layer.axis], entering)
            held = layer.jumps(c.measured(layer, layer.cut(push) + entering))
            gradient = layer.coupling * held - face.total * memory.gradient
            backs.append(layer.spread(face.absorbed * memory.gradient) - layer.outer * entering)
            memories.append(LayerMemory(gradient, -cell.absorbed * layer.cut(v) - cell.total * memory.divergence))
        inflows = []
        for axis, (faces, measure) in enumerate(zip(c.faces, c.measures, strict=True)):
            source = pushes[axis] if measure is None else pushes[axis] * measure
            inflows.append(net_inflow_transpose(faces, source, axis, self.flux.periodic[axis]))
        result = sum(inflows[1:], start=inflows[0])
        for term in c.diagonal:
            result = result + term * push
        for layer, back in zip(c.layers, backs, strict=True):
            result = layer.add(result, back)
        return self._state(result, u if c.damping is None else u - c.damping * v, memories)

    def _state(self, displacement: Any, velocity: Any, memories: list[Any]) -> Any:
        if not self.layers:
            return WaveState(displacement, velocity)
        return AbsorbedState(displacement, velocity, tuple(memories))

    def transpose(self) -> "AbsorbedWaveOperator":
        """The transpose, of the same kind."""
        return AbsorbedWaveOperator(self.flux, self.layers, self.damping, not self.transposed)

    def in_structure(self) -> Any:
        """A state in the precision of the coefficients."""
        field = self.flux.in_structure()
        memories = []
        for layer in self.layers:
            shape = tuple(layer.width if i == layer.axis else n for i, n in enumerate(field.shape))
            part = jax.ShapeDtypeStruct(shape, field.dtype)
            memories.append(LayerMemory(part, part))
        return self._state(field, field, memories)

    def out_structure(self) -> Any:
        """The same as `in_structure`."""
        return self.in_structure()

    @property
    def weight(self) -> Any:
        """That of the energy: the velocities' as for `A`, the displacement's by its largest frequency."""
        velocity = jnp.asarray(self.flux.weight)
        height = _height(self.flux)
        precision = velocity.dtype
        memories = []
        for layer in self.layers:
            own, volumes = layer.cut(velocity), layer.cut(jnp.asarray(cell_volumes(self.flux.grid, precision)))
            coupling = lax.stop_gradient(jnp.asarray(reveal(layer.coupling)).astype(precision))
            measure = reciprocal_measures(self.flux.grid, layer.axis)
            stretched = coupling if measure is None else coupling * layer.cut(jnp.asarray(measure.astype(precision)))
            memories.append(LayerMemory(volumes * stretched, own))
        weight = self._state(velocity * height.astype(precision) ** 2, velocity, memories)
        return reciprocal_weight(weight) if self.transposed else weight

    @property
    def tags(self) -> frozenset[object]:
        """None: it is neither self- nor skew-adjoint."""
        return frozenset()

    @property
    def spectral_bound(self) -> Array:
        """The corner of the rectangle."""
        rectangle = numerical_range(self)
        assert isinstance(rectangle, Rectangle)
        return jnp.hypot(jnp.maximum(-rectangle.lower, rectangle.upper), rectangle.height)


class _Rates(eqx.Module):
    absorbed: Any
    total: Any


class _Coefficients(eqx.Module):
    """All numbers of the operator, in one precision."""

    faces: Any
    diagonal: Any
    layers: Any
    scale: Any
    damping: Any
    measures: Any
    rates: Any

    def scaled(self, values: Array, layer: Layer | None = None) -> Array:
        """`s` times values of the whole field, or of a layer."""
        scale = self.scale if layer is None else layer.scale
        return values if scale is None else scale * values

    def measured(self, layer: Layer, values: Array) -> Array:
        """Divided by the measures of the cells, where the face coefficients are not."""
        measure = self.measures[layer.axis]
        return values if measure is None else layer.cut(measure) * values


def _layer_rates(grid: Any, layer: Layer) -> tuple[_Rates, _Rates]:
    precision = layer.rate.dtype
    both = [[layer.rate * part.astype(precision) for part in layer.rates(grid, on_faces)] for on_faces in (True, False)]
    return _Rates(*both[0]), _Rates(*both[1])


def _memories(state: Any) -> tuple[LayerMemory, ...]:
    return state.memories if isinstance(state, AbsorbedState) else ()


def _height(flux: FluxOperator) -> Array:
    """The largest frequency, `sqrt(ρ(A))`."""
    interval = spectral_interval(flux)
    assert interval is not None
    return jnp.sqrt(jnp.maximum(-lax.stop_gradient(interval[0]), 0.0))


@numerical_range.register(AbsorbedWaveOperator)
def _(operator):
    interval = spectral_interval(operator.flux)
    assert interval is not None
    highest = lax.stop_gradient(interval[1])
    height = _height(operator.flux)
    lower = jnp.zeros_like(height)
    if operator.damping is not None:
        lower = lower - jnp.maximum(jnp.max(lax.stop_gradient(operator.damping)), 0.0).astype(height.dtype)
    rates = [lax.stop_gradient(layer.rate) * strongest(operator.flux.grid, layer) for layer in operator.layers]
    if rates:
        lower = lower - jnp.max(jnp.stack(rates)).astype(height.dtype)
    # A wall that gives energy (Robin coefficients of two signs) makes a wave grow.
    return Rectangle(lower, jnp.sqrt(jnp.maximum(highest, 0.0)), height)
