"""Functions of very stiff self-adjoint operators, from the Krylov space of a resolvent."""

import dataclasses
import functools
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jaxtyping import Array, Inexact, PyTree, Real

from .._custom_types import Weight
from .._solution import RESULTS
from ..krylov._lanczos import lanczos_start, lanczos_step
from ._base import AbstractKrylov, check_max_dimension
from ._counted import Cost, Counted, counted_step
from ._family import scalar_family
from ._grow import checkpoints, grow
from ._lanczos import Eigen, diagonalise, functions_of, scaled
from ._reduction import Reduction
from ._resolvent import has_resolvent, resolvent
from ._self_dual import self_dual, self_dual_lift
from ._shift import DEFAULT_DIMENSION, first_check, rescaled, resolvent_tail, shift_and_task
from ._shift_invert_arnoldi import ShiftInvertArnoldi

_CHECK_RATIO = 1.15
# Panels of the quadrature towards both ends of a segment, and nodes in each: every rate up to 2^40 is resolved.
_PANELS, _NODES = 40, 10


class Shifted(eqx.Module):
    """The small matrix `H = (I - T⁻¹) / γ` of a resolvent's tridiagonal `T`, diagonalised; `γ`; the cost."""

    eigen: Eigen
    shift: Real[Array, ""]
    cost: Cost


