"""Diffrax: explicit solvers with step control, and its semi-implicit Euler for waves."""

from functools import partial
from typing import Any

import diffrax
import jax.tree_util as jtu
import numpy as np

from .cases import Case
from .competitor import Competitor

TOLERANCES = (1e-4, 1e-5, 1e-6, 1e-7)
LOOSE_TOLERANCES = (1e-2, 1e-3, 1e-4)
SOLVERS = {"Tsit5": diffrax.Tsit5(), "Dopri5": diffrax.Dopri5(), "Dopri8": diffrax.Dopri8()}
ADJOINTS: dict[str, Any] = {
    "checkpointed": diffrax.RecursiveCheckpointAdjoint(),
    "backsolve": diffrax.BacksolveAdjoint(),
}
if hasattr(diffrax, "ReversibleAdjoint"):  # of later versions
    ADJOINTS["reversible"] = getattr(diffrax, "ReversibleAdjoint")()  # noqa: B009


def competitors(case: Case) -> list[Competitor]:
    """Every solver, adjoint and tolerance."""
    tolerances = case.tolerances or (LOOSE_TOLERANCES if case.problem.accuracy > 1e-3 else TOLERANCES)
    rows = [
        Competitor(f"Diffrax {name}", adjoint_name, f"{rtol:.0e}", partial(solve, case, solver, adjoint, rtol))
        for name, solver in SOLVERS.items()
        for adjoint_name, adjoint in ADJOINTS.items()
        for rtol in tolerances
    ]
    if case.waves:
        rows += [
            Competitor(
                "Diffrax SemiImplicitEuler", "checkpointed", f"{part} of the limit", partial(semi_implicit, case, part)
            )
            for part in (1.0, 0.1)
        ]
    return rows


def most_steps(case: Case) -> int:
    """Several times what is needed; not more, because the checkpoints are as many as its root, and are all written."""
    return 2 ** int(np.ceil(np.log2(64 + case.stiffness * (8 if case.waves else 2))))


def vector_field(case: Case, t: Any, state: Any, coefficient: Any) -> Any:
    """That of the equation."""
    return case.equation(coefficient).vector_field(t, state)


def solve(case: Case, solver: Any, adjoint: Any, rtol: float, coefficient: Any) -> tuple[Any, Any]:
    """`diffrax.diffeqsolve` with step control."""
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(partial(vector_field, case)),
        solver,
        0.0,
        case.end,
        None,
        case.initial,
        args=coefficient,
        adjoint=adjoint,
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=rtol),
        max_steps=most_steps(case),
    )
    # The last stage of a step is the first of the next one where the tableau says so.
    stages = solver.tableau.num_stages - int(solver.tableau.fsal)
    return case.seen(jtu.tree_map(lambda leaf: leaf[0], solution.ys)), solution.stats["num_steps"] * stages


def semi_implicit(case: Case, part: float, coefficient: Any) -> tuple[Any, Any]:
    """Displacement and velocity in turns, at `part` of the largest stable step, `2 / sqrt(rho)`."""
    steps = int(np.ceil(case.end * case.bound**0.5 / 2.0 / part)) + 1
    solution = diffrax.diffeqsolve(
        (diffrax.ODETerm(velocity), diffrax.ODETerm(partial(acceleration, case))),
        diffrax.SemiImplicitEuler(),
        0.0,
        case.end,
        case.end / steps,
        (case.initial.displacement, case.initial.velocity),
        args=coefficient,
        max_steps=steps + 2,
    )
    return solution.ys[0][0], steps


def velocity(_t: Any, velocity: Any, _coefficient: Any) -> Any:
    """`u_t`."""
    return velocity


def acceleration(case: Case, _t: Any, displacement: Any, coefficient: Any) -> Any:
    """`v_t = A u`."""
    return case.equation(coefficient).operator().mv(displacement)
