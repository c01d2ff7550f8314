"""What a solve returns: a value, whether to believe it, and what it cost."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, ArrayLike, Bool, Int, PyTree


class RESULTS(eqx.Enumeration):
    """How a computation ended. The value of each member is the message that is raised for it."""

    successful = ""
    nonfinite = (
        "krylovpde met a value that is not finite (NaN or infinity). Check the initial state, the coefficients, the "
        "sources and the cotangent; a growing solution may also have overflowed."
    )
    max_steps_reached = (
        "krylovpde used up `max_steps` before it reached the last time with the tolerance asked for. "
        "`solution.stats` (with throw=False) holds the time reached and the error estimate. Raise `max_steps`, raise "
        "the method's `max_dimension`, or loosen `rtol`."
    )
    tolerance_not_reached = (
        "krylovpde could not reach the tolerance asked for: rounding in this precision, or the fixed Krylov dimension, "
        "does not allow it. `solution.stats.error_estimate` (with throw=False) holds the error that was reached. "
        "Loosen `rtol`, use float64, or raise the dimension."
    )
    inner_solve_failed = (
        "krylovpde.ShiftInvert could not solve a linear system: conjugate gradients did not converge within "
        "`max_iterations`, or the operator is not self-adjoint in its weight. Raise "
        "`krylovpde.ShiftInvert(max_iterations=...)`, or check the tags with `krylovpde.verify.structure_test`."
    )
    negative_duration = (
        "krylovpde.Contour serves durations that are not negative, and one of these is. Diffusion backwards in time is "
        "ill-posed; for moderate durations use a Krylov space, `method=krylovpde.Lanczos()`."
    )
    step_underflow = (
        "krylovpde had to take steps that are too short to advance the time: the operator is far too stiff for a "
        "polynomial Krylov method in this precision. Use fewer decades of stiffness, or float64."
    )
    bound_violated = (
        "krylovpde's polynomial recurrence (Chebyshev, Faber) grew: the spectrum of the operator is not inside the "
        "interval or ellipse that its bounds promise. Tell a larger one with "
        "`krylovpde.annotate(operator, spectral_bound=...)` (`krylovpde.verify.structure_test` checks it), or use a "
        "Krylov space: `method=krylovpde.Lanczos()`, `krylovpde.Arnoldi()`."
    )
    not_semidefinite = (
        "krylovpde.functions met a negative eigenvalue, far beyond rounding, of an operator that must be positive "
        "semidefinite. Check the operator, its tags and its weight."
    )
    not_definite = (
        "krylovpde.functions met an eigenvalue that is not positive, or so small that it is rounding, of an operator "
        "that must be positive definite. Check the operator, its tags and its weight; a multiple of the identity added "
        "to it (noise, a nugget) makes a semidefinite one definite."
    )
    degenerate_eigenvalues = (
        "krylovpde.functions.eigenpairs met eigenvalues that agree to rounding, among those that were asked for or "
        "between the last of them and the next: their vectors are any basis of a plane, and have no derivative. Ask "
        "for fewer pairs, break the symmetry, or use sums over the whole group through `krylovpde.functions.trace`."
    )
    not_positive_definite = (
        "A hypergradient met a direction without curvature, or with negative curvature: the solution is not a minimum "
        "of the inner loss, or the inner loss does not determine it. Minimise further, add a penalty, raise `rho` or "
        "`damping`, or use the Gauss-Newton Hessian, `curvature=kp.inverse.GaussNewtonHessian()`."
    )
    series_diverged = (
        "The terms of a Neumann series grow: `step_size` of `kp.inverse.Neumann` is larger than 2 over the largest "
        "eigenvalue of the Hessian, or the Hessian has a negative one. Lower `step_size`, or use "
        "`kp.inverse.ConjugateGradient`."
    )
    max_degree_reached = (
        "krylovpde needs a polynomial of higher degree than `max_degree=...` of `krylovpde.Chebyshev` or "
        "`krylovpde.Faber` allows: the duration times the spectral bound is too large. Raise it, or use a Krylov "
        "space: `method=krylovpde.Lanczos()`, `krylovpde.Arnoldi()`."
    )


def first_failure(results: list[RESULTS]) -> RESULTS:
    """The first result that is a failure, or success."""
    result = results[0]
    for other in results[1:]:
        result = RESULTS.where(result == RESULTS.successful, other, result)
    return result


def raise_unless_successful(result: RESULTS, values: PyTree[Array]) -> PyTree[Array]:
    """The values, on which the check depends: it raises where they are used and the result is a failure.

    The check is threaded through a zero that is added to every value. Through the values themselves, every field of
    them would be copied into the branch that raises.
    """
    zero = result.error_if(jnp.zeros((), jnp.float32), result != RESULTS.successful)

    def tie(leaf: Array) -> Array:
        return leaf + zero.astype(leaf.dtype) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf

    return jtu.tree_map(tie, values)


class Statistics(eqx.Module):
    """What a solve did, counted while it ran.

    * `applications`, `transpose_applications`: products with the operator and with its transpose.
    * `parameter_vjps`: vector-Jacobian products with respect to the operator's parameters (backward passes only).
    * `krylov_dimension`: the largest Krylov dimension that was used.
    * `num_steps`: sub-steps in time.
    * `error_estimate`: estimate of the error at the last time, relative to `max(‖result‖, ‖input‖)`.
    * `time`: the time that was reached, measured from the start.
    * `method`, `adjoint`: what was used, as static text.
    """

    applications: Int[Array, "*batch"]
    transpose_applications: Int[Array, "*batch"]
    parameter_vjps: Int[Array, "*batch"]
    krylov_dimension: Int[Array, "*batch"]
    num_steps: Int[Array, "*batch"]
    error_estimate: Array
    time: Array
    method: str = eqx.field(static=True)
    adjoint: str = eqx.field(static=True)


class Solution(eqx.Module):
    """A result with its certificate.

    * `value`: the result; every leaf has a new leading axis where an array of times was asked for.
    * `result`: a member of [`krylovpde.RESULTS`][]; `successful` if the tolerance was met at every time.
    * `stats`: [`krylovpde.Statistics`][].
    * `times`: the times of the values.
    """

    value: PyTree[Any]
    result: RESULTS
    stats: Statistics
    times: ArrayLike | None = None

    @property
    def successful(self) -> Bool[Array, "*batch"]:
        """Whether the tolerance was met everywhere."""
        return self.result == RESULTS.successful
