"""Flux differences along one axis: the innermost loop of the package.

Faces are stored with their cells: face `j` is the one between cells `j` and `j + 1`, so that every face array has the
length of the axis. The last face of a periodic axis leads back to cell 0; the last face of any other axis is a wall and
never read. Face arrays of the length of the fields are sharded as they are, without a gather.

The forms are chosen by measurement (float32, two CPU cores, one 5-point application): fluxes padded on both sides and
differenced take 6 µs at 128² and 20 µs at 256², two shifted copies of the flux 27 and 28 µs, `jnp.roll` 13 and 100 µs.
Under a `NamedSharding` all forms below compile to collective permutes, the wrap of a sharded periodic axis to one
reduction of a face; a `concatenate` may become an all-to-all.
"""

from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Inexact

from .._custom_types import ArrayOrNumPy

Values: TypeAlias = Inexact[Array, "..."]
Coefficient: TypeAlias = Inexact[ArrayOrNumPy, "..."]


class FaceCoefficients(NamedTuple):
    """The coefficients of the flux out of cell `j` through face `j`, per axis: arrays that broadcast to a field.

        -F_j = exchange_j g_j - transport_j u_j - upstream_j g_{j-1} - downstream_j g_{j+1},    g_j = u_{j+1} - u_j

    A constant field makes `g` exactly zero. `None` for terms that the scheme does not have, NumPy arrays for geometry.
    `bending` and `held`, which belong to the cells, make an axis one of fourth order (`_bending`).
    """

    exchange: Any
    transport: Any = None
    upstream: Any = None
    downstream: Any = None
    bending: Any = None
    held: Any = None


def cut(values: Values, axis: int, start: int | None, stop: int | None) -> Values:
    """`values[start:stop]` along one axis; an axis of length 1 broadcasts and stays."""
    if values.shape[axis] == 1:
        return values
    return lax.slice_in_dim(values, start, stop, axis=axis)


def pad(values: Values, axis: int, before: int, after: int) -> Values:
    """`values` between zeros along one axis."""
    widths = [(before, after) if i == axis else (0, 0) for i in range(values.ndim)]
    return jnp.pad(values, widths)


def following(values: Values, axis: int, periodic: bool) -> Values:
    """`values[j + 1]` at `j`: after the last one the first if periodic, else zero."""
    size = values.shape[axis]
    shifted = pad(lax.slice_in_dim(values, 1, None, axis=axis), axis, 0, 1)
    if not periodic:
        return shifted
    return shifted + pad(lax.slice_in_dim(values, 0, 1, axis=axis), axis, size - 1, 0)


def preceding(values: Values, axis: int, periodic: bool) -> Values:
    """`values[j - 1]` at `j`: before the first one the last if periodic, else zero."""
    size = values.shape[axis]
    shifted = pad(lax.slice_in_dim(values, 0, -1, axis=axis), axis, 1, 0)
    if not periodic:
        return shifted
    return shifted + pad(lax.slice_in_dim(values, size - 1, None, axis=axis), axis, 0, size - 1)


def shifted(values: Values, axis: int, offset: int, periodic: bool) -> Values:
    """`values[j + offset]` at `j`, for small offsets."""
    shift = following if offset > 0 else preceding
    for _ in range(abs(offset)):
        values = shift(values, axis, periodic)
    return values


def without_bending(coefficients: FaceCoefficients, axis: int, periodic: bool) -> tuple[FaceCoefficients, Any]:
    """The same flux from couplings of first and second neighbours, and what a held wall adds to the diagonal.

    With `m` the bending and `b_j = m_j (g_j - g_{j-1})` in the cells, the flux has `b_j - b_{j+1}` besides. Where a
    wall holds the field at zero, the jump across it, from the mirror image, is `held u`; for the second difference `L`
    that does not know of it and `d = held m` the sum is

        -(L - held) m (L - held) = -L m L + (d L + L d) - held d,    d L + L d = couplings d_j + d_{j+1}, diagonal L d .
    """
    if coefficients.bending is None:
        return coefficients, None
    bending = coefficients.bending
    beyond = _beyond(bending, axis, periodic)
    exchange, diagonal = coefficients.exchange + (bending + beyond), None
    if coefficients.held is not None:
        couplings = coefficients.held * bending
        exchange = exchange + (couplings + _beyond(couplings, axis, periodic))
        one = FaceCoefficients(jnp.ones((1,) * couplings.ndim, couplings.dtype))
        diagonal = net_inflow(one, couplings, axis, periodic) - coefficients.held * couplings
    return FaceCoefficients(exchange, coefficients.transport, bending, beyond), diagonal


