r"""Steps of an integrator from output time to output time, under the control of their error.

Jumps end a step as output times do; an integrator sees each step from within, so nothing is evaluated across one.

The loop over attempts is a scan of checkpointed scans whose attempts are skipped once the time is reached: √max_steps
states are stored twice, both modes of differentiation pass through it as they are, and the gradient does not depend on
where the checkpoints lie. Step sizes are constants to every derivative; the last step, which ends at an output time,
carries the derivative with respect to that.
"""

import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax
from jaxtyping import Array, Bool, Int, PyTree, Real

from .._solution import RESULTS
from ..action import select
from ..action._batch import batch_any
from ..krylov._space import norm
from ..operator import weight
from ._cuts import Cuts
from ._integrator import AbstractIntegrator, Flow, Step

# The next step is this part of the one for which the error would be as large as allowed, within these factors.
_SAFETY, _LEAST, _MOST = 0.9, 0.2, 5.0
# A remainder up to this part of a step is taken with it.
_STRETCH = 1.0 + 1e-6


class Control(eqx.Module):
    """What a step may err: `atol + rtol max(‖u‖, ‖u⁺‖)` in the operator's norm, or its share `h / duration` of that.

    The share, so that the errors of all steps add up to the tolerance, where the estimate is that of the result: with
    the whole tolerance for each step the error of a method of order two was 35 times the tolerance after 287 steps.
    Where the estimate is that of an embedded result of lower order, the whole keeps the error of the better one in
    proportion to the tolerance (Hairer, Nørsett and Wanner, *Solving Ordinary Differential Equations I*, II.4).
    """

    duration: Real[Array, ""]
    rtol: float = eqx.field(static=True)
    atol: float = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)


class Progress(eqx.Module):
    """Where an integration stands.

    * `step_size`: of the next attempt.   * `error`: relative; the sum over the steps, the largest one where
        the result is better than its estimate.
    """

    time: Real[Array, ""]
    state: PyTree[Array]
    step_size: Real[Array, ""]
    accepted: Int[Array, ""]
    applications: Int[Array, ""]
    dimension: Int[Array, ""]
    error: Real[Array, ""]
    result: RESULTS


def integrate(
    integrator: AbstractIntegrator,
    flow: Flow,
    control: Control,
    cuts: Cuts,
    start: Array,
    initial: PyTree[Array],
    times: Array,
) -> tuple[PyTree[Array], Progress]:
    """The states at all times (not decreasing, none before `start`), NaN where not reached, and the end."""
    zero = jnp.zeros((), jnp.int32)
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jtu.tree_leaves(initial)]))
    first = Progress(
        time=start,
        state=initial,
        step_size=_first_step(integrator, flow, control, start, initial, times[-1]),
        accepted=zero,
        applications=zero,
        dimension=zero,
        error=jnp.zeros((), times.dtype),
        result=RESULTS.where(finite, RESULTS.successful, RESULTS.nonfinite),
    )

    def reach(progress: Progress, time: Array) -> tuple[Progress, PyTree[Array]]:
        progress = _advance(integrator, flow, control, cuts, progress, time)
        good = progress.result == RESULTS.successful
        return progress, jtu.tree_map(lambda leaf: jnp.where(good, leaf, jnp.nan), progress.state)

    end, outputs = lax.scan(reach, first, times)
    return outputs, end


def _advance(
    integrator: AbstractIntegrator, flow: Flow, control: Control, cuts: Cuts, progress: Progress, target: Array
) -> Progress:
    """To one output time."""
    # A step that a jump cut short is not the user's to count.
    side = math.isqrt(control.max_steps + cuts.breaks.size - 1) + 1
    attempt = functools.partial(_attempt, integrator, flow, control, cuts, target)

    def working(progress: Progress) -> Bool[Array, ""]:
        return batch_any(_is_working(progress, target))

    def one(progress: Progress, _: None) -> tuple[Progress, None]:
        return lax.cond(working(progress), jax.checkpoint(attempt), lambda progress: progress, progress), None

    def many(progress: Progress) -> Progress:
        return lax.scan(one, progress, None, length=side)[0]

    def stretch(progress: Progress, _: None) -> tuple[Progress, None]:
        return lax.cond(working(progress), jax.checkpoint(many), lambda progress: progress, progress), None

    progress = lax.scan(stretch, progress, None, length=side)[0]
    late = (progress.result == RESULTS.successful) & (progress.time < target)
    return eqx.tree_at(lambda p: p.result, progress, RESULTS.where(late, RESULTS.max_steps_reached, progress.result))


