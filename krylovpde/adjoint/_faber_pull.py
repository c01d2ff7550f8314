"""The adjoint of Faber's recurrence: Clenshaw's, while the forward vectors are made again from checkpoints.

With `X = A - x₀`, the seeds `g_k = Σ_i c_k(t_i) g_i`, `F̃_0 = 2 F_0` and `b_K = b_(K+1) = 0`

    b_k = g_k + (Xᵀ b_(k+1) - a₂ b_(k+2)) / a₁,        k = K-1, …, 1
    ∂J/∂v = g_0 + (Xᵀ b_1 - 2 a₂ b_2) / a₁,             ∂J/∂θ = (<b_1, dA v> + Σ_(k>=1) <b_(k+1), dA F_k v>) / a₁

It is the exact derivative of the computed value for a fixed ellipse and degree, and as accurate as that: the polynomial
is accurate on the whole numerical range. The ellipse that holds that of `A` holds that of `Aᵀ`.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax
from jaxtyping import Array, PyTree

from ..action import FaberSequence, Layout, Pair, Problem, Ring, fill, fill_with_gaps, read_pair
from ..krylov._space import add, scale
from ._engine import Wanted
from ._seeds import Seeds, Sums, Weighed, has_parameters, transposed_step, watch, weigh


class FaberPulled(eqx.Module):
    """The cotangent of one start; `remade`: pairs of forward terms made again.

    `moments`: `<g_i, F̃_k v>`, the cotangents of the coefficients, where a signal's is wanted.
    """

    start: PyTree[Array]
    moments: Array | None
    remade: Array


class _Adjoint(eqx.Module):
    """`b_(k+2)` and `b_(k+1)` before step k, the sums, and a block of seeds."""

    older: PyTree[Array]
    newer: PyTree[Array]
    operator: PyTree
    observation: PyTree
    moments: Array | None
    block: PyTree


class _Pull(eqx.Module):
    """What all steps share."""

    problem: Problem
    ring: Ring
    seeds: Seeds
    parameters: bool = eqx.field(static=True)

    def step(self, k, vector: PyTree[Array] | None, carry: _Adjoint) -> _Adjoint:
        """`b_k`, and what `F_k v` adds to the sums; without vectors where nobody asks for them."""
        image, change = transposed_step(self.problem, vector if self.parameters else None, carry.newer)
        carry = self.seen(k, vector, carry)
        b = add(self.seeds(carry.block, k), self.ring.next(image, carry.newer, carry.older))
        operator = add(carry.operator, change)
        return _Adjoint(carry.newer, b, operator, carry.observation, carry.moments, carry.block)

    def seen(self, k, vector: PyTree[Array] | None, carry: _Adjoint) -> _Adjoint:
        """With the seed k in hand, and what `F_k v` adds to the sums of what is observed."""
        block = self.seeds.refresh(carry.block, k)
        observation, moments = carry.observation, carry.moments
        if vector is not None:
            watched = self.problem.observation if self.parameters else None
            observation = add(observation, watch(watched, self.seeds, block, k, vector))
            moments = weigh(moments, self.seeds, k, vector)
        return _Adjoint(carry.older, carry.newer, carry.operator, observation, moments, block)


def pull_faber(
    problem: Problem,
    ring: Ring,
    cotangents: PyTree[Array],
    wanted: Wanted,
    sums: Sums,
    item: tuple[tuple[FaberSequence, PyTree[Array], Weighed], tuple[()]],
) -> tuple[Sums, FaberPulled]:
    """Cotangents of `Σ_i <g_i, output_i>` through one recurrence, as far as they are wanted.

    `sums`: those of operator (in units of `1 / a₁`) and observation so far.
    """
    (sequence, start, weighed), _ = item
    parameters = wanted.parameters and has_parameters(problem)
    pull = _Pull(problem, ring, Seeds(problem, sequence.series.coefficients, cotangents), parameters)
    zeros = jtu.tree_map(jnp.zeros_like, start)
    moments = jnp.zeros_like(pull.seeds.coefficients) if weighed.wanted else None
    pairs = pairs_back(sequence, wanted)
    carry = _Adjoint(zeros, zeros, *sums, moments, pull.seeds.block(2 * pairs - 1))
    remembered = parameters or weighed.wanted
    if remembered:
        assert sequence.checkpoints is not None
        carry, remade = _through_levels(pull, sequence, pairs, carry)
        first = read_pair(sequence.checkpoints, 0)[1]
    else:
        carry = _down(pull, carry, pairs, 1, lambda _: (None, None))
        remade, first = jnp.zeros_like(pairs), None
    carry = pull.step(1, first, carry)
    image, change = transposed_step(problem, start if parameters else None, carry.newer)
    zero = jnp.zeros_like(pairs)
    carry = pull.seen(zero, scale(2.0, start) if remembered else None, carry)
    # b_0 belongs to F̃_0 = 2 v, which the first step takes half of.
    b = add(pull.seeds(carry.block, zero), ring.next(scale(0.5, image), scale(0.5, carry.newer), carry.older))
    return (add(carry.operator, change), carry.observation), FaberPulled(scale(2.0, b), carry.moments, remade)


def pairs_back(sequence: FaberSequence, wanted: Wanted) -> Array:
    """How many pairs of steps back: a start of zero has no share in the parameters' cotangent, only one of its own."""
    return sequence.series.pairs if wanted.state else sequence.pairs


