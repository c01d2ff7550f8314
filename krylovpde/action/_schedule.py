"""The output times, in the order in which a march meets them."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int, Real


class Schedule(eqx.Module):
    """Output times in the order in which a march meets them: away from 0, first backwards, then forwards in time."""

    times: Real[Array, " n"]
    order: Int[Array, " n"]

    def __init__(self, times: Real[Array, " n"]):
        # Ascending |t| within each sign, negative times first.
        keys = (jnp.abs(times), times >= 0)
        self.order = jnp.lexsort(keys).astype(jnp.int32)
        self.times = times[self.order]

    @property
    def inverse(self) -> Int[Array, " n"]:
        return jnp.argsort(self.order)

    def __getitem__(self, index: Int[Array, "*k"]) -> Real[Array, "*k"]:
        return self.times[jnp.clip(index, 0, self.times.size - 1)]

    def last(self, time: Real[Array, ""]) -> Real[Array, ""]:
        """The last time on the same side of 0."""
        return jnp.where(time < 0, jnp.min(self.times), jnp.max(self.times))
