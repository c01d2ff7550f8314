"""Damped and absorbed waves as equations of first order in time."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jaxtyping import Array, Inexact, PyTree

from ..operator import (
    AbsorbedState,
    AbsorbedWaveOperator,
    AbstractOperator,
    LayerMemory,
    WaveState,
    cast_tree,
    make_layer,
)
from ..signal import AbstractSignal
from ._base import AbstractFirstOrderForm


class AbsorbedWave(AbstractFirstOrderForm):
    """`u_tt + damping u_t = A u + b` with absorbing layers, of first order in time: `krylovpde.Wave` makes it.

    The state is a `WaveState`, or an `AbsorbedState` where there are layers. `sides`: `(axis, side, width)` of each.
    """

    wave: Any
    sides: tuple[tuple[int, int, int], ...] = eqx.field(static=True)

    def operator(self) -> AbsorbedWaveOperator:
        """The operator on the whole state."""
        flux, grid = self.wave.operator(), self.wave.grid
        precision = np.finfo(flux.in_structure().dtype).dtype
        speed, density, damping = cast_tree((self.wave.speed, self.wave.density, self.wave.damping), precision)
        mobility = np.ones((), precision) if density is None else 1.0 / density
        layers = tuple(make_layer(flux, speed, mobility, *side) for side in self.sides)
        return AbsorbedWaveOperator(
            flux, layers, None if damping is None else damping.reshape(damping.shape or (1,) * grid.ndim)
        )

    def forcing(self) -> PyTree[Inexact[Array, "..."]] | None:
        """The constant acceleration, as a state."""
        acceleration = self.wave.forcing()
        return None if acceleration is None else self._as_state(acceleration)

    def driving(self) -> tuple[tuple[PyTree[Inexact[Array, "..."]], AbstractSignal], ...]:
        """The accelerations that vary in time, as states."""
        return tuple((self._as_state(profile), signal) for profile, signal in self.wave.driving())

    def extended(self, state: WaveState) -> WaveState | AbsorbedState:
        """The state, with layers that remember nothing."""
        if not self.sides:
            return state
        dtype, shape = np.result_type(state.displacement.dtype, state.velocity.dtype), self.wave.grid.shape
        memories = []
        for axis, _, width in self.sides:
            zeros = jnp.zeros(tuple(width if i == axis else n for i, n in enumerate(shape)), dtype)
            memories.append(LayerMemory(zeros, zeros))
        return AbsorbedState(state.displacement, state.velocity, tuple(memories))

    def seeing(self, operator: lx.AbstractLinearOperator | None) -> lx.AbstractLinearOperator:
        """An operator on the displacement as one on the state; `None` is the state without its memories."""
        return SeenOfState(operator, self.operator().in_structure())

    def _as_state(self, acceleration: Array) -> Any:
        return self.extended(WaveState(jnp.zeros_like(acceleration), acceleration))


class SeenOfState(AbstractOperator):
    """What a linear operator sees of the displacement of an extended state; without one, displacement and velocity."""

    operator: lx.AbstractLinearOperator | None
    parts: tuple[jax.ShapeDtypeStruct, ...] = eqx.field(static=True)
    container: Any = eqx.field(static=True)

    def __init__(self, operator: lx.AbstractLinearOperator | None, structure: Any):
        self.operator = operator
        parts, self.container = jtu.tree_flatten(structure)
        self.parts = tuple(parts)

    def mv(self, vector: PyTree[Inexact[Array, "..."]]) -> PyTree[Inexact[Array, "..."]]:
        """The outputs."""
        if self.operator is None:
            return WaveState(vector.displacement, vector.velocity)
        return self.operator.mv(vector.displacement)

    def in_structure(self) -> Any:
        """The extended state."""
        return jtu.tree_unflatten(self.container, self.parts)

    def out_structure(self) -> Any:
        """What comes out."""
        if self.operator is not None:
            return self.operator.out_structure()
        state = self.in_structure()
        return WaveState(state.displacement, state.velocity)

    @property
    def weight(self) -> None:
        """None: it maps between different spaces."""

    @property
    def spectral_bound(self) -> None:
        """None."""

    @property
    def tags(self) -> frozenset[object]:
        """None."""
        return frozenset()
