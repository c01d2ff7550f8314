"""A signal as the polynomial methods see it."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Real


class Pieces(eqx.Module):
    """A polynomial on each panel of `[0, end]`: `w(e_j + s) = Σ_r c_jr s^r / r!` for `0 <= s <= e_(j+1) - e_j`.

    * `edges`: not decreasing; a constant to every derivative.   * `coefficients`: derivatives at the left edges.
    * `error`: how far the signal is from it at most, in units of the signal's largest value.
    """

    edges: Real[Array, " edges"]
    coefficients: Real[Array, "panels terms"]
    error: Real[Array, ""]

    def __call__(self, t: Real[Array, ""]) -> Real[Array, ""]:
        """The value at a time within the interval; at an edge that of the panel on its right."""
        last = self.coefficients.shape[0] - 1
        panel = jnp.clip(jnp.searchsorted(self.edges, t, side="right").astype(jnp.int32) - 1, 0, last)
        s = t - self.edges[panel]
        row = self.coefficients[panel]
        value = row[-1]
        for r in range(row.shape[0] - 2, -1, -1):
            value = row[r] + value * s / (r + 1)
        return value
