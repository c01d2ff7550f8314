"""A leapfrog scheme for waves, written by hand: `u⁺ = 2u - u⁻ + dt² A u` in a scan with checkpoints."""

from functools import partial
from typing import Any

import jax
import numpy as np
from jax import lax

from .cases import Case
from .competitor import Competitor


def competitors(case: Case) -> list[Competitor]:
    """At the stability limit, where it is at its best, and at a tenth of it."""
    if not case.waves:
        return []
    return [
        Competitor(
            "leapfrog",
            "checkpointed",
            f"{part} of the limit",
            partial(solve, case, part),
            with_gradient=partial(count, case, part),
        )
        for part in (1.0, 0.1)
    ]


def root_of_steps(case: Case, part: float) -> int:
    """The steps are a square number and one: checkpoints lie at every root-th step."""
    return int(np.ceil(np.sqrt(case.end * np.sqrt(case.bound) / 2.0 / part)))


def count(case: Case, part: float) -> int:
    """Forward, once more from the checkpoints, and the transpose."""
    return 3 * root_of_steps(case, part) ** 2


def solve(case: Case, part: float, coefficient: Any) -> tuple[Any, Any]:
    """At `part` times the largest stable step, `2 / sqrt(rho)`; the memory that a careful user would spend."""
    root = root_of_steps(case, part)
    dt = case.end / (root**2 + 1)
    operator, u = case.equation(coefficient).operator(), case.initial.displacement

    def step(carry, _):
        older, newer = carry
        return (newer, 2.0 * newer - older + dt**2 * operator.mv(newer)), None

    @jax.checkpoint
    def stretch(carry, _):
        return lax.scan(step, carry, None, length=root)

    first = u + 0.5 * dt**2 * operator.mv(u)
    return lax.scan(stretch, (u, first), None, length=root)[0][1], root**2 + 1
