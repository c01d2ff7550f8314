"""What a method of approximating `F_l(t, A) v` in a Krylov space must answer."""

import abc
from collections.abc import Callable

import equinox as eqx
import lineax as lx
from jaxtyping import Array, Inexact, PyTree, Real

from .._custom_types import Weight
from .._solution import RESULTS
from ._reduction import Reduction


class AbstractMethod(eqx.Module):
    """How functions of an operator are applied to a vector. See `krylovpde.Arnoldi`, `Lanczos`, `Dense`."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The name that `stats.method` and messages use."""

    @property
    @abc.abstractmethod
    def max_steps(self) -> int:
        """The default bound on the number of sub-steps."""

    @abc.abstractmethod
    def check(self, operator: lx.AbstractLinearOperator) -> None:
        """Raises `ValueError` where this method cannot serve the operator; decided from static facts only."""


def check_max_dimension(max_dimension: int | None) -> None:
    """Raises for a bound on the dimension that leaves no space."""
    if max_dimension is not None and max_dimension < 2:
        message = f"`max_dimension` must be at least 2 or None, but is {max_dimension}."
        raise ValueError(message)


class AbstractKrylov(AbstractMethod):
    """A method with one Krylov space for each start vector."""

    @abc.abstractmethod
    def capacity(self, operator: lx.AbstractLinearOperator) -> int:
        """The largest dimension, a static number."""

    @abc.abstractmethod
    def reduce(
        self,
        operator: lx.AbstractLinearOperator,
        weight: Weight,
        start: PyTree[Array],
        goal: Real[Array, ""],
        tolerance: float,
        accept: Callable[[Reduction], Array],
    ) -> Reduction:
        """Grows a Krylov space from `start` until `accept(reduction)`, breakdown, or full capacity.

        `goal` is the duration that the space is for, `tolerance` the relative error that is allowed, for whoever solves
        systems; `accept` sees a reduction whose `basis` is None.
        """

    @abc.abstractmethod
    def coefficients(
        self, order: int, lowest: int, highest: int, t: Real[Array, ""], reduction: Reduction
    ) -> tuple[Inexact[Array, "levels capacity"], Real[Array, ""]]:
        """`F_l(t, H) e_1 ‖start‖` for `l = lowest … highest`, and a bound of the growth `‖F_0(s, H)‖`, 0 <= s <= t."""

    @property
    @abc.abstractmethod
    def window(self) -> float | None:
        """One space serves durations within this factor of each other; None: all of them up to the longest."""

    @abc.abstractmethod
    def tail(self, order: int, component: int, table: Array, reduction: Reduction) -> Inexact[Array, " capacity"]:
        """The entries whose last one, times the coupling, is the error of a component: see `_error_control`.

        `table`: coefficients of the `2 q` members of the family that belong to the start.
        """

    @abc.abstractmethod
    def longest(self, order: int, reduction: Reduction) -> Real[Array, ""]:
        """No step longer than this is worth trying from a full space (infinite where a trial costs little)."""

    @abc.abstractmethod
    def outcome(self, reduction: Reduction) -> RESULTS:
        """Whether the space could be built at all: a member of `RESULTS`."""

    @abc.abstractmethod
    def dual(
        self, operator: lx.AbstractLinearOperator, weight: Weight, cotangent: PyTree[Array]
    ) -> tuple[lx.AbstractLinearOperator, Weight, PyTree[Array]]:
        """The operator, the weight and the start vector whose space serves `F_l(t, Aᵀ) cotangent`."""

    @abc.abstractmethod
    def dual_lift(
        self, weight: Weight, reduction: Reduction, coefficients: Inexact[Array, "*k capacity"]
    ) -> PyTree[Array]:
        """`Σ_j c_j w_j` in the dual basis, where `Aᵀ W ≈ W G`."""

    @abc.abstractmethod
    def dual_coefficients(
        self, order: int, lowest: int, highest: int, t: Real[Array, ""], reduction: Reduction
    ) -> tuple[Inexact[Array, "levels capacity"], Real[Array, ""]]:
        """`coefficients` in the dual basis."""

    @abc.abstractmethod
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
        """`X = ∫₀ˢᵖᵃⁿ F_i(span - s, G) e_1 γ (F_l(offset + s, H) e_1 β)ᵀ ds`, in internal coordinates."""

    @abc.abstractmethod
    def to_basis(self, reduction: Reduction, coordinates: Inexact[Array, "k capacity"]) -> Inexact[Array, "k capacity"]:
        """Rows of `pairing`'s internal coordinates of the primal space, in its basis."""

    @abc.abstractmethod
    def dual_to_basis(
        self, reduction: Reduction, coordinates: Inexact[Array, "k capacity"]
    ) -> Inexact[Array, "k capacity"]:
        """Columns of `pairing`'s internal coordinates of the dual space, in its basis."""

    @abc.abstractmethod
    def sizes(self, capacity: int) -> tuple[int, ...]:
        """Static sizes, ending at the capacity, to which work on a space of fewer vectors is cut down."""
