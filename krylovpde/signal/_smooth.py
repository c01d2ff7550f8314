"""Functions of time without jumps."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Real

from .._parameter import as_parameter
from ._base import AbstractSignal
from ._interpolation import even_edges, interpolate
from ._pieces import Pieces


class Smooth(AbstractSignal):
    """A function of time that has derivatives of every order; what it closes over keeps its gradient."""

    function: Callable[[Any], Any]

    def __call__(self, t: Any) -> Real[Array, ""]:
        t = as_parameter(t, "signal(t)")
        value = jnp.asarray(self.function(t))
        if value.shape != () or jnp.iscomplexobj(value):
            message = f"a signal must give one real number for each time, got shape {value.shape} of {value.dtype}."
            raise ValueError(message)
        return value.astype(t.dtype)

    @property
    def breakpoints(self) -> Real[Array, " breaks"]:
        return jnp.zeros(0, jnp.result_type(float))

    @property
    def degree(self) -> int | None:
        return None

    def pieces(self, start: Array, duration: Array) -> Pieces:
        edges = even_edges(lax.stop_gradient(duration))
        widths = jnp.broadcast_to(edges[-1] / (edges.size - 1), (edges.size - 1,))
        return interpolate(lambda _, s: self(start + s), edges, widths)
