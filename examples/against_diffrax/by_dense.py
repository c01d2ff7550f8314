"""A dense exponential, for a handful of unknowns."""

from functools import partial
from typing import Any

import jax.scipy.linalg

from .cases import Case
from .competitor import Competitor


def competitors(case: Case) -> list[Competitor]:
    """`jax.scipy.linalg.expm`, up to 64 unknowns."""
    return [Competitor("dense expm", "autodiff", "", partial(solve, case))] if case.field.size <= 64 else []


def solve(case: Case, coefficient: Any) -> tuple[Any, None]:
    """`expm(t A) u`."""
    matrix = case.equation(coefficient).operator().as_matrix()
    return jax.scipy.linalg.expm(case.end * matrix) @ case.initial.reshape(-1), None
