"""The finite-volume stencil operator: fluxes through faces, differenced."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import numpy as np
from jaxtyping import Array, Inexact

from ..grid import AbstractGrid, cell_volumes
from ._base import AbstractOperator
from ._constant import hide, reveal
from ._kernel import (
    Coefficient,
    FaceCoefficients,
    net_inflow,
    net_inflow_transpose,
    preceding,
    shifted,
    without_bending,
)
from ._precision import apply_in_precision, state_dtype
from ._tags import self_adjoint_tag


class FluxOperator(AbstractOperator):
    r"""A finite-volume operator in flux form.

        (A u)_i = s_i ( Σ_axis (F_{i-1/2} - F_{i+1/2}) / m_i  +  d_i u_i )

    with fluxes `F` that are linear in the two (or four) cells beside a face: `faces` holds their coefficients per
    axis, areas included, `diagonal` terms that add up to `d` (reactions; what the walls take out), `scale` the factor
    `s` (one over a capacity, a squared speed). `m` are the cell measures of the grid. What leaves a cell enters its
    neighbour, so `Σ_i V_i (A u)_i / s_i` holds only reactions and what passes the walls, to rounding.

    The transpose, `Σ_axis S_axisᵀ (s y / m) + d s y`, is written by hand and costs what `A` costs.

    Its leaves are the *face* coefficients: a derivative with respect to the operator costs about one application, and
    the chain to the parameters of the cells is taken once, outside of all loops. Coefficients that geometry alone
    decides are `Constant`s, no leaves. Without transport it is self-adjoint
    in the weight `cell_volumes / scale`.

    [`krylovpde.Laplacian`][] and the equations make these; the constructor is for those who have face coefficients.
    """

    grid: AbstractGrid
    faces: tuple[Any, ...]
    diagonal: tuple[Any, ...]
    scale: Array | None
    periodic: tuple[bool, ...] = eqx.field(static=True)
    transposed: bool = eqx.field(static=True)

    def __init__(
        self,
        grid: AbstractGrid,
        faces: tuple[FaceCoefficients, ...],
        diagonal: tuple[Any, ...],
        scale: Array | None,
        periodic: tuple[bool, ...],
        transposed: bool = False,
    ):
        """From face coefficients.

        **Arguments:**

        - `grid`: where.
        - `faces`: per axis, arrays that broadcast to a field; entry `j` belongs to the face between the cells `j` and
            `j + 1`. On an axis whose cells are all alike they are divided by the cell measure.
        - `diagonal`: arrays that broadcast to a field and add up to `d`.
        - `scale`: the factor `s`, or `None` for 1.
        - `periodic`: per axis.
        - `transposed`: makes this `Aᵀ`, with `s` and `1/m` applied before the differences.

        NumPy arrays among the coefficients are geometry, which no derivative reaches.
        """
        self.grid = grid
        self.faces = hide(faces)
        self.diagonal = hide(diagonal)
        self.scale = scale
        self.periodic = periodic
        self.transposed = transposed

    def mv(self, vector: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
        """`A u`, in the precision of `u`, real or complex."""
        u = self.grid.check_field(vector, f"{type(self).__name__}.mv(vector)")
        measures = [reciprocal_measures(self.grid, axis) for axis in range(self.grid.ndim)]
        return apply_in_precision(self._apply, (*reveal((self.faces, self.diagonal)), self.scale, measures), u)

    def _apply(self, coefficients: Any, u: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
        faces, diagonal, scale, measures = coefficients
        if self.transposed and scale is not None:
            u = scale * u
        total = jnp.zeros((), u.dtype)
        for axis, (coefficient, measure) in enumerate(zip(faces, measures, strict=True)):
            if self.transposed:
                source = u if measure is None else u * measure
                inflow = net_inflow_transpose(coefficient, source, axis, self.periodic[axis])
            else:
                inflow = net_inflow(coefficient, u, axis, self.periodic[axis])
                inflow = inflow if measure is None else inflow * measure
            total = total + inflow if axis > 0 else inflow
        for term in diagonal:
            total = total + term * u
        return total if scale is None or self.transposed else scale * total

    @property
    def has_transport(self) -> bool:
        """Whether something is carried: then the operator is not self-adjoint."""
        return any(coefficients.transport is not None for coefficients in self.faces)

    def transpose(self) -> "FluxOperator":
        """`Aᵀ`, of the same kind."""
        return FluxOperator(self.grid, self.faces, self.diagonal, self.scale, self.periodic, not self.transposed)

    def in_structure(self) -> jax.ShapeDtypeStruct:
        """A field of `grid.shape`, in the precision of the coefficients."""
        everything = (self.faces, self.diagonal, self.scale)
        # Without parameters the geometry says; beside parameters it is cast to them.
        leaves = jtu.tree_leaves(everything) or jtu.tree_leaves(reveal(everything))
        return jax.ShapeDtypeStruct(self.grid.shape, state_dtype(leaves))

    def out_structure(self) -> jax.ShapeDtypeStruct:
        """The same as `in_structure`."""
        return self.in_structure()

    @property
    def weight(self) -> Any:
        """`cell_volumes / scale` (its reciprocal for the transpose); NumPy where there is no scale."""
        precision = np.finfo(self.in_structure().dtype).dtype
        volumes = cell_volumes(self.grid, precision)
        if self.scale is None:
            return 1.0 / volumes if self.transposed else volumes
        # A constant to every derivative: it names the inner product and has no influence on the result.
        scale = jax.lax.stop_gradient(jnp.real(self.scale)).astype(precision)
        weight = jnp.broadcast_to(jnp.asarray(volumes) / scale, self.grid.shape)
        return 1.0 / weight if self.transposed else weight

    @property
    def tags(self) -> frozenset[object]:
        """Self-adjoint where nothing is transported and no coefficient is complex."""
        real = not jnp.issubdtype(self.in_structure().dtype, jnp.complexfloating)
        return frozenset({self_adjoint_tag}) if real and not self.has_transport else frozenset()

    @property
    def spectral_bound(self) -> Array:
        """A bound of the norm in the weight: Gershgorin's row sums, and for transport also those of the adjoint.

        Self-adjoint operators are bounded by their largest absolute row sum R. In general the 2-norm of
        `M^{1/2} A M^{-1/2}` is at most `sqrt(R C)`, with C the largest row sum of the adjoint `M⁻¹ Aᴴ M`.
        """
        centre, neighbours = stencil(self)
        rows = jnp.abs(centre) + sum(jnp.abs(values) for _, _, values in neighbours)
        # The bound can be attained exactly: a little room for the rounding of the sums.
        room = 1.0 + 16 * float(np.finfo(rows.dtype).eps)
        if not self.has_transport:
            return jnp.max(rows) * room
        weight = jnp.asarray(weight_without_transpose(self))
        columns = jnp.abs(centre)
        for axis, offset, values in neighbours:
            contribution = shifted(jnp.abs(values) * weight, axis, -offset, self.periodic[axis])
            columns = columns + contribution / weight
        return jnp.sqrt(jnp.max(rows) * jnp.max(columns)) * room


def weight_without_transpose(operator: FluxOperator) -> Any:
    """The weight of `A` itself, also where `operator` is `Aᵀ`."""
    return 1.0 / operator.weight if operator.transposed else operator.weight


def reciprocal_measures(grid: AbstractGrid, axis: int) -> np.ndarray | None:
    """`1/m` shaped to broadcast, or `None` on a uniform axis, whose face coefficients contain it."""
    return None if grid.is_uniform(axis) else grid.along(axis, 1.0 / grid.cell_measures(axis))


def stencil(operator: FluxOperator) -> tuple[Array, list[tuple[int, int, Array]]]:
    """The entries of `A` (of the original where `operator` is a transpose), as fields.

    **Returns:**

    The diagonal, and a list of `(axis, offset, values)` with `values[i] = A[i, i + offset]` along that axis.
    """
    all_faces, diagonal = reveal((operator.faces, operator.diagonal))
    shape, dtype = operator.grid.shape, operator.in_structure().dtype
    precision = np.finfo(dtype).dtype
    scale = jnp.ones((), dtype) if operator.scale is None else operator.scale.astype(dtype)
    centre = sum((jnp.asarray(term).astype(dtype) for term in diagonal), start=jnp.zeros(shape, dtype))
    neighbours = []
    for axis, faces in enumerate(all_faces):
        periodic = operator.periodic[axis]
        measure = reciprocal_measures(operator.grid, axis)
        factor = jnp.ones((), precision) if measure is None else jnp.asarray(measure.astype(precision))
        per_offset = _axis_entries(faces, axis, periodic, shape, dtype)
        centre = centre + factor.astype(dtype) * per_offset.pop(0)
        neighbours += [(axis, k, scale * factor.astype(dtype) * values) for k, values in per_offset.items()]
    return scale * centre, neighbours


def second_order_part(operator: FluxOperator) -> FluxOperator:
    """The operator without the bending of its axes.

    That is negative semidefinite, so `A <= second_order_part(A)`.
    """
    faces = tuple(axis._replace(bending=None, held=None) for axis in operator.faces)
    return FluxOperator(operator.grid, faces, operator.diagonal, operator.scale, operator.periodic, operator.transposed)


def row_sums(operator: FluxOperator) -> Array:
    """`(A 1)_i = s_i d_i` of the original, without the cancellation of its fluxes: growth, or loss through walls.

    Of its second-order part, where the axes bend.
    """
    shape, dtype = operator.grid.shape, operator.in_structure().dtype
    terms = (jnp.asarray(term).astype(dtype) for term in reveal(operator.diagonal))
    total = sum(terms, start=jnp.zeros(shape, dtype))
    return total if operator.scale is None else operator.scale.astype(dtype) * total


def _axis_entries(faces: FaceCoefficients, axis: int, periodic: bool, shape, dtype) -> dict[int, Array]:
    def whole(values: Coefficient | None) -> Array:
        if values is None:
            return jnp.zeros(shape, dtype)
        full = jnp.broadcast_to(jnp.asarray(values).astype(dtype), shape)
        # The last face of an axis that does not close is a wall, whatever is stored there.
        return full if periodic else full * _without(-1, shape, axis, dtype)

    faces = jtu.tree_map(lambda values: jnp.asarray(values).astype(dtype), faces)
    faces, held = without_bending(faces, axis, periodic)
    exchange, transport, upstream, downstream = (whole(values) for values in faces[:4])
    if not periodic:
        # Nothing jumps across a wall.
        upstream = upstream * _without(0, shape, axis, dtype)
        downstream = downstream * _without(-2, shape, axis, dtype)
    # -F_j = c[-1] u_{j-1} + c[0] u_j + c[1] u_{j+1} + c[2] u_{j+2}; row j is (-F_j) - (-F_{j-1}).
    c = {-1: upstream, 0: -exchange - transport - upstream, 1: exchange + downstream, 2: -downstream}
    entries = {offset: values for offset, values in c.items() if offset in (0, 1) or faces.upstream is not None}
    rows = dict(entries)
    for offset, values in entries.items():
        above = preceding(values, axis, periodic)
        rows[offset - 1] = rows[offset - 1] - above if offset - 1 in rows else -above
    if held is not None:
        rows[0] = rows[0] + held
    for offset in (offset for offset in tuple(rows) if periodic and offset and offset % shape[axis] == 0):
        # Around an axis of one or two cells a neighbour is the cell itself.
        rows[0], rows[offset] = rows[0] + rows[offset], jnp.zeros_like(rows[offset])
    return rows


def _without(place: int, shape: tuple[int, ...], axis: int, dtype) -> Array:
    """Ones along an axis, but for one zero."""
    mask = np.ones(shape[axis], np.float32)
    mask[place % shape[axis]] = 0.0
    return jnp.asarray(mask.reshape([-1 if i == axis else 1 for i in range(len(shape))])).astype(dtype)


@lx.diagonal.register(FluxOperator)
def _(operator):
    return stencil(operator)[0].reshape(-1)


@lx.is_tridiagonal.register(FluxOperator)
def _(operator):
    faces = operator.faces[0]
    narrow = faces.upstream is None and faces.bending is None
    return operator.grid.ndim == 1 and not operator.periodic[0] and narrow


@lx.tridiagonal.register(FluxOperator)
def _(operator):
    if not lx.is_tridiagonal(operator):
        matrix = operator.as_matrix()
        return tuple(jnp.diagonal(matrix, offset=offset) for offset in (0, -1, 1))
    main, neighbours = stencil(operator)
    entries = {offset: values for _, offset, values in neighbours}
    lower, upper = entries[-1][1:], entries[1][:-1]
    return (main, upper, lower) if operator.transposed else (main, lower, upper)
