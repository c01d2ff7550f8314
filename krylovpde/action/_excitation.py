"""What a start vector is to a solution: released at time 0, or driven by a signal; as functions of the spectrum."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Real

from ..equation import Pieces
from ._family import closed_forms
from ._phase import cos_sin
from ._spectrum import Spectrum

# Of the frequencies that the recurrence resolves, this share is taken for the slowest that data may have.
_SMOOTHEST = 1e-3
# The response to a signal is expected to be no smaller than this share of the largest response of any mode.
_WEAKEST = 1e-2


class Released(eqx.Module):
    """A start in component `level` of the state: component j of the solution is `F_(level-j)(t, A)`."""

    level: int = eqx.field(static=True)

    def sizes(
        self, order: int, t: Array, spectrum: Spectrum, rayleigh: Array, largest: Array, chosen: np.ndarray
    ) -> Real[Array, " components"]:
        """The size of the result that a tolerance refers to, for a start of length one.

        Component `level` of the result is compared with the start itself (with its growth, by Jensen's inequality at
        least that of the Rayleigh quotient); the others with the smallest that data on the grid would give.
        """
        del largest
        rayleigh = jnp.where(jnp.isfinite(rayleigh), rayleigh, 0.0)
        grown = jnp.maximum(rayleigh * t, 0.0)
        t = jnp.abs(t)
        if order == 2:
            grown = t * jnp.sqrt(jnp.maximum(rayleigh, 0.0))
        limit = 0.9 * math.log(float(jnp.finfo(t.dtype).max))
        own = jnp.exp(jnp.minimum(grown, limit)) * (1.0 if order == 1 else 0.5) + (0.0 if order == 1 else 0.5)
        fastest = spectrum.radius ** (1.0 / order)
        shortest = jnp.minimum(t, 1.0 / jnp.where(fastest > 0, fastest, 1.0))
        slowest = jnp.maximum(jnp.abs(rayleigh) ** (1.0 / order), _SMOOTHEST * fastest)
        rows = []
        for component in chosen:
            member = self.level - int(component)
            if member == 0:
                rows.append(own)
            elif member > 0:
                rows.append(shortest**member / math.factorial(member))
            else:
                rows.append(slowest * jnp.minimum(1.0, t * slowest))
        return jnp.stack(rows)

    @property
    def steps(self) -> int:
        """How many operations in a row have rounded the values."""
        return 1

    @property
    def faintest(self) -> float:
        """In an account of errors the result is taken for at least this share of the largest response of any mode."""
        return _SMOOTHEST


class Forced(eqx.Module):
    """A profile that a signal drives, from rest at time 0."""

    signal: Pieces

    def sizes(
        self, order: int, t: Array, spectrum: Spectrum, rayleigh: Array, largest: Array, chosen: np.ndarray
    ) -> Real[Array, " components"]:
        """The size of the result that a tolerance refers to: a share of the largest response of any mode."""
        del order, t, spectrum, rayleigh, chosen
        return self.size(largest)

    def size(self, largest: Array) -> Array:
        """The same for one component, or for all."""
        return _WEAKEST * largest

    @property
    def steps(self) -> int:
        """How many operations in a row have rounded the values."""
        return self.signal.coefficients.shape[0]

    @property
    def faintest(self) -> float:
        """In an account of errors the result is taken for at least this share of the largest response of any mode."""
        return 10.0 * _WEAKEST


def closed_members(order: int, t: Array, spectrum: Spectrum, nodes: np.ndarray) -> list[Array] | None:
    """The first members of the family at the nodes, where they are known better than from `t^q z`."""
    if spectrum.sign == -1:
        cosine, sine = cos_sin((t * spectrum.width)[None], np.cos(nodes))
        oscillation = lax.complex(cosine[0], sine[0])
        if spectrum.symmetric:
            return [oscillation]
        turn = t * spectrum.centre
        return [lax.complex(jnp.cos(turn), jnp.sin(turn)) * oscillation]
    return _oscillation(t, spectrum, nodes) if order == 2 else None


def _oscillation(t: Array, spectrum: Spectrum, nodes: np.ndarray) -> list[Array]:
    """`cos(ωt)` and `sinc(ωt)` at the nodes: where the spectrum ends at zero, from phases without rounding."""
    sines = np.sin(nodes / 2)
    radians = t * jnp.sqrt(jnp.maximum(-spectrum.lower, 0.0))
    (cosine,), (sine,) = cos_sin(radians[None], sines)
    phase = radians * jnp.asarray(sines, t.dtype)
    tiny = jnp.abs(phase) < 1e-3
    sinc = jnp.where(tiny, 1.0 - phase**2 / 6.0, sine / jnp.where(tiny, 1.0, phase))
    general = closed_forms(2, spectrum.at_angles(nodes) * t**2)
    simple = (spectrum.upper == 0) & (spectrum.lower <= 0)
    return [jnp.where(simple, own, other) for own, other in zip((cosine, sinc), general, strict=True)]
