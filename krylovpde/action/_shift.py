"""What the two Krylov spaces of a resolvent share: the shift, the tolerance of the solves, the error estimate."""

import dataclasses

import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Inexact, Real

from ._reduction import Reduction
from ._resolvent import Task, growth_bound

DEFAULT_DIMENSION = 64
_FIRST_CHECK = 8
# An error of a solve enters the defect multiplied by about one over `share`, 33. With rtol = 1e-8, 48 x 48 graded cells
# and a contrast of 10 the error of smooth data was 1.2e-10, 2.7e-10, 5e-9, 3e-8 and 4e-7 for solves to 1e-3, 1e-2, 0.1,
# 1 and 10 times rtol, the estimate 1.3e-9 throughout; a tenth of the tolerance costs 9 % more iterations.
_INNER_SHARE = 1e-2


def shift_and_task(
    operator: lx.AbstractLinearOperator, share: float, goal: Array, tolerance: float, max_iterations: int
) -> tuple[Real[Array, ""], Task]:
    """The growth bound of the operator; and `γ`, a share of the duration, with what is asked of the solves.

    `γ` stays below half of one over the growth rate: then `I - γA` is positive definite, its eigenvalues at least 1/2.
    """
    bound = growth_bound(operator).astype(goal.dtype)
    shift = jnp.where(goal == 0, 1.0, share * jnp.abs(goal))
    shift = jnp.where(shift * bound > 0.5, 0.5 / jnp.where(bound > 0, bound, 1.0), shift)
    rounding = 8.0 * float(jnp.finfo(goal.dtype).eps)
    return bound, Task(shift, max(_INNER_SHARE * tolerance, rounding), max_iterations)


def first_check(capacity: int) -> int:
    """The dimension at which a space is judged first."""
    return min(_FIRST_CHECK, capacity)


def resolvent_tail(order: int, component: int, table: Array, shift: Array) -> Inexact[Array, " capacity"]:
    """The last entries of `T⁻¹ F`, of which the defect `h/γ e_mᵀ T⁻¹ F_l e_1 (I - γA) v_(m+1)` is made.

    `T⁻¹ F_(l+1) = F_(l+1) - γ F_l` but for the first entry, and the part with `γA`, integrated by parts, is at most of
    the size of `γ F_l`.
    """
    upper, lower = table[2 * order - 1 - component], table[2 * order - 2 - component]
    shift = shift.astype(table.dtype)
    return jnp.abs(upper - shift * lower) + jnp.abs(shift * lower)


def rescaled(reduction: Reduction, shift: Array) -> Reduction:
    """The coupling over `γ`, and the count of what the solves took."""
    coupling = reduction.coupling / shift.astype(reduction.coupling.dtype)
    return dataclasses.replace(reduction, coupling=coupling, applications=reduction.small.cost.applications)
