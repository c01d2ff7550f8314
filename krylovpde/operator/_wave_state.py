"""The states of waves: of second order in time, and with what absorbing layers remember."""

from typing import Any

import equinox as eqx
from jaxtyping import PyTree


class WaveState(eqx.Module):
    """The state of an equation of second order in time: the field and its rate of change, pytrees of one structure."""

    displacement: PyTree[Any]
    velocity: PyTree[Any]


class LayerMemory(eqx.Module):
    """What one absorbing layer remembers: of the gradient, on its faces, and of the divergence, in its cells."""

    gradient: Any
    divergence: Any


class AbsorbedState(eqx.Module):
    """A wave and the memories of the absorbing layers around it, one for each side that absorbs."""

    displacement: Any
    velocity: Any
    memories: tuple[LayerMemory, ...]
