"""An equation of an assembled pair: what a finite-element library gives."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jaxtyping import Array, Inexact, PyTree

from ..grid import as_parameter, known_false
from ..operator import AssembledOperator, SparseOperator, WaveState, add_in_precision, divide, self_adjoint_tag
from ..signal import AbstractSignal
from ._base import AbstractEquation, rest_of
from ._checks import check_operator
from ._linear import Linear

# A matrix that was assembled in floating point is symmetric to rounding.
_SYMMETRIC = 1e-8


class Assembled(AbstractEquation):
    r"""An equation from a stiffness matrix and a lumped mass: any mesh, any elements.

        order 1:   M u_t  = -K u + f          order 2:   M u_tt = -K u + f

    with `K` symmetric and positive semidefinite and `M` diagonal and positive: the nodes of a mesh whose Dirichlet
    nodes have been eliminated (their values then stand in `f`). The state is a vector of the nodes' values, or a
    [`krylovpde.WaveState`][] of two. The operator `-M⁻¹K` is self-adjoint in the weight `M`; all actions and adjoints
    for such operators serve it.

    `f` is a load, as assembled: `f_i = ∫ q φ_i dx` for a source `q` per volume and time. Element-wise coefficients are
    parameters where the values of `K` are made from them: `K` is linear in a diffusivity, so that
    `values = B diffusivity` with a sparse `B` that is assembled once (the page on triangle meshes shows it).

    A symmetric positive semidefinite `K` is believed; `kp.verify.structure_test(equation.operator())` checks it.
    """

    linear: Linear
    order: int = eqx.field(static=True)

    def __init__(self, stiffness: Any, mass: Any, *, source: Any = None, order: int = 1):
        """An equation from an assembled pair.

        **Arguments:**

        - `stiffness`: `K`: a SciPy sparse matrix, a [`krylovpde.SparseOperator`][] (whose `values` derivatives reach),
            or any lineax operator; symmetric.
        - `mass`: the diagonal of `M`: positive numbers like the state, or a SciPy sparse matrix that is diagonal.
        - `source`: `f`: a constant like the state, a [`krylovpde.Source`][] (a load times a signal), or a list of
            these; none if left out.
        - `order`: in time, 1 or 2.

        **Raises:**

        `ValueError` for a mass that is not diagonal (a consistent mass matrix has to be lumped), not positive or of
        another shape, a SciPy matrix that is not symmetric, another order; those of [`krylovpde.Linear`][].
        """
        if order not in (1, 2):
            message = f"`Assembled(order=...)` is 1 or 2, got {order!r}."
            raise ValueError(message)
        operator = _as_stiffness(stiffness)
        self.linear = Linear(AssembledOperator(operator, _as_mass(mass, operator.in_structure())), source)
        self.order = order

    @property
    def source(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The load, as it was given."""
        return self.linear.source

    @property
    def stiffness(self) -> lx.AbstractLinearOperator:
        """`K`."""
        return self.operator().stiffness

    @property
    def mass(self) -> PyTree[Array]:
        """The diagonal of `M`."""
        return self.operator().mass

    def operator(self) -> AssembledOperator:
        """`-M⁻¹ K`."""
        operator = self.linear.linear_operator
        assert isinstance(operator, AssembledOperator)
        return operator

    def forcing(self) -> PyTree[Inexact[Array, "..."]] | None:
        """`M⁻¹` times the constant load."""
        load = self.linear.forcing()
        return None if load is None else divide(load, self.mass)

    def driving(self) -> tuple[tuple[PyTree[Inexact[Array, "..."]], AbstractSignal], ...]:
        """The loads that vary in time, times `M⁻¹`."""
        return tuple((divide(profile, self.mass), signal) for profile, signal in self.linear.driving())

    def vector_field(self, t: Any, u: PyTree, args: Any = None) -> PyTree[Inexact[Array, "..."]]:
        """The time derivative of the state, for any ODE solver."""
        del args
        field = u.displacement if self.order == 2 else u
        rate = add_in_precision(self.operator().mv(field), rest_of(self, t, field))
        return WaveState(u.velocity, rate) if self.order == 2 else rate


def _as_stiffness(stiffness: Any) -> lx.AbstractLinearOperator:
    if hasattr(stiffness, "tocsr"):
        matrix = stiffness.tocsr()
        same = matrix.shape[0] == matrix.shape[1]
        if not same or abs(matrix - matrix.T).max() > _SYMMETRIC * abs(matrix).max():
            message = (
                f"`Assembled(stiffness)` must be symmetric; this matrix of shape {matrix.shape} is not. Eliminate "
                "Dirichlet nodes from rows and columns both. For others use kp.Linear(SparseOperator.from_scipy(A))."
            )
            raise ValueError(message)
        return SparseOperator.from_scipy(matrix, tags=self_adjoint_tag)
    check_operator(stiffness, "Assembled(stiffness)")
    return stiffness


def _as_mass(mass: Any, structure: PyTree[jax.ShapeDtypeStruct]) -> PyTree[Array]:
    if hasattr(mass, "tocsr"):
        matrix = mass.tocsr()
        mass = matrix.diagonal()
        if abs(matrix).sum() > abs(mass).sum() * (1 + 1e-12):
            message = (
                "`Assembled(mass)` has entries beside the diagonal: a consistent mass matrix, which every step would "
                "have to invert. Lump it, by its row sums for linear elements: "
                "`mass=numpy.asarray(matrix.sum(axis=1)).ravel()`."
            )
            raise ValueError(message)
    if jtu.tree_structure(mass) != jtu.tree_structure(structure):
        message = f"`Assembled(mass)` must be a pytree like the state, {structure}, got {jtu.tree_structure(mass)}."
        raise ValueError(message)

    def checked(leaf: Any, like: jax.ShapeDtypeStruct) -> Array:
        array = as_parameter(leaf, "Assembled(mass)")
        if array.shape != like.shape or jnp.iscomplexobj(array):
            message = (
                f"`Assembled(mass)` must be real of the state's shape {like.shape}, got {array.dtype} of shape "
                f"{array.shape}. A full mass matrix has to be lumped: `matrix.sum(axis=1)`."
            )
            raise ValueError(message)
        if known_false(lambda m: m > 0.0, array):
            smallest = np.min(np.asarray(array))
            message = f"`Assembled(mass)` must be positive, its smallest entry is {smallest:.6g}."
            raise ValueError(message)
        return array

    return jtu.tree_map(checked, mass, structure)
