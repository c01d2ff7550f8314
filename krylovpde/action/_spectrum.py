"""The interval that holds a spectrum, and the map of it to [-1, 1]."""

import functools as ft

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jax import lax
from jaxtyping import Array, PyTree, Real

from ..krylov._space import add, scale
from ..operator import imaginary_interval, is_self_adjoint, spectral_bound, spectral_interval, times_i


@ft.singledispatch
def like_of(operator: lx.AbstractLinearOperator) -> lx.AbstractLinearOperator:
    """An operator with the same spectrum whose properties are known: as a rule, the operator itself."""
    return operator


class Spectrum(eqx.Module):
    """An interval `[lower, upper]` that holds the spectrum, on the real or (`sign` -1) on the imaginary axis.

    `symmetric`: on the imaginary axis, the centre is zero by construction, as for every real operator: then the
    coefficients of real functions are real.
    """

    lower: Real[Array, ""]
    upper: Real[Array, ""]
    sign: int = eqx.field(static=True)
    symmetric: bool = eqx.field(static=True, default=False)

    @property
    def width(self) -> Array:
        """Half its length, positive also for an operator that is zero."""
        half = 0.5 * (self.upper - self.lower)
        return jnp.where(half > 0, half, 1.0)

    @property
    def centre(self) -> Array:
        return 0.5 * (self.upper + self.lower)

    @property
    def radius(self) -> Array:
        return jnp.maximum(jnp.abs(self.lower), jnp.abs(self.upper))

    def shifted(self, image: PyTree[Array], x: PyTree[Array], factor: float = 1.0) -> PyTree[Array]:
        """`factor · Z x` from `image = A x`, with `Z = (A - centre) / width`, or `(A - i centre) / width`."""
        scaled = scale(factor / self.width, image)
        if self.symmetric:
            return scaled
        moved = scale(-factor * self.centre / self.width, x)
        return add(scaled, moved if self.sign == 1 else jtu.tree_map(times_i, moved))

    def at_angles(self, angles: np.ndarray) -> Array:
        """The points that `cos θ` is mapped to, on the imaginary axis for `sign` -1.

        As `upper - (upper - lower) sin²(θ/2)`: exact to their own rounding where `upper` is zero.
        """
        dtype = self.upper.dtype
        if self.sign == -1:
            cosines = self.width * jnp.asarray(np.cos(angles), dtype)
            cosines = cosines if self.symmetric else self.centre + cosines
            return lax.complex(jnp.zeros_like(cosines), cosines)
        return self.upper - (self.upper - self.lower) * jnp.asarray(np.sin(angles / 2) ** 2, dtype)


def spectrum_of(operator: lx.AbstractLinearOperator, dtype) -> Spectrum:
    """From Gershgorin's interval where there is one, else from the bound; a constant to every derivative."""
    model = like_of(operator)
    if not is_self_adjoint(model):
        return _imaginary_spectrum(model, dtype)
    interval = spectral_interval(model)
    if interval is None:
        bound = jnp.asarray(spectral_bound(model))
        zero = jnp.zeros_like(bound)
        interval = (
            zero if lx.is_positive_semidefinite(model) else -bound,
            zero if lx.is_negative_semidefinite(model) else bound,
        )
    lower, upper = (lax.stop_gradient(end.astype(dtype)) for end in interval)
    # An end that is zero up to rounding is zero: square roots of the points near it keep their digits.
    tiny = 100 * jnp.finfo(dtype).eps * jnp.maximum(jnp.abs(lower), jnp.abs(upper))
    return Spectrum(jnp.where(jnp.abs(lower) < tiny, 0.0, lower), jnp.where(jnp.abs(upper) < tiny, 0.0, upper), 1)


def _imaginary_spectrum(model: lx.AbstractLinearOperator, dtype) -> Spectrum:
    interval = imaginary_interval(model)
    if interval is None:
        bound = lax.stop_gradient(jnp.asarray(spectral_bound(model)).astype(dtype))
        return Spectrum(-bound, bound, -1, symmetric=True)
    lower, upper = (lax.stop_gradient(end.astype(dtype)) for end in interval)
    return Spectrum(lower, upper, -1)
