"""Functions of very stiff operators that are self-adjoint in nothing: those of tangents."""

import functools
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jaxtyping import Array, Inexact, PyTree, Real

from .._custom_types import Weight
from .._solution import RESULTS
from ..krylov._arnoldi import arnoldi_start, arnoldi_step
from ._base import AbstractKrylov
from ._contour import Hessenberg, contour_family, contour_pairing
from ._counted import Cost, Counted, counted_step
from ._grow import checkpoints, grow
from ._reduction import Reduction, lift
from ._resolvent import resolvent
from ._shift import first_check, rescaled, resolvent_tail, shift_and_task

# Every check solves 16 small systems for each of two durations: rarer ones than Lanczos' cost less than they save.
_CHECK_RATIO = 1.25


class _Small(eqx.Module):
    hessenberg: Hessenberg
    cost: Cost


class ShiftInvertArnoldi(AbstractKrylov):
    r"""Arnoldi's method with the resolvent of a tangent's operator $\mathcal A$, of blocks `A, 0` and `dA, A`.

    $(I - \gamma \mathcal A)^{-1} V_m = V_m T_m + \dots$ by classical Gram–Schmidt done twice, in the inner product of
    the weight, then $f(t\mathcal A) v \approx \|v\| V_m f(tH_m) e_1$ with $H_m = (I - T_m^{-1})/\gamma$, which is
    never formed: `_contour`. A resolvent takes two solves with `A` and a product with `dA`. What `ShiftInvert` becomes
    in forward mode and in second derivatives. Not for negative durations, where stiff modes grow beyond all numbers.
    """

    max_dimension: int = eqx.field(static=True)
    shift: float = eqx.field(static=True)
    max_iterations: int = eqx.field(static=True)

    @property
    def name(self) -> str:
        return "ShiftInvert"

    @property
    def max_steps(self) -> int:
        return 64

    @property
    def window(self) -> float | None:
        return 10.0

    def check(self, operator: lx.AbstractLinearOperator) -> None:
        pass

    def capacity(self, operator: lx.AbstractLinearOperator) -> int:
        size = sum(leaf.size for leaf in jtu.tree_leaves(operator.in_structure()))
        return min(self.max_dimension, max(size, 1))

    def reduce(
        self,
        operator: lx.AbstractLinearOperator,
        weight: Weight,
        start: PyTree[Array],
        goal: Real[Array, ""],
        tolerance: float,
        accept: Callable[[Reduction], Array],
    ) -> Reduction:
        capacity = self.capacity(operator)
        bound, task = shift_and_task(operator, self.shift, goal, tolerance, self.max_iterations)
        solve = resolvent(operator, task)
        reduction = grow(
            Counted(arnoldi_start(start, weight, capacity)),
            functools.partial(counted_step, arnoldi_step, solve, weight),
            functools.partial(_summary, task.shift, bound),
            lambda trial: accept(rescaled(trial, task.shift)),
            checkpoints(capacity, first_check(capacity), _CHECK_RATIO),
        )
        return rescaled(reduction, task.shift)

    def coefficients(
        self, order: int, lowest: int, highest: int, t: Real[Array, ""], reduction: Reduction
    ) -> tuple[Inexact[Array, "levels capacity"], Real[Array, ""]]:
        assert order == 1, "a contour on the left half plane serves no waves"
        table, growth = contour_family(lowest, highest, t, reduction.small.hessenberg)
        growth = jnp.where(reduction.small.cost.failed, jnp.inf, growth)
        return table * reduction.norm.astype(table.dtype), growth

    def dual_coefficients(
        self, order: int, lowest: int, highest: int, t: Real[Array, ""], reduction: Reduction
    ) -> tuple[Inexact[Array, "levels capacity"], Real[Array, ""]]:
        return self.coefficients(order, lowest, highest, t, reduction)

    def tail(self, order: int, component: int, table: Array, reduction: Reduction) -> Inexact[Array, " capacity"]:
        return resolvent_tail(order, component, table, reduction.small.hessenberg.shift)

    def longest(self, order: int, reduction: Reduction) -> Real[Array, ""]:
        return jnp.full_like(reduction.norm, jnp.inf)

    def outcome(self, reduction: Reduction) -> RESULTS:
        return reduction.small.cost.outcome

    def dual(
        self, operator: lx.AbstractLinearOperator, weight: Weight, cotangent: PyTree[Array]
    ) -> tuple[lx.AbstractLinearOperator, Weight, PyTree[Array]]:
        reciprocal = None if weight is None else jtu.tree_map(lambda leaf: 1.0 / leaf, weight)
        return operator.transpose(), reciprocal, cotangent

    def dual_lift(
        self, weight: Weight, reduction: Reduction, coefficients: Inexact[Array, "*k capacity"]
    ) -> PyTree[Array]:
        return lift(reduction, coefficients)

    def pairing(
        self,
        order: int,
        level_dual: int,
        level: int,
        offset: Real[Array, ""],
        span: Real[Array, ""],
        dual: Reduction,
        primal: Reduction,
    ) -> Inexact[Array, "capacity capacity"]:
        kernel = contour_pairing(level_dual, level, offset, span, dual.small.hessenberg, primal.small.hessenberg)
        return kernel * (dual.norm * primal.norm).astype(kernel.dtype)

    def sizes(self, capacity: int) -> tuple[int, ...]:
        return (capacity,)

    def to_basis(self, reduction: Reduction, coordinates: Inexact[Array, "k capacity"]) -> Inexact[Array, "k capacity"]:
        return coordinates

    def dual_to_basis(
        self, reduction: Reduction, coordinates: Inexact[Array, "k capacity"]
    ) -> Inexact[Array, "k capacity"]:
        return coordinates


def _summary(shift: Array, bound: Array, state: Counted, count: int) -> _Small:
    del count  # the padded matrix is block diagonal, and small enough as it is
    return _Small(Hessenberg(state.space.hessenberg, shift, bound), state.cost)
