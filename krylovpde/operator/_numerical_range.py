"""An ellipse around the numerical range of an operator, where one is known."""

import functools as ft

import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax import lax

from ._annotate import AnnotatedOperator
from ._base import TransposedOperator, is_real_structure
from ._ellipse import Ellipse, Rectangle
from ._flux import FluxOperator
from ._flux_range import flux_ellipse
from ._properties import common_weight, is_self_adjoint, is_skew_adjoint, spectral_bound
from ._spectral_interval import spectral_interval

# Of a sum, a part without extent along the real axis counts as having this share of its height.
_LEAST_REAL = 0.01


@ft.singledispatch
def numerical_range(operator: lx.AbstractLinearOperator) -> Ellipse | Rectangle | None:
    """An ellipse that holds the numerical range of a real operator in its weight, or `None` where none is known.

    For damped and absorbed waves a rectangle around the spectrum; which ellipse is best depends on the duration.

    What flow alone does in single cells is left out of its right end. Where something enters through a `Neumann` wall,
    or piles up at a `TotalFlux` wall or in a sink, the numerical range reaches by up to `(P²/4) κ/h²` into the right
    half plane, and `exp(tz)` there is astronomic. But the sum norm or the maximum norm does not grow, and the Faber
    polynomials of the ellipse without it grow like `√k`, not exponentially (measured: 7, 10, 14, 22 for an inflow with
    Péclet numbers 0.5, 1, 2, 5 into 200 cells; 1.3 for velocities at random in each cell).

    **Arguments:**

    - `operator`: a linear operator.

    **Returns:**

    For stencils with transport the ellipse of this file's head; for self-adjoint operators with a known interval and
    skew-adjoint ones with a known bound a degenerate one; scaled and shifted ones follow, sums in one inner product.
    """
    return _on_an_axis(operator)


def _on_an_axis(operator: lx.AbstractLinearOperator) -> Ellipse | None:
    if not is_real_structure(operator.in_structure(), operator.out_structure()):
        return None
    interval = spectral_interval(operator) if is_self_adjoint(operator) else None
    if interval is not None:
        lower, upper = map(lax.stop_gradient, interval)
        return Ellipse(0.5 * (lower + upper), 0.5 * (upper - lower), jnp.zeros_like(upper))
    bound = spectral_bound(operator) if is_skew_adjoint(operator) else None
    if bound is None:
        return None
    bound = lax.stop_gradient(jnp.asarray(bound))
    return Ellipse(jnp.zeros_like(bound), jnp.zeros_like(bound), bound)


@numerical_range.register(FluxOperator)
def _(operator):
    if not operator.has_transport or not is_real_structure(operator.in_structure()):
        return _on_an_axis(operator)
    ellipse = flux_ellipse(operator)
    return Ellipse(*map(lax.stop_gradient, (ellipse.centre, ellipse.real, ellipse.imaginary)))


@numerical_range.register(AnnotatedOperator)
def _(operator):
    # Told structure counts by itself; the range of the original is one in its own weight.
    told = _on_an_axis(operator)
    if told is not None or operator.told_weight is not None:
        return told
    return numerical_range(operator.operator)


@numerical_range.register(TransposedOperator)
@numerical_range.register(lx.TaggedLinearOperator)
def _(operator):
    return numerical_range(operator.operator)


@numerical_range.register(lx.NegLinearOperator)
def _(operator):
    return _scaled(numerical_range(operator.operator), -1.0)


@numerical_range.register(lx.MulLinearOperator)
def _(operator):
    return _scaled(numerical_range(operator.operator), operator.scalar)


@numerical_range.register(lx.DivLinearOperator)
def _(operator):
    return _scaled(numerical_range(operator.operator), 1.0 / operator.scalar)


def _scaled(ellipse: Ellipse | Rectangle | None, scalar) -> Ellipse | None:
    if not isinstance(ellipse, Ellipse) or jnp.iscomplexobj(scalar):
        return None
    factor = lax.stop_gradient(jnp.asarray(scalar)).astype(ellipse.centre.dtype)
    return Ellipse(factor * ellipse.centre, jnp.abs(factor) * ellipse.real, jnp.abs(factor) * ellipse.imaginary)


@numerical_range.register(lx.AddLinearOperator)
def _(operator):
    # The support functions of the parts, each `sqrt(cos² φ a² + sin² φ b²)`, add up; by Cauchy and Schwarz to at most
    # that of an ellipse, whatever the shares w: a² = Σ w Σ a²/w.
    parts = (operator.operator1, operator.operator2)
    if not common_weight(*parts)[0]:
        return None
    first, second = map(numerical_range, parts)
    if not isinstance(first, Ellipse) or not isinstance(second, Ellipse):
        return None
    dtype = np.result_type(first.centre.dtype, second.centre.dtype)
    centres, reals, heights = (
        jnp.stack([getattr(part, name).astype(dtype) for part in (first, second)])
        for name in ("centre", "real", "imaginary")
    )
    shares = jnp.maximum(reals, _LEAST_REAL * heights)
    divisors = jnp.where(shares > 0, shares, 1.0)
    real, height = (jnp.sqrt(jnp.sum(shares) * jnp.sum(axes**2 / divisors)) for axes in (reals, heights))
    return Ellipse(jnp.sum(centres), real, height)
