"""Marching with Krylov spaces of a fixed dimension and equal sub-steps, all of it open to JAX's reverse mode."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax
from jaxtyping import Array, PyTree

from .._solution import RESULTS
from ..action import Lanczos, Problem, Schedule, Settings, contour_states, select, shift_chain
from ..action._dense import dense_states
from ..action._family import chain_generator, natural_rate, start_index
from ..krylov import arnoldi, lanczos
from ..krylov._arnoldi import arnoldi_start, arnoldi_step
from ..krylov._lanczos import lanczos_start, lanczos_step
from ..krylov._space import add, combine, norm
from ..operator import is_self_adjoint
from ._base import Report


class FixedSteps(eqx.Module):
    """`num_steps` equal sub-steps between output times; `unrolled`: JAX differentiates the iteration itself."""

    num_steps: int = eqx.field(static=True)
    unrolled: bool = eqx.field(static=True)

    def __check_init__(self):
        if self.num_steps < 1:
            message = f"`num_steps` of an adjoint must be at least 1, but is {self.num_steps}."
            raise ValueError(message)


def dense_outputs(problem: Problem, state: tuple[PyTree[Array], ...], times: Array) -> tuple[PyTree[Array], Report]:
    """The outputs from dense exponentials."""
    states = dense_states(problem.operator, problem.order, state, times)
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jtu.tree_leaves(states)]))
    size = sum(leaf.size for leaf in jtu.tree_leaves(state[0]))
    report = Report(
        applications=jnp.asarray(size, jnp.int32),
        dimension=jnp.asarray(size, jnp.int32),
        steps=jnp.ones((), jnp.int32),
        error=jnp.zeros_like(times[0]),
        time=times[jnp.argmax(jnp.abs(times))],
        result=RESULTS.where(finite, RESULTS.successful, RESULTS.nonfinite),
    )
    return _observed(problem, states), report


def contour_outputs(
    settings: Settings, problem: Problem, state: tuple[PyTree[Array], ...], times: Array
) -> tuple[PyTree[Array], Report]:
    """The outputs from the inverse Laplace transform."""
    windows = contour_states(settings, problem, state, times)
    reached = jnp.all(times >= 0)
    result = RESULTS.where(windows.complete, RESULTS.successful, RESULTS.max_steps_reached)
    report = Report(
        applications=windows.count * windows.poles,
        dimension=jnp.asarray(windows.poles, jnp.int32),
        steps=windows.count,
        error=windows.error,
        time=lax.stop_gradient(jnp.max(times)),
        result=RESULTS.where(reached, result, RESULTS.negative_duration),
    )
    return _observed(problem, (windows.states,)), report


def fixed_outputs(
    steps: FixedSteps, settings: Settings, problem: Problem, state: tuple[PyTree[Array], ...], times: Array
) -> tuple[PyTree[Array], Report]:
    """The outputs from fixed Krylov spaces; fails where the error estimate exceeds the tolerance."""
    schedule = Schedule(times)
    scales = jnp.stack([norm(component, problem.weight) for component in state[: problem.order]])

    def advance(carry, _):
        current, length, error = carry
        moved, relative = _fixed_step(steps, settings, problem, current, length, scales)
        return (moved, length, error + relative), None

    def to_output(carry, time):
        current, previous, error = carry
        turning = (previous < 0) & (time >= 0)
        current = select(turning, state, current)
        length = (time - jnp.where(turning, 0.0, previous)) / steps.num_steps
        (current, _, error), _ = lax.scan(advance, (current, length, error), None, length=steps.num_steps)
        return (current, time, error), current[: problem.order]

    zero = jnp.zeros_like(times[0])
    (_, last, error), states = lax.scan(to_output, (state, zero, zero), schedule.times)
    states = jtu.tree_map(lambda leaf: leaf[schedule.inverse], states)
    dimension = settings.krylov.capacity(problem.operator)
    error = lax.stop_gradient(error)
    result = RESULTS.where(error <= settings.rtol, RESULTS.successful, RESULTS.tolerance_not_reached)
    count = steps.num_steps * times.size
    report = Report(
        applications=jnp.asarray(count * dimension * len(state), jnp.int32),
        dimension=jnp.asarray(dimension, jnp.int32),
        steps=jnp.asarray(count, jnp.int32),
        error=error,
        time=lax.stop_gradient(last),
        result=RESULTS.where(jnp.isfinite(error), result, RESULTS.nonfinite),
    )
    return _observed(problem, states), report


def _observed(problem: Problem, states: tuple[PyTree[Array], ...]) -> PyTree[Array]:
    if problem.observation is None:
        return states
    return jax.vmap(problem.observation.operator.mv)(states[problem.observation.component])


def _fixed_step(steps: FixedSteps, settings: Settings, problem: Problem, state, length: Array, scales: Array):
    """One sub-step, and its error estimate relative to the sizes of the components."""
    order = problem.order
    moved: list[Any] = [None] * order
    errors = jnp.zeros_like(scales)
    for level, start in enumerate(state):
        basis, matrix, coupling, size = _factorise(steps, settings, problem, start)
        table = _table(order, level + order, length, matrix) * size.astype(matrix.dtype)
        for component in range(order):
            member = level - component
            row = matrix @ table[order + member] if member < 0 else table[member]
            part = combine(basis, row)
            moved[component] = part if moved[component] is None else add(moved[component], part)
            tail = jnp.max(jnp.abs(table[level + order - component, -2:]))
            errors = errors.at[component].add(coupling * tail)
    sizes = jnp.stack([norm(component, problem.weight) for component in moved])
    reference = lax.stop_gradient(jnp.maximum(sizes, scales))
    relative = jnp.max(lax.stop_gradient(errors) / jnp.where(reference > 0, reference, 1.0))
    return (*moved, *shift_chain(state[order:], length)), relative


def _factorise(steps: FixedSteps, settings: Settings, problem: Problem, start: PyTree[Array]):
    """Basis, small matrix, length of the residual, length of the start."""
    operator, weight = problem.operator, problem.weight
    dimension = settings.krylov.capacity(operator)
    recurrence = isinstance(settings.method, Lanczos)
    if steps.unrolled and recurrence:
        sign = 1 if is_self_adjoint(operator) else -1
        final = _unroll(lanczos_step, problem, lanczos_start(start, weight, dimension, sign=sign), dimension)
        return final.basis, final.tridiagonal, final.residual_norm, final.lengths[0]
    if steps.unrolled:
        final = _unroll(arnoldi_step, problem, arnoldi_start(start, weight, dimension), dimension)
        return final.basis, final.hessenberg, final.residual_norm, final.lengths[0]
    if recurrence and is_self_adjoint(operator):
        factors = lanczos(operator, start, dimension, reorthogonalise=False)
        off = factors.offdiagonal
        matrix = jnp.diag(factors.diagonal) + jnp.diag(off, 1) + jnp.diag(off, -1)
    else:
        # A skew-adjoint operator has no Lanczos adjoint of its own; Arnoldi's is exact for it, too.
        factors = arnoldi(operator, start, dimension)
        matrix = factors.matrix
    return factors.basis, matrix, norm(factors.residual, weight), factors.norm


def _unroll(step: Any, problem: Problem, space: Any, dimension: int) -> Any:
    """`dimension` steps in a scan, which JAX can reverse."""
    mv, weight = problem.operator.mv, problem.weight
    return lax.scan(lambda space, _: (step(mv, weight, space), None), space, None, length=dimension)[0]


def _table(order: int, highest: int, t: Array, matrix: Array) -> Array:
    """`F_l(t, H) e_1` for `l = 0 … highest`, by JAX's differentiable exponential."""
    size = matrix.shape[0]
    rate = lax.stop_gradient(natural_rate(order, t, matrix))
    generator = chain_generator(order, highest, rate, matrix) * (rate * t).astype(matrix.dtype)
    exponential = jax.scipy.linalg.expm(generator, max_squarings=64)
    return jnp.stack(
        [
            exponential[:size, start_index(order, level, size)] * (rate**-level).astype(matrix.dtype)
            for level in range(highest + 1)
        ]
    )
