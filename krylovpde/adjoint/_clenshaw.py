"""The adjoint of Chebyshev's recurrence: Clenshaw's, while the forward vectors are made again backwards.

With `σ` the sign, `T_(k+1) = 2 Z T_k - σ T_(k-1)` and the seeds `g_k = Σ_i c_k(t_i) g_i`

    b_k = g_k + 2 Zᵀ b_(k+1) - σ b_(k+2),        T_(k-1) v = σ (2 Z T_k v - T_(k+1) v)
    ∂J/∂v = g_0 + Zᵀ b_1 - σ b_2,                 ∂J/∂θ = <b_1, dZ v> + Σ_(k>=1) 2 <b_(k+1), dZ T_k v>

It is the exact derivative of the computed value, and as accurate as that: the polynomial is accurate on the whole
spectrum, so nothing in its derivative is left to chance (NUMERICS 3.2).
"""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax
from jaxtyping import Array, PyTree

from ..action import BLOCK, Problem, Sequence, Spectrum, along, in_blocks, product
from ..krylov._space import add, scale, subtract
from ..operator import parameter_vjp
from ._engine import Wanted


class Pulled(eqx.Module):
    """Cotangents of one start, and the start as the recurrence came back to it; sums for operator and observation.

    `moments`: `<g_(j, i), T_k v>`, the cotangents of the coefficients, where a signal's is wanted.
    """

    operator: PyTree
    observation: PyTree
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
    sequence: Sequence,
    cotangents: PyTree[Array],
    wanted: Wanted,
    weighed: bool,
    sums: tuple[PyTree, PyTree],
) -> Pulled:
    """Cotangents of `Σ_i <g_i, output_i>` through one recurrence, as far as they are wanted.

    `weighed`: whether the moments are, too. `sums`: those of operator (in units of `2 / width`) and observation so far.
    """
    seeds = _Seeds(problem, sequence.expansion.coefficients, cotangents)
    watched = problem.observation if wanted.parameters else None
    pairs = pairs_back(sequence, wanted)
    last = 2 * pairs + 1
    zeros = jtu.tree_map(jnp.zeros_like, sequence.last)
    block = seeds.block(last)
    carry = _Carry(
        upper=sequence.last,
        here=sequence.before,
        older=zeros,
        newer=seeds(block, last),
        operator=sums[0],
        observation=add(sums[1], _watch(watched, seeds, block, last, sequence.last)),
        moments=_weigh(jnp.zeros_like(seeds.coefficients), seeds, last, sequence.last) if weighed else None,
        block=block,
    )

    def step(k, carry: _Carry) -> _Carry:
        """Knows everything at k + 1, and `T_k v`; makes `b_k` and `T_(k-1) v`."""
        image, pulled, change = _apply(problem, wanted.parameters, carry.here, carry.newer)
        doubled = spectrum.shifted(image, carry.here, 2.0)
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
            observation=add(carry.observation, _watch(watched, seeds, block, k, carry.here)),
            moments=_weigh(carry.moments, seeds, k, carry.here),
            block=block,
        )

    def body(pair, carry: _Carry) -> _Carry:
        k = last - 1 - 2 * pair
        return step(k - 1, step(k, carry))

    # From k = last - 1 down to 1: an even number of steps.
    carry = lax.fori_loop(0, pairs, body, carry)
    _, pulled, change = _apply(problem, wanted.parameters, carry.here, carry.newer)
    zero = jnp.zeros_like(last)
    start = add(seeds(carry.block, zero), spectrum.shifted(pulled, carry.newer))
    start = subtract(start, carry.older) if spectrum.sign == 1 else add(start, carry.older)
    operator = add(carry.operator, scale(0.5, change))
    observation = add(carry.observation, _watch(watched, seeds, carry.block, zero, carry.here))
    return Pulled(operator, observation, start, carry.here, _weigh(carry.moments, seeds, zero, carry.here))


def no_sums(problem: Problem) -> tuple[PyTree, PyTree]:
    """The sums for operator and observation before the first recurrence."""
    return _zeros(problem.operator), _zeros(problem.observation)


def pairs_back(sequence: Sequence, wanted: Wanted) -> Array:
    """How many pairs of steps back: a start of zero has no share in the parameters' cotangent, only one of its own."""
    return sequence.expansion.pairs if wanted.state else sequence.pairs


