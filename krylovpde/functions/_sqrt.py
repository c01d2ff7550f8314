"""`A^{1/2} v`."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jaxtyping import ArrayLike, PyTree

from .._solution import RESULTS, Solution, Statistics
from ..action._base import check_max_dimension
from ..action._grow import default_capacity
from ..integrate._entrance import real_dtype, tolerances
from ..integrate._run import finish
from ..krylov._operand import checked_operator, checked_vector, split
from ..operator import is_self_adjoint
from ._ritz import SpaceSettings
from ._sqrt_rule import apply_root

_NAME = "functions.sqrt_multiply"


def sqrt_multiply(
    operator: lx.AbstractLinearOperator,
    vector: PyTree[ArrayLike],
    *,
    rtol: float | None = None,
    max_dimension: int | None = None,
    throw: bool = True,
) -> Solution:
    r"""$A^{1/2} v$ for a positive semidefinite self-adjoint operator, to a tolerance.

    $A V_m = V_m T_m + h\, v_{m+1} e_m^\top$ by Lanczos with full reorthogonalisation, then
    $A^{1/2} v \approx \|v\|\, V_m T_m^{1/2} e_1$. The dimension grows until the bound of the error,
    $\|v\|\, h\, |e_m^\top T_m^{-1/2} e_1|$, is at most `rtol` times the length of the result. With $v$ of independent
    standard normal numbers the result is a Gaussian random field of covariance $A$ (in the Euclidean inner product).

    Ritz values that are rounding, of either sign, count as zero. Where the spectrum reaches zero, as that of a smooth
    covariance does, rounding moves the result by up to $\sqrt{\varepsilon \|A\|}\, \|v\|$, which is part of the error
    estimate: measured 0.4 % of the result in single precision for a field four correlation lengths wide. Ask for no
    more than that, or use float64.

    Derivatives are reverse-mode and of first order, in the operator's parameters and the vector, by a second space
    started from the cotangent: right also for smooth data, in which the derivative of the iteration is not.
    Where both eigenvalues of a pair are rounding, the square root has no derivative, and theirs is left out. Forward
    mode and second derivatives raise.

    **Arguments:**

    - `operator`: $A$, known to be self-adjoint in its weight, and positive semidefinite.
    - `vector`: $v$, a pytree of arrays like the operator's input; its precision decides.
    - `rtol`: the error relative to the length of the result; `None` is 1e-6 in double and 1e-4 in single precision.
    - `max_dimension`: how many vectors may be stored; by default as many as fit into 256 MiB, between 32 and 256.
    - `throw`: raise if the tolerance was not met; otherwise look at `solution.result`, and gradients are NaN.

    **Returns:**

    A [`krylovpde.Solution`][] whose `value` is like `vector`.

    **Raises:**

    `TypeError` for something that is not a lineax operator; `ValueError` for one that is not square or not known to be
    self-adjoint, and for arguments that do not fit; `equinox.EquinoxRuntimeError` for a failed result, a negative
    eigenvalue among them.

    !!! cite "Sources"

        The bound follows from the integral over shifted systems, as in Frommer and Schweitzer, *Error bounds and
        estimates for Krylov subspace approximations of Stieltjes matrix functions* (2016).
    """
    checked_operator(operator, _NAME)
    if not is_self_adjoint(operator):
        message = (
            f"`{_NAME}(operator, ...)` needs an operator that is self-adjoint in its weight; this "
            f"{type(operator).__name__} is not known to be. If it is, say so: "
            "`krylovpde.annotate(operator, tags=krylovpde.self_adjoint_tag)`."
        )
        raise ValueError(message)
    check_max_dimension(max_dimension)
    vector = checked_vector(operator, vector, _NAME)
    rtol, _ = tolerances(rtol, 0.0, real_dtype(vector))
    settings = SpaceSettings(_capacity(vector, max_dimension), rtol, throw)
    value, result, stats = _compiled(settings, operator, vector)
    return finish(value, result, stats, None, False, throw)


def _capacity(vector: PyTree, max_dimension: int | None) -> int:
    size = sum(leaf.size for leaf in jtu.tree_leaves(vector))
    return default_capacity(vector, 32, 256) if max_dimension is None else min(max_dimension, max(size, 1))


@eqx.filter_jit
def _compiled(settings: SpaceSettings, operator: lx.AbstractLinearOperator, vector: PyTree[Any]):
    parameters, arrays, rest = split(operator)
    outcome: Any = apply_root(settings, rest, parameters, arrays, vector)
    value, report = outcome
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jtu.tree_leaves(value)]))
    failed = (report.result == RESULTS.successful) & ~finite
    result = RESULTS.where(failed, RESULTS.nonfinite, report.result)
    none = jnp.zeros_like(report.dimension)
    stats = Statistics(
        applications=report.dimension,
        transpose_applications=none,
        parameter_vjps=none,
        krylov_dimension=report.dimension,
        num_steps=none + 1,
        error_estimate=report.error,
        time=jnp.zeros_like(report.error),
        method="Lanczos, reorthogonalised",
        adjoint="two spaces",
    )
    return value, result, stats
