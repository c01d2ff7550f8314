"""What a source `f(x) w(t)` makes of one number z of the spectrum: the exact solution of `dᵠy/dtᵠ = z y + w(t)`.

On a panel of the signal, `w(e + s) = Σ_r p_r s^r / r!`, the components of the solution move by the family's members,

    y_j(e + h) = Σ_(l<q) F_(l-j)(h, z) y_l(e) + Σ_r p_r F_(q+r-j)(h, z),

which holds for panels of any length: no step size, and nothing is stepped across a jump. The whole is linear in the
signal, and its transpose is the same walk in reverse.
"""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Inexact, Int, PyTree, Real

from ..equation import Pieces
from ._family import scalar_family


class Driven(eqx.Module):
    """A start of its own kind: a profile in space, driven by a signal. It stands after the fields of a state."""

    profile: PyTree[Inexact[Array, "..."]]
    signal: Pieces


def fields_of(state: tuple) -> tuple:
    """The fields of a state: its components, and the chain of polynomial sources."""
    return tuple(part for part in state if not isinstance(part, Driven))


def driven_of(state: tuple) -> tuple:
    """The driven sources of a state."""
    return tuple(part for part in state if isinstance(part, Driven))


def profile_of(part: PyTree) -> PyTree:
    """The field that a recurrence starts from."""
    return part.profile if isinstance(part, Driven) else part


class Walk(eqx.Module):
    """Every panel's end and every output time, in the order of time.

    * `panel`: on which panel; `length`: how far from its left edge.
    * `output`: which output time, -1 for a panel's end.
    * `common`: the length of most panels, whose functions are made only once.
    """

    panel: Int[Array, " events"]
    length: Real[Array, " events"]
    output: Int[Array, " events"]
    common: Real[Array, ""]

    def __init__(self, edges: Real[Array, " edges"], times: Real[Array, " n"]):
        panels, ends = edges.size - 1, edges[1:]
        index = jnp.clip(jnp.searchsorted(edges, times, side="right").astype(jnp.int32) - 1, 0, panels - 1)
        panel = jnp.concatenate([index, jnp.arange(panels, dtype=jnp.int32)])
        outputs = jnp.arange(times.size, dtype=jnp.int32)
        output = jnp.concatenate([outputs, jnp.full(panels, -1, jnp.int32)])
        moment = jnp.concatenate([times, ends])
        # On each panel first its outputs, then its end.
        order = jnp.lexsort((output < 0, panel))
        self.panel, self.output = panel[order], output[order]
        self.length = (moment - edges[panel])[order]
        self.common = (ends - edges[:-1])[panels // 2]


def driven_values(order: int, signal: Pieces, times: Real[Array, " n"], points: Inexact[Array, " m"]) -> Array:
    """`y_j(t_i, z_m)` from rest at time 0, of shape `(order, n, m)`; the points may be complex."""
    walk = Walk(signal.edges, times)
    terms = signal.coefficients.shape[1]
    table = _table_of(order, terms, walk, points)

    def event(k, carry):
        y, out = carry
        panel, output = walk.panel[k], walk.output[k]
        moved = _move(order, table(walk.length[k]), y, signal.coefficients[panel])
        row = jnp.maximum(output, 0)
        out = out.at[:, row].set(jnp.where(output >= 0, moved, out[:, row]))
        return jnp.where(output >= 0, y, moved), out

    start = jnp.zeros((order, points.size), points.dtype)
    out = jnp.zeros((order, times.size, points.size), points.dtype)
    return lax.fori_loop(0, walk.panel.size, event, (start, out))[1]


def driven_transpose(
    order: int, signal: Pieces, times: Real[Array, " n"], points: Inexact[Array, " m"], cotangent: Array
) -> Real[Array, "panels terms"]:
    """The cotangent of the signal's coefficients from one of `driven_values` (plain transpose, real part)."""
    walk = Walk(signal.edges, times)
    terms = signal.coefficients.shape[1]
    table = _table_of(order, terms, walk, points)
    events = walk.panel.size

    def event(k, carry):
        adjoint, pulled = carry
        k = events - 1 - k
        panel, output = walk.panel[k], walk.output[k]
        is_output = output >= 0
        seed = jnp.where(is_output, cotangent[:, jnp.maximum(output, 0)], adjoint)
        back, change = _move_back(order, terms, table(walk.length[k]), seed)
        adjoint = jnp.where(is_output, adjoint + back, back)
        return adjoint, pulled.at[panel].add(change)

    start = jnp.zeros((order, points.size), points.dtype)
    return lax.fori_loop(0, events, event, (start, jnp.zeros_like(signal.coefficients)))[1]


def _table_of(order: int, terms: int, walk: Walk, points: Array):
    """`length -> F_l(length, z)` for `l = 1 - q … q + terms - 1`; those of the common length are made once."""

    def compute(length: Array) -> Array:
        return scalar_family(order, 1 - order, order + terms - 1, length, points)

    common = compute(walk.common)
    # At length zero the first q components stay what they are: F_0 = 1 in the rows of `scalar_family`.
    nothing = jnp.zeros_like(common).at[order - 1].set(1.0)
    # Lengths that differ by the rounding of the edges are the same: the phases differ by no more than theirs do.
    near = 8 * jnp.finfo(walk.length.dtype).eps * jnp.max(jnp.abs(walk.length))

    def table(length: Array) -> Array:
        kind = jnp.where(length == 0, 0, jnp.where(jnp.abs(length - walk.common) <= near, 1, 2))
        return lax.switch(kind.astype(jnp.int32), [lambda _: nothing, lambda _: common, compute], length)

    return table


def _move(order: int, table: Array, y: Array, coefficients: Array) -> Array:
    moved = []
    for j in range(order):
        own = sum((table[level - j + order - 1] * y[level] for level in range(order)), jnp.zeros_like(y[0]))
        begin = 2 * order - 1 - j
        rows = table[begin : begin + coefficients.size]
        moved.append(own + jnp.tensordot(coefficients.astype(rows.dtype), rows, axes=1))
    return jnp.stack(moved)


def _move_back(order: int, terms: int, table: Array, seed: Array) -> tuple[Array, Array]:
    """The transposes of `_move` with respect to the state and the coefficients."""
    back = [
        sum((table[level - j + order - 1] * seed[j] for j in range(order)), jnp.zeros_like(seed[0]))
        for level in range(order)
    ]
    change = jnp.zeros(terms, seed.dtype)
    for j in range(order):
        begin = 2 * order - 1 - j
        change = change + table[begin : begin + terms] @ seed[j]
    return jnp.stack(back), jnp.real(change)
