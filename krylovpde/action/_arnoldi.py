"""Functions of any operator from Arnoldi's method."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jaxtyping import Array, Inexact, PyTree, Real

from .._custom_types import Weight
from .._solution import RESULTS
from ..krylov._arnoldi import ArnoldiState, arnoldi_start, arnoldi_step
from ._base import AbstractKrylov, check_max_dimension
from ._family import matrix_family
from ._grow import checkpoints, default_capacity, grow
from ._pairing import matrix_pairing
from ._reduction import Reduction, lift

_FIRST_CHECK, _CHECK_RATIO = 8, 1.6
_DEFAULT_DIMENSION = 40


class Arnoldi(AbstractKrylov):
    r"""Arnoldi's method for any square operator.

    $A V_m = V_m H_m + h\, v_{m+1} e_m^\top$ by classical Gram–Schmidt done twice, in the inner product of the
    operator's weight, then $f(tA) v \approx \|v\|\, V_m f(tH_m) e_1$. Orthogonalisation costs $m^2$ vector products,
    so the space stays small and time is cut into sub-steps whose lengths follow from the error estimate.

    **Arguments:**

    - `max_dimension`: how many vectors may be stored; 40 by default, fewer where they would not fit into 256 MiB.

    Adjoints: `TwoSidedAdjoint` (default), `IterationAdjoint`, `DirectAdjoint`.
    """

    max_dimension: int | None = eqx.field(default=None, static=True)

    def __check_init__(self):
        check_max_dimension(self.max_dimension)

    @property
    def name(self) -> str:
        return "Arnoldi"

    @property
    def max_steps(self) -> int:
        return 256

    @property
    def window(self) -> float | None:
        return None

    def check(self, operator: lx.AbstractLinearOperator) -> None:
        pass

    def capacity(self, operator: lx.AbstractLinearOperator) -> int:
        structure = operator.in_structure()
        size = sum(leaf.size for leaf in jtu.tree_leaves(structure))
        if self.max_dimension is not None:
            return min(self.max_dimension, max(size, 1))
        return default_capacity(structure, 16, _DEFAULT_DIMENSION)

    def reduce(
        self,
        operator: lx.AbstractLinearOperator,
        weight: Weight,
        start: PyTree[Array],
        goal: Real[Array, ""],
        tolerance: float,
        accept: Callable[[Reduction], Array],
    ) -> Reduction:
        del goal, tolerance  # one space serves all durations, and products are exact
        capacity = self.capacity(operator)
        return grow(
            arnoldi_start(start, weight, capacity),
            lambda state: arnoldi_step(operator.mv, weight, state),
            _hessenberg,
            accept,
            checkpoints(capacity, _FIRST_CHECK, _CHECK_RATIO),
        )

    def coefficients(
        self, order: int, lowest: int, highest: int, t: Real[Array, ""], reduction: Reduction
    ) -> tuple[Inexact[Array, "levels capacity"], Real[Array, ""]]:
        table, growth = matrix_family(order, lowest, highest, t, reduction.small)
        # Past this the scaled and squared exponential has lost its digits: such a step must not be accepted.
        trusted = jnp.abs(t) <= _trusted_length(order, reduction.small)
        return table * reduction.norm.astype(table.dtype), jnp.where(trusted, growth, jnp.inf)

    def dual_coefficients(
        self, order: int, lowest: int, highest: int, t: Real[Array, ""], reduction: Reduction
    ) -> tuple[Inexact[Array, "levels capacity"], Real[Array, ""]]:
        return self.coefficients(order, lowest, highest, t, reduction)

    def tail(self, order: int, component: int, table: Array, reduction: Reduction) -> Inexact[Array, " capacity"]:
        return table[2 * order - 1 - component]

    def longest(self, order: int, reduction: Reduction) -> Real[Array, ""]:
        # t‖H‖ of about six times the dimension (four for waves) is beyond what any data allowed in our measurements.
        size = _one_norm(reduction.small)
        reach = 6.0 if order == 1 else 4.0
        length = reach * reduction.dimension.astype(size.dtype) / jnp.where(size > 0, size ** (1.0 / order), 1.0)
        return jnp.where(size > 0, length, jnp.inf)

    def outcome(self, reduction: Reduction) -> RESULTS:
        return RESULTS.successful

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
        kernel = matrix_pairing(order, level_dual, level, offset, span, dual.small, primal.small)
        return kernel * (dual.norm * primal.norm).astype(kernel.dtype)

    def sizes(self, capacity: int) -> tuple[int, ...]:
        return (capacity,)

    def to_basis(self, reduction: Reduction, coordinates: Inexact[Array, "k capacity"]) -> Inexact[Array, "k capacity"]:
        return coordinates

    def dual_to_basis(
        self, reduction: Reduction, coordinates: Inexact[Array, "k capacity"]
    ) -> Inexact[Array, "k capacity"]:
        return coordinates


def _hessenberg(state: ArnoldiState, count: int) -> Array:
    del count  # the padded matrix is block diagonal, and small enough as it is
    return state.hessenberg


def _one_norm(matrix: Array) -> Array:
    return jnp.max(jnp.sum(jnp.abs(matrix), axis=0))


def _trusted_length(order: int, matrix: Array) -> Array:
    # Measured: float32 loses 3e-4 at ‖tH‖ = 2734, about 1e-7 ‖tH‖; the same share of double precision is 1e-10.
    size = _one_norm(matrix)
    limit = 100.0 if jnp.finfo(size.dtype).bits == 32 else 1e6
    return jnp.where(size > 0, limit / jnp.where(size > 0, size ** (1.0 / order), 1.0), jnp.inf)
