"""Lineax's iterative solvers with a tolerance relative to the whole right-hand side."""

from typing import Any

import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
from jaxtyping import Array, PyTree

from ..krylov._space import norm, scale


class RelativeSolver(lx.AbstractLinearSolver):
    """Solves for `b / rms(b)`, and multiplies the solution.

    Lineax's iterations stop where `|r_i| <= atol + rtol |b_i|`, component by component. A right-hand side that is zero
    somewhere (boundary values without a source; in reverse mode what a sensor asks for) can never satisfy that with
    `atol = 0`, and where the residual is zero, too, `0 / 0` compares as converged: the first iterate was returned as
    the solution. With `b` of size one, `atol = rtol` means a share of the whole. Each right-hand side, those of
    derivatives too, comes through `compute`.
    """

    solver: lx.AbstractLinearSolver

    def init(self, operator: lx.AbstractLinearOperator, options: dict[str, Any]) -> Any:
        return self.solver.init(operator, options)

    def compute(
        self, state: Any, vector: PyTree[Array], options: dict[str, Any]
    ) -> tuple[PyTree[Array], lx.RESULTS, dict[str, Any]]:
        size = rms(vector)
        size = jnp.where(size > 0, size, jnp.ones_like(size))
        solution, result, stats = self.solver.compute(state, scale(1.0 / size, vector), options)
        return scale(size, solution), result, stats

    def transpose(self, state: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return self.solver.transpose(state, options)

    def conj(self, state: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return self.solver.conj(state, options)

    def assume_full_rank(self) -> bool:
        return self.solver.assume_full_rank()


def rms(tree: PyTree[Array]) -> Array:
    """The root of the mean square over all leaves."""
    return norm(tree) / sum(leaf.size for leaf in jtu.tree_leaves(tree)) ** 0.5
