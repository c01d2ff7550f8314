"""The adjoint of Chebyshev's recurrence: Clenshaw's, while the forward vectors are made again backwards.

With `σ` the sign, `T_(k+1) = 2 Z T_k - σ T_(k-1)` and the seeds `g_k = Σ_i c_k(t_i) g_i`

    b_k = g_k + 2 Zᵀ b_(k+1) - σ b_(k+2),        T_(k-1) v = σ (2 Z T_k v - T_(k+1) v)
    ∂J/∂v = g_0 + Zᵀ b_1 - σ b_2,                 ∂J/∂θ = <b_1, dZ v> + Σ_(k>=1) 2 <b_(k+1), dZ T_k v>

It is the exact derivative of the computed value, and as accurate as that: the polynomial is accurate on the whole
spectrum, so nothing in its derivative is left to chance (NUMERICS 3.2).
"""

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax
from jaxtyping import Array, PyTree

from ..action import Ends, Expansion, Problem, Spectrum
from ..krylov._space import add, scale, subtract
from ._engine import Wanted
from ._seeds import Seeds, Sums, Weighed, transposed_step, watch, weigh


class Pulled(eqx.Module):
    """The cotangent of one start, and the start as the recurrence came back to it.

    `moments`: `<g_(j, i), T_k v>`, the cotangents of the coefficients, where a signal's is wanted.
    """

    start: PyTree[Array]
    regenerated: PyTree[Array]
    moments: Array | None


class _Carry(eqx.Module):
    """At step k: `T_(k+1) v`, `T_k v`, `b_(k+2)`, `b_(k+1)`, the sums, and a block of seeds."""

    upper: PyTree[Array]
    here: PyTree[Array]
    older: PyTree[Array]
    newer: PyTree[Array]
    operator: PyTree
    observation: PyTree
    moments: Array | None
    block: PyTree


def pull_sequence(
    problem: Problem,
    spectrum: Spectrum,
    cotangents: PyTree[Array],
    wanted: Wanted,
    sums: Sums,
    item: tuple[tuple[Ends, Array, Weighed], Expansion],
) -> tuple[Sums, Pulled]:
    """Cotangents of `Σ_i <g_i, output_i>` through one recurrence, as far as they are wanted.

    `sums`: those of operator (in units of `2 / width`) and observation so far. `item`: from where to go back, by how
    many pairs of steps, whether the moments are wanted; and the expansion.
    """
    ((upper, here), pairs, weighed), expansion = item
    seeds = Seeds(problem, expansion.coefficients, cotangents)
    watched = problem.observation if wanted.parameters else None
    last = 2 * pairs + 1
    zeros = jtu.tree_map(jnp.zeros_like, upper)
    block = seeds.block(last)
    carry = _Carry(
        upper=upper,
        here=here,
        older=zeros,
        newer=seeds(block, last),
        operator=sums[0],
        observation=add(sums[1], watch(watched, seeds, block, last, upper)),
        moments=weigh(jnp.zeros_like(seeds.coefficients), seeds, last, upper) if weighed.wanted else None,
        block=block,
    )

    def step(k, carry: _Carry) -> _Carry:
        """Knows everything at k + 1, and `T_k v`; makes `b_k` and `T_(k-1) v`."""
        pulled, change = transposed_step(problem, carry.here if wanted.parameters else None, carry.newer)
        doubled = spectrum.shifted(problem.operator.mv(carry.here), carry.here, 2.0)
        block = seeds.refresh(carry.block, k)
        b = add(seeds(block, k), spectrum.shifted(pulled, carry.newer, 2.0))
        if spectrum.sign == 1:
            lower, b = subtract(doubled, carry.upper), subtract(b, carry.older)
        else:
            lower, b = subtract(carry.upper, doubled), add(b, carry.older)
        return _Carry(
            upper=carry.here,
            here=lower,
            older=carry.newer,
            newer=b,
            operator=add(carry.operator, change),
            observation=add(carry.observation, watch(watched, seeds, block, k, carry.here)),
            moments=weigh(carry.moments, seeds, k, carry.here),
            block=block,
        )

    def body(pair, carry: _Carry) -> _Carry:
        k = last - 1 - 2 * pair
        return step(k - 1, step(k, carry))

    # From k = last - 1 down to 1: an even number of steps.
    carry = lax.fori_loop(0, pairs, body, carry)
    image, change = transposed_step(problem, carry.here if wanted.parameters else None, carry.newer)
    zero = jnp.zeros_like(last)
    start = add(seeds(carry.block, zero), spectrum.shifted(image, carry.newer))
    start = subtract(start, carry.older) if spectrum.sign == 1 else add(start, carry.older)
    operator = add(carry.operator, scale(0.5, change))
    observation = add(carry.observation, watch(watched, seeds, carry.block, zero, carry.here))
    pulled = Pulled(start, carry.here, weigh(carry.moments, seeds, zero, carry.here))
    return (operator, observation), pulled
