"""The adjoint of Chebyshev's recurrence: Clenshaw's, while the forward vectors are made again backwards.

With `σ` the sign, `T_(k+1) = 2 Z T_k - σ T_(k-1)` and the seeds `g_k = Σ_i c_k(t_i) g_i`

    b_k = g_k + 2 Zᵀ b_(k+1) - σ b_(k+2),        T_(k-1) v = σ (2 Z T_k v - T_(k+1) v)
    ∂J/∂v = g_0 + Zᵀ b_1 - σ b_2,                 ∂J/∂θ = <b_1, dZ v> + Σ_(k>=1) 2 <b_(k+1), dZ T_k v>

It is the exact derivative of the computed value, and as accurate as that: the polynomial is accurate on the whole
spectrum, so nothing in its derivative is left to chance (NUMERICS 3.2).
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax
from jaxtyping import Array, PyTree

from ..action import Problem, Sequence, Spectrum, along
from ..krylov._space import add, scale, subtract
from ._engine import Wanted


class Pulled(eqx.Module):
    """Cotangents of operator, observation and one start; the start as the recurrence came back to it."""

    operator: PyTree
    observation: PyTree
    start: PyTree[Array]
    regenerated: PyTree[Array]


class _Carry(eqx.Module):
    """At step k: `T_(k+1) v`, `T_k v`, `b_(k+2)`, `b_(k+1)`, and the sums."""

    upper: PyTree[Array]
    here: PyTree[Array]
    older: PyTree[Array]
    newer: PyTree[Array]
    operator: PyTree
    observation: PyTree


def pull_sequence(
    problem: Problem, spectrum: Spectrum, sequence: Sequence, cotangents: PyTree[Array], wanted: Wanted
) -> Pulled:
    """Cotangents of `Σ_i <g_i, output_i>` through one recurrence, as far as they are wanted."""
    seeds = _Seeds(problem, sequence.expansion.coefficients, cotangents)
    watched = problem.observation if wanted.parameters else None
    pairs = pairs_back(sequence, wanted)
    last = 2 * pairs + 1
    zeros = jtu.tree_map(jnp.zeros_like, sequence.last)
    carry = _Carry(
        upper=sequence.last,
        here=sequence.before,
        older=zeros,
        newer=seeds(last),
        operator=_zeros(problem.operator),
        observation=add(_zeros(problem.observation), _watch(watched, seeds, last, sequence.last)),
    )

    def step(k, carry: _Carry) -> _Carry:
        """Knows everything at k + 1, and `T_k v`; makes `b_k` and `T_(k-1) v`."""
        image, pulled, change = _apply(problem, wanted.parameters, carry.here, carry.newer)
        doubled = spectrum.shifted(image, carry.here, 2.0)
        b = add(seeds(k), spectrum.shifted(pulled, carry.newer, 2.0))
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
            observation=add(carry.observation, _watch(watched, seeds, k, carry.here)),
        )

    def body(pair, carry: _Carry) -> _Carry:
        k = last - 1 - 2 * pair
        return step(k - 1, step(k, carry))

    # From k = last - 1 down to 1: an even number of steps.
    carry = lax.fori_loop(0, pairs, body, carry)
    _, pulled, change = _apply(problem, wanted.parameters, carry.here, carry.newer)
    start = add(seeds(jnp.zeros_like(last)), spectrum.shifted(pulled, carry.newer))
    start = subtract(start, carry.older) if spectrum.sign == 1 else add(start, carry.older)
    factor = 2.0 / spectrum.width
    operator = scale(factor, add(carry.operator, scale(0.5, change)))
    observation = add(carry.observation, _watch(watched, seeds, jnp.zeros_like(last), carry.here))
    return Pulled(operator, observation, start, carry.here)


def pairs_back(sequence: Sequence, wanted: Wanted) -> Array:
    """How many pairs of steps back: a start of zero has no share in the parameters' cotangent, only one of its own."""
    return sequence.expansion.pairs if wanted.state else sequence.pairs


def _apply(problem: Problem, parameters: bool, x: PyTree[Array], cotangent: PyTree[Array]):
    """`A x`, `Aᵀ b`, and the cotangent `<b, dA x>` of the operator's parameters."""
    theta, rest = eqx.partition(problem.operator, eqx.is_inexact_array)
    transposed = problem.operator.transpose().mv(cotangent)
    if not (parameters and jtu.tree_leaves(theta)):
        return problem.operator.mv(x), transposed, jtu.tree_map(jnp.zeros_like, theta)
    image, pull = jax.vjp(lambda theta: eqx.combine(theta, rest).mv(x), theta)
    return image, transposed, pull(cotangent)[0]


class _Seeds(eqx.Module):
    """`g_k = Σ_ij c[j, i, k] g_(j, i)` as a field, and its short form where only sensors see the field."""

    problem: Problem
    coefficients: Array
    cotangents: PyTree[Array]

    def __call__(self, k) -> PyTree[Array]:
        observation = self.problem.observation
        if observation is not None:
            return observation.operator.transpose().mv(self.observed(k))
        row = lax.dynamic_index_in_dim(self.coefficients, k, 2, keepdims=False)
        parts = [self._mix(row[j], self.cotangents[j]) for j in range(self.problem.order)]
        return parts[0] if len(parts) == 1 else add(*parts)

    def observed(self, k) -> PyTree[Array]:
        observation = self.problem.observation
        assert observation is not None
        row = lax.dynamic_index_in_dim(self.coefficients[observation.component], k, 1, keepdims=False)
        return self._mix(row, self.cotangents)

    def _mix(self, row: Array, cotangents: PyTree[Array]) -> PyTree[Array]:
        return jtu.tree_map(lambda g: jnp.sum(scale(along(row, g[0]), g), axis=0), cotangents)


def _watch(watched: Any, seeds: _Seeds, k, vector: PyTree[Array]) -> PyTree:
    """The cotangent of the observation's parameters from one vector, where it has any."""
    theta, rest = eqx.partition(watched, eqx.is_inexact_array)
    if not jtu.tree_leaves(theta):
        return _zeros(seeds.problem.observation)
    _, pull = jax.vjp(lambda theta: eqx.combine(theta, rest).operator.mv(vector), theta)
    return pull(seeds.observed(k))[0]


def _zeros(tree: Any) -> PyTree:
    return jtu.tree_map(jnp.zeros_like, eqx.filter(tree, eqx.is_inexact_array))
