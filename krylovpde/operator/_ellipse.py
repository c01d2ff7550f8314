"""Ellipses around ellipses, all with axes along the real and the imaginary axis."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Real


class Ellipse(eqx.Module):
    """`centre + real cos θ + i imaginary sin θ`, real numbers; constants to every derivative."""

    centre: Real[Array, ""]
    real: Real[Array, ""]
    imaginary: Real[Array, ""]


class Rectangle(eqx.Module):
    """Real parts from `lower` to `upper`, imaginary ones up to `height`: what absorbed waves fill.

    An ellipse around it sticks out to the right, where `exp(tz)` grows. How far it may depends on the duration, and
    what it may not it makes up for by being higher.
    """

    lower: Real[Array, ""]
    upper: Real[Array, ""]
    height: Real[Array, ""]

    def ellipse(self, duration: Array, growth: float) -> Ellipse:
        """The least high ellipse around the corners on which `exp(t z)` exceeds that on them by `exp(growth)` at most.

        With half the width `h`, `a = h + growth/t` and `(h/a)² + (height/b)² = 1`.
        """
        half = 0.5 * (self.upper - self.lower)
        extent = jnp.maximum(half, self.height)
        # Durations near zero, and operators that do nothing, need no larger one.
        largest = jnp.where(extent > 0, extent, 1.0)
        room = jnp.minimum(growth / jnp.maximum(duration, growth / largest), largest)
        real = half + room
        height = self.height * real / jnp.sqrt(room * (2.0 * half + room))
        return Ellipse(0.5 * (self.lower + self.upper), real, height)


class Rows(NamedTuple):
    """One ellipse for each row: centre on the real axis, semi-axes."""

    centre: Array
    real: Array
    imaginary: Array


def around(rows: Rows, lower: Array, upper: Array, damping: Array) -> Ellipse:
    """The least high ellipse over `[lower, upper]` around all rows, and around the rows moved left by `damping`."""
    # The interval can be attained exactly: a little room for the rounding of the sums.
    room = 16 * float(np.finfo(rows.centre.dtype).eps) * jnp.maximum(jnp.abs(lower), jnp.abs(upper))
    upper, lower = upper + room, lower - room
    upper = jnp.where(jnp.abs(upper) < 8.0 * room, jnp.maximum(upper, 0.0), upper)
    centre, real = 0.5 * (lower + upper), 0.5 * (upper - lower)
    half = jnp.minimum(rows.real, real)
    left = jnp.maximum(rows.centre - centre - damping, half - real)
    right = jnp.minimum(rows.centre - centre, real - half)
    squares = [_square_of_height(real, half, rows.imaginary, distance) for distance in (left, right)]
    height = jnp.sqrt(jnp.max(jnp.maximum(*squares)))
    return Ellipse(centre, real, height * (1.0 + 16 * float(np.finfo(half.dtype).eps)))


def _square_of_height(real: Array, half: Array, height: Array, distance: Array) -> Array:
    """`b²` of the least ellipse of half-length `real` around one with semi-axes `half, height` at a distance.

    The support functions demand `b² ≥ (distance u + sqrt(half² u² + height²))² - real² u²` for all `u = cot φ`; with
    `u = (height / half) sinh η` the maximum is `height² (1 + γ - sqrt(γ² - δ²))` where `δ half = distance` and
    `2 γ half² = real² - distance² - half²`.
    """
    safe = jnp.where(half > 0, half, 1.0)
    delta = jnp.abs(distance) / safe
    gamma = jnp.maximum(((real / safe) ** 2 - delta**2 - 1.0) / 2.0, delta)
    root = jnp.sqrt(jnp.maximum(gamma**2 - delta**2, 0.0))
    quotient = delta**2 / jnp.where(gamma + root > 0, gamma + root, 1.0)  # γ - root without cancellation
    return jnp.where(height > 0, height**2 * (1.0 + quotient), 0.0)
