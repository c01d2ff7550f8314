"""An ellipse around the numerical range of a stencil with transport.

With `H` and `S` the self- and skew-adjoint part of `A` in its weight M (entries `(A ± M⁻¹AᵀM) / 2`), the numerical
range `{<x, A x> : <x, x> = 1}` lies where, for every angle φ, its real part in the direction φ is at most the largest
eigenvalue of `cos φ H - i sin φ S`. Gershgorin's bound of row i of that matrix,

    cos φ H_ii + Σ_j sqrt(cos² φ H_ij² + sin² φ S_ij²)  ≤  cos φ H_ii + sqrt(cos² φ α_i² + sin² φ β_i²),
    α_i² = Σ_j H_ij² / w_j,    β_i² = Σ_j S_ij² / w_j,    Σ_j w_j = 1    (Cauchy and Schwarz)

is the support function of an ellipse around `H_ii` with the semi-axes `α_i, β_i`: no angle is sampled. With
`w_j ~ |H_ij|` no row reaches farther right than in Gershgorin's interval of H, and there `exp(tA)` is largest. For
constant coefficients and one cell Péclet number P along all axes the result is the numerical range itself, `β/α = P/2`.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..grid import open_faces
from ._ellipse import Ellipse, Rows, around
from ._flux import FluxOperator, stencil, weight_without_transpose
from ._kernel import following, preceding

# Couplings that carry more than a hundred times what they exchange count as exchanging a hundredth of it: an ellipse
# that touches the end of the interval would have to be infinitely high beside them.
_LEAST_EXCHANGE = 0.01
# Growth by less than this share of the exchange is believed: P/8 of it where a flow converges within one cell.
_LEAST_PILE = 0.01
# What the coupling of second neighbours takes from the first ones': near the least height for `Upwind(order=3)`, where
# minimising `S₁²/(H₁ - 4x) + S₂²/x` gives x = H₁/20.
_SECOND_SHARE = 0.05


def flux_ellipse(operator: FluxOperator) -> Ellipse:
    """The ellipse of a real stencil with transport."""
    couplings, row_sums = _couplings(operator)
    centre = stencil(operator)[0]
    lower = jnp.min(centre - sum(_on_both(operator, c, jnp.abs(c.exchange)) for c in couplings))
    # The row sums stay when one coupling takes over from another.
    centre = centre + sum(_on_both(operator, c, c.exchange) for c in couplings)
    couplings, damping = _without_negative_exchange(operator, couplings)
    centre = centre - sum(_on_both(operator, c, c.exchange) for c in couplings)
    rows = _rows(operator, centre, couplings)
    lower = jnp.minimum(lower, jnp.min(rows.centre - rows.real) - damping)
    return around(rows, lower, jnp.max(_right_ends(operator, rows, row_sums)), damping)


class _Coupling(NamedTuple):
    """Of cell `i` with cell `i + offset` along an axis, for all `i`: self- and skew-adjoint part, times `M_i`."""

    axis: int
    offset: int
    exchange: Array
    carried: Array


def _couplings(operator: FluxOperator) -> tuple[list[_Coupling], tuple[Array, Array]]:
    """The couplings, and the row sums of `A` and of its adjoint."""
    weight = jnp.asarray(weight_without_transpose(operator))
    centre, neighbours = stencil(operator)
    entries = {(axis, offset): values for axis, offset, values in neighbours}
    couplings, rows, columns = [], centre, centre
    for (axis, offset), values in entries.items():
        rows = rows + values
        if offset < 0:
            continue
        up, down = weight * values, weight * entries[axis, -offset]
        for _ in range(offset):
            down = following(down, axis, operator.periodic[axis])
        couplings.append(_Coupling(axis, offset, 0.5 * (up + down), 0.5 * (up - down)))
        columns = columns + (down + _above(operator, axis, offset, up)) / weight
    return couplings, (rows, columns)


def _above(operator: FluxOperator, axis: int, offset: int, values: Array) -> Array:
    """What belongs to the coupling of `i` and `i + offset`, seen from `i + offset`."""
    for _ in range(offset):
        values = preceding(values, axis, operator.periodic[axis])
    return values


def _on_both(operator: FluxOperator, coupling: _Coupling, values: Array) -> Array:
    """Values of couplings added up in both cells, per weight."""
    both = values + _above(operator, coupling.axis, coupling.offset, values)
    return both / jnp.asarray(weight_without_transpose(operator))


def _without_negative_exchange(operator: FluxOperator, couplings: list[_Coupling]) -> tuple[list[_Coupling], Array]:
    """Couplings of second neighbours paid by those of first ones, and how much dissipation is left out.

    `Upwind(order=3)` damps by fourth differences: its couplings `-m` of second neighbours are negative, and
    Gershgorin's interval would reach far into the right half plane. But `2 (a - b)² + 2 (b - c)² - (a - c)² =
    (a - 2b + c)²`: adding `m` to a second coupling and taking `2 m` from both first ones leaves out a dissipation
    `m (a - 2b + c)²`, at most `4 m (a² + 2 b² + c²)`.
    """
    changed, left_out = [], jnp.zeros((), couplings[0].exchange.dtype)
    for axis in range(operator.grid.ndim):
        here = {coupling.offset: coupling for coupling in couplings if coupling.axis == axis}
        if 2 not in here:
            changed += here.values()
            continue
        first, second = here[1], here[2]
        debt = jnp.maximum(-second.exchange, 0.0)
        remaining = first.exchange - 2.0 * (debt + _above(operator, axis, 1, debt))
        least = jnp.minimum(remaining, following(remaining, axis, operator.periodic[axis]))
        share = jnp.where(second.carried == 0, 0.0, _SECOND_SHARE * jnp.maximum(least, 0.0))
        remaining = remaining - 2.0 * (share + _above(operator, axis, 1, share))
        moved = debt + share
        changed += [first._replace(exchange=remaining), second._replace(exchange=second.exchange + moved)]
        spread = moved + 2.0 * _above(operator, axis, 1, moved) + _above(operator, axis, 2, moved)
        left_out = left_out + 4.0 * spread / jnp.asarray(weight_without_transpose(operator))
    return changed, jnp.max(left_out)


def _rows(operator: FluxOperator, centre: Array, couplings: list[_Coupling]) -> Rows:
    zero = jnp.zeros_like(centre)
    total, real, imaginary = zero, zero, zero
    for coupling in couplings:
        exchange, carried = jnp.abs(coupling.exchange), jnp.abs(coupling.carried)
        share = jnp.maximum(exchange, _LEAST_EXCHANGE * carried)
        divisor = jnp.where(share > 0, share, 1.0)
        total = total + _on_both(operator, coupling, share)
        real = real + _on_both(operator, coupling, exchange**2 / divisor)
        imaginary = imaginary + _on_both(operator, coupling, carried**2 / divisor)
    return Rows(centre, jnp.sqrt(total * real), jnp.sqrt(total * imaginary))


def _right_ends(operator: FluxOperator, rows: Rows, row_sums: tuple[Array, Array]) -> Array:
    """How far right each row reaches, without what flow alone does in single cells.

    Where flow piles up, or enters through a free wall, one of the sums of a row of `A` and of its adjoint tells of
    growth (of the maximum norm, of the sum norm), the other one of none; the row of H reaches as far as their mean.
    """
    ends = rows.centre + rows.real
    excess = 0.5 * jnp.abs(row_sums[0] - row_sums[1])
    single = jnp.asarray(_beside_wall(operator)) | (excess > _LEAST_PILE * rows.real)
    return jnp.where(single, jnp.maximum(ends - excess, jnp.minimum(ends, 0.0)), ends)


def _beside_wall(operator: FluxOperator) -> np.ndarray:
    beside = np.zeros(operator.grid.shape, bool)
    for axis, periodic in enumerate(operator.periodic):
        above = open_faces(operator.grid, axis, periodic)
        beside |= ~(above & np.roll(above, 1, axis))
    return beside
