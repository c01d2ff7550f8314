"""A Krylov space of a resolvent under construction: the space, and what its solves have cost."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree

from .._custom_types import Weight
from .._solution import RESULTS
from ._conjugate_gradient import Solved
from ._resolvent import Solver


class Cost(eqx.Module):
    """Products with operators so far, and whether a solve failed: from then on the space does not grow."""

    applications: Int[Array, ""]
    failed: Bool[Array, ""]

    @property
    def outcome(self) -> RESULTS:
        """What it means for whoever needs the space."""
        return RESULTS.where(self.failed, RESULTS.inner_solve_failed, RESULTS.successful)


class Counted(eqx.Module):
    """A `LanczosState` or `ArnoldiState` with its cost; `grow` sees the fields of the space.

    `eqx.tree_at` looks at the fields with markers in the place of arrays, hence the wide annotations.
    """

    space: Any
    cost: Cost

    def __init__(self, space: Any, cost: Cost | None = None):
        self.space = space
        self.cost = Cost(jnp.zeros((), jnp.int32), jnp.zeros((), bool)) if cost is None else cost

    @property
    def basis(self) -> Any:
        """Of the space."""
        return self.space.basis

    @property
    def residual_norm(self) -> Any:
        """Of the space."""
        return self.space.residual_norm

    @property
    def dimension(self) -> Any:
        """Of the space."""
        return self.space.dimension

    @property
    def done(self) -> Any:
        """Of the space."""
        return self.space.done


def counted_step(step: Callable, solve: Solver, weight: Weight, state: Counted) -> Counted:
    """One step of `lanczos_step` or `arnoldi_step` with a resolvent, which applies it exactly once."""
    solves: list[Solved] = []

    def apply(vector: PyTree[Array]) -> PyTree[Array]:
        solves.append(solve(vector))
        return solves[-1].value

    space = step(apply, weight, state.space)
    (solved,) = solves
    alive = ~state.done
    applications = state.cost.applications + jnp.where(alive, solved.applications, 0)
    # What is not finite from the start is not the solver's fault, and has its own result.
    failed = state.cost.failed | (alive & ~solved.good & jnp.isfinite(state.residual_norm))
    space = eqx.tree_at(lambda s: s.done, space, space.done | failed)
    return Counted(space, Cost(applications, failed))
