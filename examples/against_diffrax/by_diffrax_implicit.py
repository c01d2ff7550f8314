"""Diffrax's implicit solvers with linear solvers that never form the Jacobian."""

from functools import partial
from typing import Any

import diffrax
import jax.tree_util as jtu
import lineax as lx
import optimistix as optx

import krylovpde as kp

from .cases import Case
from .competitor import Competitor

TOLERANCES = (1e-3, 1e-5)


def root_finders() -> dict[str, Any]:
    """Tolerances from the step control, a linear solve a hundred times sharper than the tightest of them."""
    newton, chord = map(diffrax.with_stepsize_controller_tols, (optx.Newton, diffrax.VeryChord))
    sharp = {"rtol": 1e-7, "atol": 1e-7}
    return {
        "Newton, GMRES": newton(linear_solver=lx.GMRES(**sharp)),
        "Newton, BiCGStab": newton(linear_solver=lx.BiCGStab(**sharp)),
        "VeryChord, GMRES": chord(linear_solver=lx.GMRES(**sharp)),
        "VeryChord, CG": chord(linear_solver=lx.CG(**sharp)),
    }


def competitors(case: Case) -> list[Competitor]:
    """For what is stiff: Kvaerno5 and, with the diffusion implicit and the rest explicit, KenCarp4."""
    if case.waves or case.problem.dimension == 1 or case.problem.accuracy > 1e-3:
        return []
    rows = []
    for finder_name, finder in root_finders().items():
        for rtol in case.tolerances or TOLERANCES:
            for name, solver in (
                ("Kvaerno5", diffrax.Kvaerno5(root_finder=finder)),
                ("KenCarp4", diffrax.KenCarp4(root_finder=finder)),
            ):
                method = f"Diffrax {name} ({finder_name})"
                rows.append(Competitor(method, "checkpointed", f"{rtol:.0e}", partial(solve, case, solver, rtol)))
    return rows


def implicit(case: Case, t: Any, u: Any, coefficient: Any) -> Any:
    """The diffusion."""
    return kp.Diffusion(case.grid, coefficient).vector_field(t, u)


def explicit(case: Case, t: Any, u: Any, coefficient: Any) -> Any:
    """The rest."""
    return case.equation(coefficient).vector_field(t, u) - implicit(case, t, u, coefficient)


def whole(case: Case, t: Any, u: Any, coefficient: Any) -> Any:
    """All of it."""
    return case.equation(coefficient).vector_field(t, u)


def solve(case: Case, solver: Any, rtol: float, coefficient: Any) -> tuple[Any, None]:
    """`diffrax.diffeqsolve`; how often the operator is applied stays inside the linear solvers."""
    term: Any = diffrax.ODETerm(partial(whole, case))
    if isinstance(solver, diffrax.KenCarp4):
        term = diffrax.MultiTerm(*(diffrax.ODETerm(partial(part, case)) for part in (explicit, implicit)))
    solution = diffrax.diffeqsolve(
        term,
        solver,
        0.0,
        case.end,
        None,
        case.initial,
        args=coefficient,
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=rtol),
        max_steps=4096,
    )
    return jtu.tree_map(lambda leaf: leaf[0], solution.ys), None