def _is_working(progress: Progress, target: Array) -> Bool[Array, ""]:
    return (progress.time < target) & (progress.result == RESULTS.successful)


def _attempt(
    integrator: AbstractIntegrator, flow: Flow, control: Control, cuts: Cuts, target: Array, progress: Progress
) -> Progress:
    """One step, kept if its error is allowed."""
    active = _is_working(progress, target)
    goal = cuts.next(progress.time, target)
    left = goal - progress.time
    fixed = integrator.step_size is not None
    wanted = progress.step_size
    last = left <= wanted * _STRETCH
    h = jnp.where(active, jnp.where(last, left, lax.stop_gradient(wanted)), 0.0)
    end = jnp.where(last, goal, progress.time + h)
    if cuts.breaks.size > 0:
        flow = flow.within(progress.time, end)
    step = integrator.step(flow, progress.time, progress.state, h)
    share = jnp.ones_like(h) if integrator.extrapolates else h / jnp.where(control.duration > 0, control.duration, 1.0)
    ratio, relative = lax.stop_gradient(_judge(flow, control, progress.state, step, share))
    accepted = active & ((ratio <= 1.0) | (fixed & jnp.isfinite(ratio)))
    power = integrator.error_order - (0 if integrator.extrapolates else 1)
    factor = jnp.clip(_SAFETY * jnp.maximum(ratio, 1e-12) ** (-1.0 / power), _LEAST, _MOST)
    factor = jnp.where(jnp.isfinite(ratio), factor, _LEAST)
    # A step that was cut short says nothing against the one that was wanted.
    next_size = jnp.where(accepted & last, jnp.maximum(wanted, h * factor), h * factor)
    next_size = wanted if fixed else jnp.where(active, lax.stop_gradient(next_size), wanted)
    stuck = active & ~accepted & ((progress.time + next_size == progress.time) | fixed)
    result = RESULTS.where(stuck, RESULTS.where(fixed, RESULTS.nonfinite, RESULTS.step_underflow), progress.result)
    relative = jnp.where(accepted, relative, 0.0)
    total_error = jnp.maximum(progress.error, relative) if integrator.extrapolates else progress.error + relative
    return Progress(
        time=jnp.where(accepted, end, progress.time),
        state=select(accepted, step.state, progress.state),
        step_size=next_size,
        accepted=progress.accepted + accepted.astype(jnp.int32),
        applications=progress.applications + jnp.where(active, step.applications, 0),
        dimension=jnp.maximum(progress.dimension, step.dimension),
        error=total_error,
        result=result,
    )


def _judge(flow: Flow, control: Control, before: PyTree[Array], step: Step, share: Array) -> tuple[Array, Array]:
    """The estimated error over the allowed one (infinite where a linear flow failed), and relative to the state."""
    inner_product = weight(flow.equation.operator())
    error, old, new = (norm(x, inner_product) for x in (step.error, before, step.state))
    size = jnp.maximum(old, new)
    allowed = share * (control.atol + control.rtol * size)
    ratio = error / jnp.where(allowed > 0, allowed, jnp.finfo(error.dtype).tiny)
    good = jnp.isfinite(ratio) & (step.result == RESULTS.successful)
    return jnp.where(good, ratio, jnp.inf), error / jnp.where(size > 0, size, 1.0)


def _first_step(
    integrator: AbstractIntegrator, flow: Flow, control: Control, start: Array, initial: PyTree[Array], end: Array
) -> Array:
    """As long as the rest of the equation, alone, would change the state by a part that is of the tolerance's order."""
    if integrator.step_size is not None:
        return integrator.step_size.astype(start.dtype)
    inner_product = weight(flow.equation.operator())
    size, rate = norm(initial, inner_product), integrator.rate(flow, start, initial, end)
    part = control.rtol ** (1.0 / integrator.error_order)
    guess = part * jnp.where(size > 0, size, 1.0) / jnp.where(rate > 0, rate, 1.0)
    whole = jnp.maximum(end - start, 0.0)
    return lax.stop_gradient(jnp.where(rate > 0, jnp.minimum(guess.astype(start.dtype), whole), whole))
