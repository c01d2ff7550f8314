"""What the adjoints of both polynomial recurrences have in common: seeds, and what each forward vector is used for."""

import functools
from typing import Any, TypeAlias

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jax import lax
from jaxtyping import Array, PyTree

from ..action import BLOCK, Problem, along, in_blocks, product
from ..krylov._space import add, scale
from ..operator import parameter_vjp, pull_parameters

# Cotangents of an operator's and an observation's parameters.
Sums: TypeAlias = tuple[PyTree, PyTree]


class Seeds(eqx.Module):
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


class Weighed(eqx.Module):
    """Whether the moments of a start are wanted: static, so that starts of one kind have one tree."""

    wanted: bool = eqx.field(static=True)


def no_sums(problem: Problem) -> Sums:
    """The sums for operator and observation before the first recurrence."""
    return zeros_of(problem.operator), zeros_of(problem.observation)


def _mix(row: Array, cotangents: PyTree[Array]) -> PyTree[Array]:
    return jtu.tree_map(lambda g: jnp.sum(scale(along(row, g[0]), g), axis=0), cotangents)


def watch(watched: Any, seeds: Seeds, block: PyTree, k, vector: PyTree[Array]) -> PyTree:
    """The cotangent of the observation's parameters from one vector, where it has any."""
    if not jtu.tree_leaves(eqx.filter(watched, eqx.is_inexact_array)):
        return zeros_of(seeds.problem.observation)
    short = seeds.short(block, k)
    return pull_parameters(lambda watched, x: watched.operator.mv(x), watched, vector, short)


def weigh(moments: Array | None, seeds: Seeds, k, vector: PyTree[Array]) -> Array | None:
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


def transposed_step(
    problem: Problem, x: PyTree[Array] | None, cotangent: PyTree[Array]
) -> tuple[PyTree[Array], PyTree]:
    """`Aᵀ b`, and the cotangent `<b, dA x>` of the operator's parameters; without `x` nobody asks for it."""
    theta = eqx.filter(problem.operator, eqx.is_inexact_array)
    transposed = problem.operator.transpose().mv(cotangent)
    if x is None or not jtu.tree_leaves(theta):
        return transposed, jtu.tree_map(jnp.zeros_like, theta)
    return transposed, parameter_vjp(problem.operator, x, cotangent)


def has_parameters(problem: Problem) -> bool:
    """Whether operator or observation has anything to differentiate."""
    return bool(jtu.tree_leaves(eqx.filter((problem.operator, problem.observation), eqx.is_inexact_array)))


def zeros_of(tree: Any) -> PyTree:
    """Zeros in the place of the inexact arrays."""
    return jtu.tree_map(jnp.zeros_like, eqx.filter(tree, eqx.is_inexact_array))
