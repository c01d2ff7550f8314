"""A few extreme eigenvalues and eigenvectors."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.tree_util as jtu
import lineax as lx
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from .._solution import RESULTS, Statistics, raise_unless_successful
from ..action._base import check_max_dimension
from ..integrate._entrance import real_dtype, tolerances
from ..krylov._operand import matching_weight, split
from ._eigen_rule import EigenSettings, extreme_pairs
from ._multiply import capacity_for, check_self_adjoint, input_like, statistics
from ._probes import draw

_NAME = "functions.eigenpairs"


class Eigenpairs(eqx.Module):
    """What [`krylovpde.functions.eigenpairs`][] returns.

    * `values`: from the extreme one inwards.
    * `vectors`: like the operator's input with a leading axis `count`; orthonormal in the operator's weight.
    * `result`: a member of [`krylovpde.RESULTS`][].   * `stats`: [`krylovpde.Statistics`][].
    """

    values: Float[Array, "*batch count"]
    vectors: PyTree[Array]
    result: RESULTS
    stats: Statistics

    @property
    def successful(self) -> Bool[Array, "*batch"]:
        """Whether all pairs are known to the tolerance."""
        return self.result == RESULTS.successful


def eigenpairs(
    operator: lx.AbstractLinearOperator,
    count: int,
    key: PRNGKeyArray,
    *,
    which: Literal["smallest", "largest"] = "smallest",
    rtol: float | None = None,
    max_dimension: int | None = None,
    throw: bool = True,
) -> Eigenpairs:
    r"""The lowest or highest eigenpairs $A v_i = \lambda_i v_i$ of a self-adjoint operator, by Lanczos.

    A space of a random vector, fully reorthogonalised, grows until each wanted Ritz pair has a residual of at most
    `rtol` times its distance from the next eigenvalue: the error of the vector is then about `rtol`, that of the
    value its square. Such a space has one vector for each eigenvalue, so a second one, orthogonal to what was found,
    looks for what is missing. Eigenvalues that agree to rounding are refused: their vectors are not determined.

    Low modes of a fine grid need many vectors, of the order of the root of largest over smallest gap; more than
    memory allows is a failed result.

    Derivatives are reverse-mode and of first order:
    $\mathrm d\lambda = \langle v, \mathrm dA\, v\rangle$ (Hellmann and Feynman), and for the vectors, whose length and
    sign are kept, $\mathrm dv = -(A - \lambda)^+ \mathrm dA\, v$ by one solve for each. The phase of a complex vector
    is not determined: take functions that do not depend on it.

    **Arguments:**

    - `operator`: $A$, known to be self-adjoint in its weight; real, or complex Hermitian.
    - `count`: how many.
    - `key`: of the start vectors. The same key gives the same signs.
    - `which`: `"smallest"` for the algebraically lowest, `"largest"` for the highest.
    - `rtol`: of the vectors; `None` is 1e-6 in double and 1e-4 in single precision.
    - `max_dimension`: how many vectors may be stored; by default as many as fit into 256 MiB, between 32 and 256.
    - `throw`: raise if the tolerance was not met; otherwise look at `result`, and gradients are NaN.

    **Returns:**

    [`krylovpde.functions.Eigenpairs`][].

    **Raises:**

    Those of [`krylovpde.functions.sqrt_multiply`][]; `ValueError` for a count or `which` that makes no sense;
    `equinox.EquinoxRuntimeError` for degenerate eigenvalues.

    !!! cite "Sources"

        Hellmann (1937), Feynman (1939); the bordered system: Magnus, *On differentiating eigenvalues and eigenvectors*,
        Econometric Theory 1 (1985).
    """
    check_self_adjoint(operator, _NAME)
    check_max_dimension(max_dimension)
    like = input_like(operator, _NAME)
    size = sum(leaf.size for leaf in jtu.tree_leaves(like))
    if not isinstance(count, int) or not 1 <= count <= size:
        message = f"`{_NAME}(operator, count)` must be an integer between 1 and the {size} unknowns, got {count!r}."
        raise ValueError(message)
    if which not in ("smallest", "largest"):
        message = f'`{_NAME}(which=...)` must be "smallest" or "largest", got {which!r}.'
        raise ValueError(message)
    rtol, _ = tolerances(rtol, 0.0, real_dtype(like))
    capacity = min(max(capacity_for(like, max_dimension), count), size)
    settings = EigenSettings(count, 1 if which == "smallest" else -1, capacity, rtol, throw)
    values, vectors, result, stats = _compiled(settings, operator, like, key)
    if throw:
        values, vectors = raise_unless_successful(result, (values, vectors))
    return Eigenpairs(values, vectors, result, stats)


@eqx.filter_jit
def _compiled(settings: EigenSettings, operator: lx.AbstractLinearOperator, like: PyTree, key: PRNGKeyArray):
    starts = draw("normal", key, like, matching_weight(operator, like), 2)
    parameters, arrays, rest = split(operator)
    outcome: Any = extreme_pairs(settings, rest, parameters, arrays, jax.lax.stop_gradient(starts))
    values, vectors, report = outcome
    adjoint = "Hellmann-Feynman, bordered solves"
    stats = statistics(report.applications, report.dimension, report.error, adjoint)
    # An integer that comes from a rule of one's own would have a tangent, which checks do not take.
    return values, vectors, jax.lax.stop_gradient(report.result), stats
