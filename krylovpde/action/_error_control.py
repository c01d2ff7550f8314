"""How long a step may be, and how large its Krylov spaces have to be: estimated against allowed errors."""

import functools
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
from jax import lax
from jaxtyping import Array, Bool, PyTree, Real

from .._custom_types import Weight
from ..operator import is_self_adjoint, spectral_interval
from ._base import AbstractKrylov
from ._batch import batch_any
from ._problem import Settings
from ._reduction import Reduction

_MAX_TRIES = 60
# A step is made more accurate by at most this factor for the sake of later growth: a solution that grows as fast as
# anything can, the usual case, needs none of it. What remains is told by the error estimate.
_MOST_LATER_GROWTH = 1e3


def growth_rate(operator: lx.AbstractLinearOperator) -> Array | None:
    """The upper end of the spectrum of a self-adjoint operator, where that is known: no state grows faster.

    The Krylov space of data that lie far from where a state grows never meets that growth, and its Ritz values say
    nothing about it.
    """
    interval = spectral_interval(operator) if is_self_adjoint(operator) else None
    return None if interval is None else lax.stop_gradient(interval[1])


class Horizon(eqx.Module):
    """The time around a step: what decides how large its error may be.

    * `total`: the last time on this side of 0.   * `left`: from the start of this step to the end of the march.
    * `rate`: the operator's growth rate, or None where unknown.
    * `first`: the duration to the first output time: the shortest that the step's space must serve.
    """

    total: Real[Array, ""]
    left: Real[Array, ""]
    rate: Real[Array, ""] | None
    first: Real[Array, ""]

    def share(self, t: Array) -> Array:
        """The part of the tolerance that a step of length t may use."""
        return jnp.where(self.total == 0, 1.0, jnp.abs(t) / jnp.where(self.total == 0, 1.0, jnp.abs(self.total)))

    def growth(self, order: int, t: Array) -> Array:
        """By how much anything can grow in time t. Backwards in time, diffusion's own growth is left to the space."""
        if self.rate is None:
            return jnp.ones_like(t)
        rate = jnp.maximum(self.rate.astype(t.dtype), 0.0)
        exponent = jnp.maximum(t, 0.0) * rate if order == 1 else jnp.abs(t) * jnp.sqrt(rate)
        return jnp.exp(exponent) if order == 1 else jnp.cosh(exponent)

    def later_growth(self, order: int, t: Array) -> Array:
        """By how much anything can grow after a step of length t, as far as a more accurate step is of help."""
        rest = jnp.sign(t) * jnp.maximum(jnp.abs(self.left) - jnp.abs(t), 0.0)
        return jnp.minimum(self.growth(order, rest), _MOST_LATER_GROWTH)


def local_error(
    method: AbstractKrylov, order: int, table: Array, growth: Array, reduction: Reduction
) -> tuple[Array, Array]:
    """Error estimate and size of each component `j < q`, from the coefficients of `F_(l-q+1) … F_(l+q)`.

    The defect of a Krylov approximation from component l is `h v_(m+1) e_mᵀ F_l(s, H) e_1 β` in the highest
    derivative; integrated against the flow it is of size `β h |e_mᵀ F_(l+q-j)(t, H) e_1|` in component j. For q = 1
    this is the φ_1 form, for q = 2 the forms of the wave equation (Hochbruck, Lubich 1997, and NUMERICS). The larger
    of the last two entries guards against the zero of an oscillating entry, the growth against non-normality.
    """
    last = jnp.maximum(reduction.dimension - 1, 0)
    previous = jnp.maximum(last - 1, 0)
    errors, sizes = [], []
    for component in range(order):
        entries = method.tail(order, component, table, reduction)
        tail = jnp.maximum(jnp.abs(entries[last]), jnp.abs(entries[previous]))
        errors.append(reduction.coupling * tail * growth)
        sizes.append(jnp.linalg.norm(table[order - 1 - component]))
    return jnp.stack(errors), jnp.stack(sizes)


def assess(
    settings: Settings,
    order: int,
    level: int,
    t: Array,
    count: int,
    horizon: Horizon,
    scales: Array,
    reduction: Reduction,
) -> tuple[Array, Array]:
    """The largest ratio of estimated error to allowed error at time t, and the relative error."""
    share = horizon.share(t) / count
    table, growth = settings.krylov.coefficients(order, level - order + 1, level + order, t, reduction)
    growth = jnp.maximum(growth, horizon.growth(order, t).astype(growth.dtype))
    errors, sizes = local_error(settings.krylov, order, table, growth, reduction)
    reference = jnp.maximum(sizes, scales)
    allowed = share * (settings.atol + settings.rtol * reference)
    # Neither a NaN estimate nor one from functions that have lost their digits (infinite growth) may pass for zero.
    positive = ~(errors <= 0) | ~jnp.isfinite(growth)
    ratios = horizon.later_growth(order, t).astype(errors.dtype) * errors
    ratios = jnp.where(positive, ratios / jnp.where(allowed > 0, allowed, jnp.finfo(errors.dtype).tiny), 0.0)
    relative = jnp.where(positive, errors / jnp.where(reference > 0, reference, 1.0), 0.0)
    ratio = jnp.max(jnp.where(jnp.isfinite(ratios) & jnp.isfinite(growth), ratios, jnp.inf))
    return ratio, jnp.max(relative)