class ShiftInvert(AbstractKrylov):
    r"""Lanczos' method with the resolvent $(I - \gamma A)^{-1}$ in the place of $A$, for very stiff diffusion.

    $(I - \gamma A)^{-1} V_m = V_m T_m + \dots$, then $f(tA) v \approx \|v\|\, V_m f(t H_m) e_1$ with
    $H_m = (I - T_m^{-1})/\gamma$. The fast modes, which nobody sees, converge first instead of last: 10 to 32 solves
    whatever the mesh, where a polynomial needs $\sqrt{t\rho}$ applications, $10^5$ for a well test on a radial grid
    (van den Eshof, Hochbruck 2006; Moret, Novati 2004). A space serves output times within a decade.

    Serves operators that are self-adjoint in their weight. What a solve is follows from the operator:

    - one-dimensional grids (uniform, graded, radial) and tridiagonal operators: a direct solve;
    - stencils on grids in two and three dimensions: conjugate gradients, preconditioned by the nearest operator that is
      a sum over the axes, inverted by fast diagonalisation. One iteration a solve for a constant diffusivity and
      capacity on any graded grid; 10 to 30 for a smooth contrast of 10 or a jump of 10, 20 to 60 for 100, 50 to 220
      for 1e4 (up to 64 × 64 cells graded by 1000; the number of solves does not depend on the mesh, these grow slowly);
    - other operators with a known diagonal and an interval of the spectrum (`krylovpde.SparseOperator`, sums and
      multiples): conjugate gradients, preconditioned by the diagonal, with about $\sqrt{\gamma\rho}$ iterations. No
      gain over `Lanczos` where the operator is not stiff because of its diagonal.

    A solve that does not converge within `max_iterations` ends the computation as
    `krylovpde.RESULTS.inner_solve_failed`. `stats.applications` counts the iterations (one for a direct solve),
    `stats.krylov_dimension` the solves of a step.

    Gradients by two such spaces. Forward mode and second derivatives keep the resolvent, for durations that are not
    negative: a tangent's takes two solves, orthogonalisation is Arnoldi's, functions of the small matrix are contour
    integrals. The preconditioner needs one matrix of eigenvectors per axis: some hundred cells along each.

    **Arguments:**

    - `max_dimension`: how many vectors may be stored; 64 by default.
    - `shift`: `γ` as a share of the duration; 0.02 to 0.04 needs the fewest solves. It stays below half of one over the
        growth rate of the operator.
    - `max_iterations`: of conjugate gradients, for one solve.

    Adjoint: `TwoSidedAdjoint`.
    """

    max_dimension: int | None = eqx.field(default=None, static=True)
    shift: float = eqx.field(default=0.03, static=True)
    max_iterations: int = eqx.field(default=500, static=True)

    def __check_init__(self):
        check_max_dimension(self.max_dimension)
        if not self.shift > 0:
            message = f"`shift` must be positive, but is {self.shift}."
            raise ValueError(message)
        if self.max_iterations < 1:
            message = f"`max_iterations` must be at least 1, but is {self.max_iterations}."
            raise ValueError(message)

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
        if not has_resolvent(operator):
            message = (
                "`method=ShiftInvert()` needs an operator that is self-adjoint in its weight and whose entries are "
                "known: a stencil on a grid, a tridiagonal operator, a `krylovpde.SparseOperator` that is tagged. "
                f"{type(operator).__name__} is not. Use `krylovpde.Lanczos()`, or `krylovpde.Arnoldi()` for one that "
                "is not self-adjoint."
            )
            raise ValueError(message)

    def capacity(self, operator: lx.AbstractLinearOperator) -> int:
        size = sum(leaf.size for leaf in jtu.tree_leaves(operator.in_structure()))
        return min(self._largest, max(size, 1))

    @property
    def _largest(self) -> int:
        return DEFAULT_DIMENSION if self.max_dimension is None else self.max_dimension

    def of_tangents(self) -> ShiftInvertArnoldi:
        """The method for the operators of tangents, which are self-adjoint in nothing."""
        return ShiftInvertArnoldi(self._largest, self.shift, self.max_iterations)

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
        _, task = shift_and_task(operator, self.shift, goal, tolerance, self.max_iterations)
        solve = resolvent(operator, task)
        reduction = grow(
            Counted(lanczos_start(start, weight, capacity, sign=1)),
            functools.partial(counted_step, lanczos_step, solve, weight),
            functools.partial(_invert, task.shift),
            lambda trial: accept(rescaled(trial, task.shift)),
            checkpoints(capacity, first_check(capacity), _CHECK_RATIO),
        )
        return rescaled(reduction, task.shift)

    def coefficients(
        self, order: int, lowest: int, highest: int, t: Real[Array, ""], reduction: Reduction
    ) -> tuple[Inexact[Array, "levels capacity"], Real[Array, ""]]:
        eigen = reduction.small.eigen
        values, growth = functions_of(order, lowest, highest, t, eigen)
        growth = jnp.where(reduction.small.cost.failed, jnp.inf, growth)
        return scaled((values * eigen.vectors[0]) @ eigen.vectors.T, reduction, eigen.real), growth

    def dual_coefficients(
        self, order: int, lowest: int, highest: int, t: Real[Array, ""], reduction: Reduction
    ) -> tuple[Inexact[Array, "levels capacity"], Real[Array, ""]]:
        return self.coefficients(order, lowest, highest, t, reduction)

    def tail(self, order: int, component: int, table: Array, reduction: Reduction) -> Inexact[Array, " capacity"]:
        return resolvent_tail(order, component, table, reduction.small.shift)

    def longest(self, order: int, reduction: Reduction) -> Real[Array, ""]:
        return jnp.full_like(reduction.norm, jnp.inf)

    def outcome(self, reduction: Reduction) -> RESULTS:
        return reduction.small.cost.outcome

    def dual(
        self, operator: lx.AbstractLinearOperator, weight: Weight, cotangent: PyTree[Array]
    ) -> tuple[lx.AbstractLinearOperator, Weight, PyTree[Array]]:
        return self_dual(operator, weight, cotangent)

    def dual_lift(
        self, weight: Weight, reduction: Reduction, coefficients: Inexact[Array, "*k capacity"]
    ) -> PyTree[Array]:
        return self_dual_lift(weight, reduction, coefficients)

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
        nodes, weights = _graded_quadrature()
        real = span.dtype
        s, w = span * jnp.asarray(nodes, real)[:, None], span * jnp.asarray(weights, real)[:, None]
        rest = span * jnp.asarray(nodes[::-1], real)[:, None]  # span - s, without cancellation
        left, right = dual.small.eigen, primal.small.eigen
        first = scalar_family(order, level_dual, level_dual, rest, left.values)[0] * w
        second = scalar_family(order, level, level, offset + s, right.values)[0]
        kernel = left.vectors[0][:, None] * (first.T @ second) * right.vectors[0][None, :]
        return kernel * (dual.norm * primal.norm).astype(kernel.dtype)

    def sizes(self, capacity: int) -> tuple[int, ...]:
        return (capacity,)

    def to_basis(self, reduction: Reduction, coordinates: Inexact[Array, "k capacity"]) -> Inexact[Array, "k capacity"]:
        return coordinates @ reduction.small.eigen.vectors.T

    def dual_to_basis(
        self, reduction: Reduction, coordinates: Inexact[Array, "k capacity"]
    ) -> Inexact[Array, "k capacity"]:
        return coordinates @ reduction.small.eigen.vectors.T


def _invert(shift: Array, state: Counted, count: int) -> Shifted:
    """The eigenvalues of `A` from those of the resolvent, which lie in (0, 2]; padding stays zero."""
    eigen = diagonalise(state.space, count)
    safe = jnp.maximum(eigen.values, jnp.finfo(eigen.values.dtype).eps)
    values = (1.0 - 1.0 / safe) / shift.astype(safe.dtype)
    return Shifted(dataclasses.replace(eigen, values=values), shift, state.cost)


@functools.cache
def _graded_quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Gauss–Legendre on panels that halve towards both ends of [0, 1]; symmetric, so `1 - nodes = nodes[::-1]`."""
    x, w = np.polynomial.legendre.leggauss(_NODES)
    edges = np.concatenate([[0.0], 0.5 ** np.arange(_PANELS, 0, -1)])
    lengths = np.diff(edges)
    nodes = np.concatenate([edge + length * (x + 1) / 2 for edge, length in zip(edges[:-1], lengths, strict=True)])
    weights = np.concatenate([length * w / 2 for length in lengths])
    return np.concatenate([nodes, (1.0 - nodes)[::-1]]), np.concatenate([weights, weights[::-1]])
