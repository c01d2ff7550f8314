"""What a source `f(x) w(t)` makes of one number z of the spectrum: the exact solution of `dᵠy/dtᵠ = z y + w(t)`.

On a panel of the signal, `w(e + s) = Σ_r p_r s^r / r!`, the components of the solution move by the family's members,

    y_j(e + h) = Σ_(l<q) F_(l-j)(h, z) y_l(e) + Σ_r p_r F_(q+r-j)(h, z),

which holds for panels of any length: no step size, and nothing is stepped across a jump. The whole is linear in the
signal, and its transpose is the same walk in reverse.
"""

import functools
import math
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Inexact, Int, PyTree, Real

from ..equation import Pieces
from ._family import scalar_family

# The first q members `t^-l F_l` at the points for a length, from whoever knows them better than from `t^q z`.
Known = Callable[[Array], list[Array] | None]
# Lengths that differ by less than this times `sqrt(eps)`, in units of the fastest oscillation, follow from one another.
_NEAR = 0.3


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
        # That in the middle of the time: panels beyond its end have no length.
        middle = jnp.searchsorted(edges, 0.5 * edges[-1], side="right").astype(jnp.int32) - 1
        self.common = (ends - edges[:-1])[jnp.clip(middle, 0, panels - 1)]


def driven_values(
    order: int, signal: Pieces, times: Real[Array, " n"], points: Inexact[Array, " m"], known: Known | None = None
) -> Array:
    """`y_j(t_i, z_m)` from rest at time 0, of shape `(order, n, m)`; the points may be complex."""
    walk = Walk(signal.edges, times)
    stride = _Stride(order, signal.coefficients.shape[1], walk, points, known)

    def event(k, carry):
        y, out = carry
        panel, output = walk.panel[k], walk.output[k]
        moved = stride(walk.length[k], y, signal.coefficients[panel])
        row = jnp.maximum(output, 0)
        out = out.at[:, row].set(jnp.where(output >= 0, moved, out[:, row]))
        return jnp.where(output >= 0, y, moved), out

    start = jnp.zeros((order, points.size), points.dtype)
    out = jnp.zeros((order, times.size, points.size), points.dtype)
    return lax.fori_loop(0, walk.panel.size, event, (start, out))[1]


def driven_transpose(
    order: int,
    signal: Pieces,
    times: Real[Array, " n"],
    points: Inexact[Array, " m"],
    cotangent: Array,
    known: Known | None = None,
) -> Real[Array, "panels terms"]:
    """The cotangent of the signal's coefficients from one of `driven_values` (plain transpose, real part)."""
    walk = Walk(signal.edges, times)
    stride = _Stride(order, signal.coefficients.shape[1], walk, points, known)
    events = walk.panel.size

    def event(k, carry):
        adjoint, pulled = carry
        k = events - 1 - k
        panel, output = walk.panel[k], walk.output[k]
        is_output = output >= 0
        seed = jnp.where(is_output, cotangent[:, jnp.maximum(output, 0)], adjoint)
        back, change = stride.back(walk.length[k], seed)
        adjoint = jnp.where(is_output, adjoint + back, back)
        return adjoint, pulled.at[panel].add(change)

    start = jnp.zeros((order, points.size), points.dtype)
    return lax.fori_loop(0, events, event, (start, jnp.zeros_like(signal.coefficients)))[1]


class _Stride(eqx.Module):
    """From one event to the next, and back. The functions of the common length are made once.

    Equal panels differ by the rounding of their edges. What that does follows from the equation itself, `h + δ` being
    `δ` after `h`; left out, the phases of hundreds of panels would add up what each of them misses.
    """

    points: Array
    walk: Walk
    common: Array
    known: Known | None
    order: int = eqx.field(static=True)
    terms: int = eqx.field(static=True)

    def __init__(self, order: int, terms: int, walk: Walk, points: Array, known: Known | None):
        self.order, self.terms, self.walk, self.points, self.known = order, terms, walk, points, known
        self.common = self._members(walk.common)

    def __call__(self, length: Array, y: Array, coefficients: Array) -> Array:
        """The components at the event, from those at the panel's left edge."""
        common, change = self.walk.common, length - self.walk.common

        def equal(y: Array) -> Array:
            moved = _move(self.order, self.common, y, coefficients)
            force = coefficients @ jnp.stack(_powers(common, self.terms))
            rate = [*moved[1:], self.points * moved[0] + force.astype(moved.dtype)]
            return moved + jnp.stack([_times(change, part) for part in rate])

        cases = [lambda y: y, equal, lambda y: _move(self.order, self._members(length), y, coefficients)]
        return lax.switch(self._kind(length), cases, y)

    def back(self, length: Array, seed: Array) -> tuple[Array, Array]:
        """The transposes with respect to the components and the coefficients."""
        common, change = self.walk.common, length - self.walk.common

        def equal(seed: Array) -> tuple[Array, Array]:
            moving = [_times(change, part) for part in seed]
            moved = seed + jnp.stack([self.points * moving[-1], *moving[:-1]])
            back, pulled = _move_back(self.order, self.terms, self.common, moved)
            force = jnp.real(jnp.sum(moving[-1]))
            return back, pulled + force * jnp.stack(_powers(common, self.terms))

        def other(seed: Array) -> tuple[Array, Array]:
            return _move_back(self.order, self.terms, self._members(length), seed)

        nothing = jnp.zeros(self.terms, self.points.real.dtype)
        return lax.switch(self._kind(length), [lambda seed: (seed, nothing), equal, other], seed)

    def _members(self, length: Array) -> Array:
        """`F_l(length, z)` for `l = 1 - q … q + terms - 1`."""
        known = None if self.known is None else self.known(length)
        return scalar_family(self.order, 1 - self.order, self.order + self.terms - 1, length, self.points, known)

    def _kind(self, length: Array) -> Int[Array, ""]:
        """0: no length; 1: the common one; 2: any other."""
        fastest = jnp.max(jnp.abs(self.points)) ** (1.0 / self.order)
        # What is left out, half the square of the change of a phase, is far below rounding.
        near = _NEAR * math.sqrt(jnp.finfo(length.dtype).eps)
        equal = jnp.abs(length - self.walk.common) * fastest <= near
        return jnp.where(length == 0, 0, jnp.where(equal, 1, 2)).astype(jnp.int32)


def _move(order: int, table: Array, y: Array, coefficients: Array) -> Array:
    moved = []
    for j in range(order):
        own = [table[level - j + order - 1] * y[level] for level in range(order)]
        forced = [_times(c, table[2 * order - 1 - j + r]) for r, c in enumerate(coefficients)]
        moved.append(functools.reduce(jnp.add, own + forced))
    return jnp.stack(moved)


def _move_back(order: int, terms: int, table: Array, seed: Array) -> tuple[Array, Array]:
    """The transposes of `_move` with respect to the state and the coefficients."""
    back = [
        functools.reduce(jnp.add, [table[level - j + order - 1] * seed[j] for j in range(order)])
        for level in range(order)
    ]
    change = jnp.zeros(terms, seed.real.dtype)
    for j in range(order):
        begin = 2 * order - 1 - j
        change = change + jnp.real(table[begin : begin + terms] @ seed[j])
    return jnp.stack(back), change


def _powers(length: Array, terms: int) -> list[Array]:
    """`h^r / r!`."""
    return [length**r / math.factorial(r) for r in range(terms)]


def _times(number: Array, values: Array) -> Array:
    """A real number times real or complex ones, without the products with zero."""
    if not jnp.iscomplexobj(values):
        return number * values
    return lax.complex(number * values.real, number * values.imag)