def build(
    settings: Settings,
    operator: lx.AbstractLinearOperator,
    weight: Weight,
    order: int,
    starts: tuple[PyTree[Array], ...],
    levels: tuple[int, ...],
    goal: Array,
    horizon: Horizon,
    scales: Array,
) -> tuple[list[Reduction], Array, Array]:
    """Spaces from `starts` (components `levels` of the state), the step that all of them allow, its relative error.

    The error allowed in a step is its share of the tolerance, split among the starts.
    """
    count = len(starts)

    def judge(level: int, t: Array, reduction: Reduction) -> tuple[Array, Array]:
        return assess(settings, order, level, t, count, horizon, scales, reduction)

    served = (goal,) if settings.krylov.window is None else (goal, horizon.first)

    def accept(level: int, trial: Reduction) -> Bool[Array, ""]:
        ratios = [judge(level, duration, trial)[0] for duration in served]
        return functools.reduce(jnp.maximum, ratios) <= 1.0

    reductions, step, error = [], goal, jnp.zeros_like(goal)
    for start, level in zip(starts, levels, strict=True):
        reduction = settings.krylov.reduce(
            operator, weight, start, goal, settings.rtol, functools.partial(accept, level)
        )
        reductions.append(reduction)
        longest = settings.krylov.longest(order, reduction)
        step, relative = _longest_step(functools.partial(judge, level), step, longest, reduction)
        error = error + relative
    return reductions, step, error


def total_error(
    settings: Settings,
    order: int,
    horizon: Horizon,
    spaces: list[Reduction],
    step: Array,
    scales: Array,
    before: Array,
    error: Array,
) -> Array:
    """The relative error after a step: what was there before may have grown, truncation and rounding are added.

    `before` is relative to `scales`, the sizes at the start of the step.
    """
    unit = _rounding(spaces, error)
    if horizon.rate is None:
        return before + unit + error
    size = scales
    if order == 1 and len(spaces) == 1:
        (space,) = spaces
        size = jnp.maximum(scales, jnp.linalg.norm(settings.krylov.coefficients(order, 0, 0, step, space)[0]))
    shrunk = jnp.max(scales / jnp.where(size > 0, size, 1.0))
    growth = jnp.maximum(horizon.growth(order, step) * shrunk, 1.0)
    return (before + unit) * jnp.minimum(growth, jnp.finfo(growth.dtype).max) + error


def _rounding(spaces: list[Reduction], like: Array) -> Array:
    """What rounding adds to the relative error of a step: one unit for each application in a row.

    Measured in single precision: 1.7e-5 for a wave of 170 applications, 2e-5 for diffusion of 200.
    """
    dimension = functools.reduce(jnp.maximum, [space.dimension for space in spaces])
    return jnp.finfo(like.dtype).eps * dimension.astype(like.dtype)


def _longest_step(
    judge: Callable[[Array, Reduction], tuple[Array, Array]], step: Array, longest: Array, reduction: Reduction
) -> tuple[Array, Array]:
    """The longest step, at most `step`, that the estimate accepts, and its relative error.

    The error of a step of length t goes as t to the power of the dimension at first; half of that is used, because the
    power law sets in late. After a failure at full length nothing longer than `longest` is tried.
    """
    exponent = 2.0 / jnp.maximum(reduction.dimension, 2).astype(step.dtype)

    def shorten(carry):
        tries, trial, ratio, _ = carry
        factor = jnp.clip(jnp.where(jnp.isfinite(ratio), 0.9 * ratio**-exponent, 0.3), 0.1, 0.9)
        shorter = jnp.sign(trial) * jnp.minimum(jnp.abs(trial) * factor, longest)
        trial = jnp.where((tries > 0) & (ratio > 1.0), shorter, trial)
        return (tries + 1, trial, *judge(trial, reduction))

    def rejected(carry) -> Bool[Array, ""]:
        tries, _, ratio, _ = carry
        return batch_any(ratio > 1.0) & (tries < _MAX_TRIES)

    infinite = jnp.full_like(step, jnp.inf)
    _, trial, _, relative = lax.while_loop(rejected, shorten, (jnp.zeros((), jnp.int32), step, infinite, infinite))
    return trial, relative
