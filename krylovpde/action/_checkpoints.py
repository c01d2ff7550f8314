"""Checkpoints of a two-term recurrence: from every vector back to the first one, in little memory.

A pair of vectors is stored every `s₁` pairs, `s₁` as small as a static number of slots allows; on the way back the
pairs between two of them are made again and stored every `s₂`, and between two of those all of them. With R slots on
each of the three levels R³ pairs take 3R pairs of memory, and each one is made three times at most (twice up to R²
pairs).
"""

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
from jax import lax
from jaxtyping import Array, PyTree

from ..krylov._space import add, row, scale, set_row, subtract, zeros_basis
from ..operator import Ellipse

Pair = tuple[PyTree[Array], PyTree[Array]]


class Ring(eqx.Module):
    """The ellipse as the recurrence needs it: `ψ(w) = centre + outer w + inner / w`."""

    centre: Array
    outer: Array
    inner: Array

    def __init__(self, ellipse: Ellipse):
        outer = 0.5 * (ellipse.real + ellipse.imaginary)
        self.centre = ellipse.centre
        self.outer = jnp.where(outer > 0, outer, 1.0)
        self.inner = 0.5 * (ellipse.real - ellipse.imaginary)

    def mapped(self, image: PyTree[Array], x: PyTree[Array], factor: float = 1.0) -> PyTree[Array]:
        """`factor (A - x₀) x / a₁` from `image = A x`."""
        return add(scale(factor / self.outer, image), scale(-factor * self.centre / self.outer, x))

    def next(self, image: PyTree[Array], newer: PyTree[Array], older: PyTree[Array]) -> PyTree[Array]:
        """One step of the recurrence, or of its adjoint."""
        return subtract(self.mapped(image, newer), scale(self.inner / self.outer, older))

    def pair_after(self, operator: lx.AbstractLinearOperator, pair: Pair) -> Pair:
        """Two steps."""
        older, newer = pair
        older = self.next(operator.mv(newer), newer, older)
        return older, self.next(operator.mv(older), older, newer)


class Layout(eqx.Module):
    """The static number of slots on each level."""

    slots: int = eqx.field(static=True)

    def __init__(self, max_degree: int):
        pairs = (max_degree + 1) // 2
        self.slots = next(slots for slots in range(1, pairs + 1) if slots**3 >= pairs)

    def spacings(self, pairs: Array) -> tuple[Array, Array]:
        """Pairs from checkpoint to checkpoint on the two coarser levels; on the finest there are no gaps."""
        coarse = (pairs + self.slots - 1) // self.slots
        return coarse, (coarse + self.slots - 1) // self.slots

    def empty(self, like: Pair) -> Pair:
        """Room for the checkpoints of one level."""
        older, newer = (zeros_basis(x, self.slots) for x in like)
        return older, newer


def write_pair(buffer: Pair, index, pair: Pair) -> Pair:
    """The buffer with a pair in slot `index`."""
    return set_row(buffer[0], index, pair[0]), set_row(buffer[1], index, pair[1])


def read_pair(buffer: Pair, index) -> Pair:
    """The pair in slot `index`."""
    return row(buffer[0], index), row(buffer[1], index)


def fill_with_gaps(ring: Ring, operator: lx.AbstractLinearOperator, buffer: Pair, pair: Pair, count, spacing) -> Pair:
    """Every `spacing`-th of the `count` pairs that begin with `pair`."""
    segments = (count + spacing - 1) // spacing

    def segment(index, carry: tuple[Pair, Pair]) -> tuple[Pair, Pair]:
        pair, buffer = carry
        ahead = jnp.where(index < segments - 1, spacing, 0)
        buffer = write_pair(buffer, index, pair)
        return lax.fori_loop(0, ahead, lambda _, pair: ring.pair_after(operator, pair), pair), buffer

    return lax.fori_loop(0, segments, segment, (pair, buffer))[1]


def fill(ring: Ring, operator: lx.AbstractLinearOperator, buffer: Pair, pair: Pair, count) -> Pair:
    """All of the `count` pairs that begin with `pair`."""

    def body(index, carry: tuple[Pair, Pair]) -> tuple[Pair, Pair]:
        pair = ring.pair_after(operator, carry[0])
        return pair, write_pair(carry[1], index, pair)

    return lax.fori_loop(1, count, body, (pair, write_pair(buffer, 0, pair)))[1]
