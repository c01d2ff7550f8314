"""`f(A) v` from checked arguments: what the public functions share."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from .._solution import RESULTS, Solution, Statistics
from ..action._base import check_max_dimension
from ..action._grow import default_capacity
from ..integrate._entrance import real_dtype, tolerances
from ..integrate._run import finish
from ..krylov._operand import checked_operator, checked_vector, split
from ..operator import is_self_adjoint
from ._ritz import SpaceSettings
from ._scalar import AbstractScalarFunction
from ._two_sided import apply_function


def multiply(
    name: str,
    function: AbstractScalarFunction,
    operator: lx.AbstractLinearOperator,
    vector: PyTree[ArrayLike],
    rtol: float | None,
    max_dimension: int | None,
    throw: bool,
) -> Solution:
    """The solution whose value is `f(A) v`; `name` is that of the public function, for messages."""
    check_self_adjoint(operator, name)
    check_max_dimension(max_dimension)
    vector = checked_vector(operator, vector, name)
    rtol, _ = tolerances(rtol, 0.0, real_dtype(vector))
    settings = SpaceSettings((function,), capacity_for(vector, max_dimension), rtol, throw)
    value, result, stats = _compiled(settings, operator, vector)
    return finish(value, result, stats, None, False, throw)


def check_self_adjoint(operator: Any, name: str):
    """Raises for what is not a square operator that is known to be self-adjoint."""
    checked_operator(operator, name)
    if not is_self_adjoint(operator):
        message = (
            f"`{name}(operator, ...)` needs an operator that is self-adjoint in its weight; this "
            f"{type(operator).__name__} is not known to be. If it is, say so: "
            "`krylovpde.annotate(operator, tags=krylovpde.self_adjoint_tag)`."
        )
        raise ValueError(message)


def capacity_for(vector: PyTree, max_dimension: int | None) -> int:
    """How many vectors may be stored."""
    size = sum(leaf.size for leaf in jtu.tree_leaves(vector))
    return default_capacity(vector, 32, 256) if max_dimension is None else min(max_dimension, max(size, 1))


def input_like(operator: lx.AbstractLinearOperator, name: str) -> PyTree[Array]:
    """Zeros like the operator's input, checked as a user's vector is."""
    structure = operator.in_structure()
    return checked_vector(operator, jtu.tree_map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), structure), name)


def statistics(
    applications: Int[Array, ""], dimension: Int[Array, ""], error: Float[Array, ""], adjoint: str
) -> Statistics:
    """Those of spaces from one step each; nothing is counted of what a gradient takes."""
    none = jnp.zeros_like(dimension)
    return Statistics(
        applications=applications,
        transpose_applications=none,
        parameter_vjps=none,
        krylov_dimension=dimension,
        num_steps=none + 1,
        error_estimate=error,
        time=jnp.zeros_like(error),
        method="Lanczos, reorthogonalised",
        adjoint=adjoint,
    )


@eqx.filter_jit
def _compiled(settings: SpaceSettings, operator: lx.AbstractLinearOperator, vector: PyTree[Any]):
    parameters, arrays, rest = split(operator)
    outcome: Any = apply_function(settings, rest, parameters, arrays, vector)
    value, report = outcome
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jtu.tree_leaves(value)]))
    failed = (report.result == RESULTS.successful) & ~finite
    result = RESULTS.where(failed, RESULTS.nonfinite, report.result)
    stats = statistics(report.dimension, report.dimension, report.error, "two spaces")
    return value, result, stats
