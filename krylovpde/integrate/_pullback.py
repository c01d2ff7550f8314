"""The cotangents of `exp(tA) v`, with their statistics."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.tree_util as jtu
import lineax as lx
from jaxtyping import Array, ArrayLike, PyTree

from .._solution import RESULTS, Solution, Statistics
from ..action import AbstractMethod, Problem
from ..adjoint import Arguments, CheckpointedAdjoint, ReversibleAdjoint, TwoSidedAdjoint, pull_with_times
from ..operator import weight
from ._entrance import as_field, as_times, check_square, choose, common_state, real_dtype, tolerances
from ._run import Options, max_steps_of


class Cotangents(NamedTuple):
    """What `krylovpde.pullback` finds: cotangents of the operator's inexact arrays, of the vector, of the durations."""

    operator: Any
    vector: Any
    t: Any


def pullback(
    operator: lx.AbstractLinearOperator,
    vector: PyTree[ArrayLike],
    t: Any,
    cotangent: PyTree[ArrayLike],
    *,
    method: AbstractMethod | None = None,
    adjoint: TwoSidedAdjoint | ReversibleAdjoint | CheckpointedAdjoint | None = None,
    rtol: float | None = None,
    atol: float = 0.0,
    max_steps: int | None = None,
    throw: bool = True,
) -> Solution:
    r"""The vector–Jacobian product of [`krylovpde.expm_multiply`][], with statistics of its own.

    The numbers are those of `jax.vjp`; but a gradient inside a larger program has no place for statistics, so whoever
    wants to know what a backward pass cost, and how accurate it believes to be, asks here.

    **Arguments:**

    - `operator`, `vector`, `t`, and the options: as in [`krylovpde.expm_multiply`][].
    - `cotangent`: of the value: like `vector`, with a leading axis for an array of durations. Pairs bilinearly, as
        JAX's cotangents do.

    **Returns:**

    A [`krylovpde.Solution`][] whose `value` is the named tuple `Cotangents(operator, vector, t)`: `operator` like
    `eqx.filter(operator, eqx.is_inexact_array)`. `stats.applications` counts the forward march,
    `stats.transpose_applications` the backward one, `stats.parameter_vjps` the rank-one terms.

    **Raises:**

    As [`krylovpde.expm_multiply`][]; `ValueError` for an adjoint other than `TwoSidedAdjoint`,
    `ReversibleAdjoint` and `CheckpointedAdjoint`.
    """
    check_square(operator, "pullback")
    field = as_field(vector, operator.in_structure(), "vector")
    dtype = real_dtype(field)
    times, scalar = as_times(t, dtype, "t")
    if scalar:
        cotangent = jtu.tree_map(lambda leaf: leaf[None], cotangent)
    like = jtu.tree_map(lambda leaf: _Shaped((times.size, *leaf.shape)), field)
    cotangent = as_field(cotangent, like, "cotangent")
    rtol, atol = tolerances(rtol, atol, dtype)
    method, chosen = choose(operator, 1, method, adjoint)
    if not isinstance(chosen, TwoSidedAdjoint | ReversibleAdjoint | CheckpointedAdjoint):
        message = (
            "`pullback` reports on TwoSidedAdjoint(), ReversibleAdjoint() and CheckpointedAdjoint(), not on "
            f"{chosen.name}(); use jax.vjp for others."
        )
        raise ValueError(message)  # noqa: TRY004
    options = Options(method, chosen, rtol, atol, max_steps_of(method, max_steps), throw)
    cotangents, result, stats = _compiled(options, operator, field, times, cotangent)
    if scalar:
        cotangents, times = cotangents._replace(t=cotangents.t[0]), times[0]
    return Solution(cotangents, result, stats, times)


class _Shaped:
    """A shape in the place of an array."""

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape


@eqx.filter_jit
def _compiled(options: Options, operator: lx.AbstractLinearOperator, field: PyTree[Array], times: Array, cotangent):
    (field,) = common_state(operator, (field,))
    cotangent = jtu.tree_map(lambda leaf, like: leaf.astype(like.dtype), cotangent, field)
    problem = Problem(operator, weight(operator), None, 1)
    assert isinstance(options.adjoint, TwoSidedAdjoint | ReversibleAdjoint | CheckpointedAdjoint)
    rules = options.adjoint.rules(options.settings(), problem, options.throw)
    arguments = Arguments(operator, None, (field,), times)
    direction, durations, report = pull_with_times(rules, arguments, (cotangent,))
    stats = Statistics(
        applications=report.applications,
        transpose_applications=report.transpose_applications,
        parameter_vjps=report.parameter_vjps,
        krylov_dimension=report.dimension,
        num_steps=report.steps,
        error_estimate=report.error,
        time=times[0],
        method=options.method.name,
        adjoint=options.adjoint.name,
    )
    result: RESULTS = report.result
    return Cotangents(direction.operator, direction.state[0], durations), result, stats