def _beyond(values: Values, axis: int, periodic: bool) -> Values:
    """Of the cell above each face; an axis of length 1 broadcasts and stays."""
    return values if values.shape[axis] == 1 else following(values, axis, periodic)


def net_inflow(coefficients: FaceCoefficients, u: Values, axis: int, periodic: bool) -> Values:
    """`F_{j-1} - F_j`: what flows into each cell along one axis, per unit time."""
    coefficients, diagonal = without_bending(coefficients, axis, periodic)
    inflow = _periodic_inflow(coefficients, u, axis) if periodic else _open_inflow(coefficients, u, axis)
    return inflow if diagonal is None else inflow + diagonal * u


def _open_inflow(coefficients: FaceCoefficients, u: Values, axis: int) -> Values:
    inner = _inner_faces(coefficients, axis)
    below, above = lax.slice_in_dim(u, 0, -1, axis=axis), lax.slice_in_dim(u, 1, None, axis=axis)
    jump = above - below
    flux = inner.exchange * jump
    if inner.transport is not None:
        flux = flux - inner.transport * below
    if inner.upstream is not None and inner.downstream is not None and jump.shape[axis] > 0:
        flux = flux - inner.upstream * preceding(jump, axis, False) - inner.downstream * following(jump, axis, False)
    flux = pad(flux, axis, 1, 1)
    return lax.slice_in_dim(flux, 1, None, axis=axis) - lax.slice_in_dim(flux, 0, -1, axis=axis)


def net_inflow_transpose(coefficients: FaceCoefficients, y: Values, axis: int, periodic: bool) -> Values:
    """The transpose of `net_inflow`.

    With `δ_j = y_{j+1} - y_j` across the faces, `y · inflow(u) = Σ_j F_j δ_j`: the jumps `g` of `u` collect
    `-H_j = -(exchange δ)_j + (upstream δ)_{j+1} + (downstream δ)_{j-1}` and `u_j` collects `(transport δ)_j`, so that

        (Sᵀ y)_j = H_j - H_{j-1} + (transport δ)_j .
    """
    coefficients, diagonal = without_bending(coefficients, axis, periodic)
    outcome = _jumps_transposed(coefficients, y, axis, periodic)
    return outcome if diagonal is None else outcome + diagonal * y


def _jumps_transposed(coefficients: FaceCoefficients, y: Values, axis: int, periodic: bool) -> Values:
    if periodic:
        inner, jump = coefficients, _periodic_jump(y, axis)
    else:
        inner = _inner_faces(coefficients, axis)
        jump = lax.slice_in_dim(y, 1, None, axis=axis) - lax.slice_in_dim(y, 0, -1, axis=axis)
    flux = inner.exchange * jump
    if inner.upstream is not None and inner.downstream is not None and jump.shape[axis] > 0:
        flux = flux - following(inner.upstream * jump, axis, periodic)
        flux = flux - preceding(inner.downstream * jump, axis, periodic)
    carried = None if inner.transport is None else inner.transport * jump
    if periodic:
        result = flux - preceding(flux, axis, True)
        return result if carried is None else result + carried
    above, below = pad(flux, axis, 1, 1), pad(flux, axis, 1, 1)
    if carried is not None:
        above = above + pad(carried, axis, 1, 1)
    return lax.slice_in_dim(above, 1, None, axis=axis) - lax.slice_in_dim(below, 0, -1, axis=axis)


def _inner_faces(coefficients: FaceCoefficients, axis: int) -> FaceCoefficients:
    exchange, *others = coefficients
    others = (None if values is None else cut(values, axis, 0, -1) for values in others)
    return FaceCoefficients(cut(exchange, axis, 0, -1), *others)


def _periodic_jump(u: Values, axis: int) -> Values:
    size = u.shape[axis]
    inner = lax.slice_in_dim(u, 1, None, axis=axis) - lax.slice_in_dim(u, 0, -1, axis=axis)
    wrap = lax.slice_in_dim(u, 0, 1, axis=axis) - lax.slice_in_dim(u, size - 1, None, axis=axis)
    return pad(inner, axis, 0, 1) + pad(wrap, axis, size - 1, 0)


def _periodic_inflow(coefficients: FaceCoefficients, u: Values, axis: int) -> Values:
    jump = _periodic_jump(u, axis)
    flux = coefficients.exchange * jump
    if coefficients.transport is not None:
        flux = flux - coefficients.transport * u
    if coefficients.upstream is not None and coefficients.downstream is not None:
        flux = flux - coefficients.upstream * preceding(jump, axis, True)
        flux = flux - coefficients.downstream * following(jump, axis, True)
    return flux - preceding(flux, axis, True)