def _through_levels(pull: _Pull, sequence: FaberSequence, pairs: Array, carry: _Adjoint) -> tuple[_Adjoint, Array]:
    """All steps but those of the first pair, from checkpoint to checkpoint backwards, on three levels."""
    ring, operator = pull.ring, pull.problem.operator
    checkpoints = sequence.checkpoints
    assert checkpoints is not None
    layout = Layout(sequence.series.coefficients.shape[-1])
    coarse, fine = layout.spacings(sequence.series.pairs)

    def finest(begin, count, pair: Pair, carry: tuple[_Adjoint, Pair]) -> tuple[_Adjoint, Pair]:
        adjoint, buffer = carry
        buffer = fill(ring, operator, buffer, pair, count)
        vectors = lambda index: read_pair(buffer, index - begin)  # noqa: E731
        return _down(pull, adjoint, begin + count, jnp.maximum(begin, 1), vectors), buffer

    def middle(begin, count, pair: Pair, carry):
        (adjoint, buffer, coarser), remade = carry
        coarser = fill_with_gaps(ring, operator, coarser, pair, count, fine)
        adjoint, buffer = _backwards(finest, begin, count, fine, coarser, (adjoint, buffer))
        # This level makes the pairs up to its last checkpoint again, the finest one all that are none.
        segments = (count + fine - 1) // fine
        return (adjoint, buffer, coarser), remade + (segments - 1) * fine + count - segments

    room = (carry, layout.empty((carry.newer, carry.newer)), layout.empty((carry.newer, carry.newer)))
    (carry, _, _), remade = _backwards(middle, 0, pairs, coarse, checkpoints, (room, jnp.zeros_like(pairs)))
    return carry, remade


def _backwards(visit: Any, begin, count, spacing, checkpoints: Pair, carry: Any) -> Any:
    """`visit(begin, count, pair, carry)` for each segment of `count` pairs, the last one first."""
    segments = (count + spacing - 1) // spacing

    def body(place, carry):
        offset = (segments - 1 - place) * spacing
        length = jnp.minimum(spacing, count - offset)
        return visit(begin + offset, length, read_pair(checkpoints, segments - 1 - place), carry)

    return lax.fori_loop(0, segments, body, carry)


def _down(pull: _Pull, carry: _Adjoint, above, lowest, vectors: Any) -> _Adjoint:
    """The steps of the pairs `above - 1, …, lowest`."""

    # The vectors of the next pair are carried: read where they are used, from a buffer at an index that is not known
    # before, they would be read so at every point of every stencil, which takes twice as long.
    def body(place, both: tuple[_Adjoint, Any]) -> tuple[_Adjoint, Any]:
        carry, (older, newer) = both
        pair = above - 1 - place
        carry = pull.step(2 * pair, older, pull.step(2 * pair + 1, newer, carry))
        return carry, vectors(jnp.maximum(pair - 1, lowest))

    return lax.fori_loop(0, above - lowest, body, (carry, vectors(above - 1)))[0]