def _apply(problem: Problem, parameters: bool, x: PyTree[Array], cotangent: PyTree[Array]):
    """`A x`, `Aᵀ b`, and the cotangent `<b, dA x>` of the operator's parameters."""
    operator = problem.operator
    theta = eqx.filter(operator, eqx.is_inexact_array)
    wanted = parameters and jtu.tree_leaves(theta)
    change = parameter_vjp(operator, x, cotangent) if wanted else jtu.tree_map(jnp.zeros_like, theta)
    return operator.mv(x), operator.transpose().mv(cotangent), change


class _Seeds(eqx.Module):
    """`g_k = Σ_ij c[j, i, k] g_(j, i)`: short where only sensors see the field, then as a field.

    With many times they are made in blocks, downwards: one product of matrices in the place of many sums.
    """

    problem: Problem
    coefficients: Array
    cotangents: PyTree[Array]

    def __call__(self, block: PyTree, k) -> PyTree[Array]:
        """The seed k as a field; its block is in hand."""
        short, observation = self.short(block, k), self.problem.observation
        return short if observation is None else observation.operator.transpose().mv(short)

    def short(self, block: PyTree, k) -> PyTree[Array]:
        """The seed k as it is observed."""
        if block is None:
            row = lax.dynamic_index_in_dim(self.coefficients, k, 2, keepdims=False)
            return self._sum([_mix(row[j], part) for j, part in enumerate(self.parts)])
        place = k % BLOCK
        return jtu.tree_map(lambda rows: lax.dynamic_index_in_dim(rows, place, 0, keepdims=False), block)

    def block(self, k) -> PyTree:
        """The block that holds the seed k; None where every seed is made by itself."""
        if not in_blocks(self.coefficients):
            return None
        columns = lax.dynamic_slice_in_dim(self.coefficients, k - k % BLOCK, BLOCK, axis=2)
        return self._sum(
            [jtu.tree_map(lambda g, c=columns[j]: product(c.T, g), part) for j, part in enumerate(self.parts)]
        )

    def refresh(self, block: PyTree, k) -> PyTree:
        """The block for the seed k, which comes after the seed k + 1."""
        if block is None:
            return None
        return lax.cond(k % BLOCK == BLOCK - 1, lambda _: self.block(k), lambda block: block, block)

    @property
    def parts(self) -> tuple:
        """The cotangents, one for each component or for what is observed."""
        return self.cotangents if self.problem.observation is None else (self.cotangents,)

    @staticmethod
    def _sum(parts: list) -> PyTree[Array]:
        return functools.reduce(add, parts)


def _mix(row: Array, cotangents: PyTree[Array]) -> PyTree[Array]:
    return jtu.tree_map(lambda g: jnp.sum(scale(along(row, g[0]), g), axis=0), cotangents)


def _watch(watched: Any, seeds: _Seeds, block: PyTree, k, vector: PyTree[Array]) -> PyTree:
    """The cotangent of the observation's parameters from one vector, where it has any."""
    theta, rest = eqx.partition(watched, eqx.is_inexact_array)
    if not jtu.tree_leaves(theta):
        return _zeros(seeds.problem.observation)
    _, pull = jax.vjp(lambda theta: eqx.combine(theta, rest).operator.mv(vector), theta)
    return pull(seeds.short(block, k))[0]


def _weigh(moments: Array | None, seeds: _Seeds, k, vector: PyTree[Array]) -> Array | None:
    """Column k of the moments."""
    if moments is None:
        return None
    observation = seeds.problem.observation
    seen = vector if observation is None else observation.operator.mv(vector)
    column = jnp.stack([_pair(part, seen) for part in seeds.parts])
    column = (column if jnp.iscomplexobj(moments) else jnp.real(column)).astype(moments.dtype)
    return lax.dynamic_update_index_in_dim(moments, column, k, 2)


def _pair(cotangents: PyTree[Array], vector: PyTree[Array]) -> Array:
    """`<g_i, x>` for all times."""

    def leaf(g: Array, x: Array) -> Array:
        return g.reshape(g.shape[0], -1) @ x.reshape(-1)

    return functools.reduce(jnp.add, jtu.tree_leaves(jtu.tree_map(leaf, cotangents, vector)))


def _zeros(tree: Any) -> PyTree:
    return jtu.tree_map(jnp.zeros_like, eqx.filter(tree, eqx.is_inexact_array))
