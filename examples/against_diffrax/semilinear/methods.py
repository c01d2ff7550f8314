"""The methods: ours, Diffrax's explicit, implicit and semi-implicit ones, and Diffrax driving ours."""

from collections.abc import Callable
from functools import partial
from typing import Any

import diffrax
import lineax as lx
import optimistix as optx

import krylovpde as kp
import krylovpde.diffrax as kd

from .problems import Case


def ours(integrator: Any, case: Case, parameters: Any, rtol: float) -> Any:
    """`kp.solve`."""
    return kp.solve(
        case.equation(parameters), case.initial, case.end, method=integrator, rtol=rtol, max_steps=1024
    ).value


def _root_finder(case: Case) -> Any:
    """Dense elimination in one dimension, GMRES beyond; tolerances from the step control."""
    if case.dimension == 1:
        return diffrax.with_stepsize_controller_tols(diffrax.VeryChord)()
    # VeryChord and Chord keep the state of the linear solver from iteration to iteration; that of a matrix-free one is
    # no array, and reverse mode refuses it.
    newton = diffrax.with_stepsize_controller_tols(optx.Newton)
    return newton(linear_solver=lx.GMRES(rtol=1e-7, atol=1e-7))


def _diffeqsolve(case: Case, terms: Any, solver: Any, rtol: float, max_steps: int) -> Any:
    control = diffrax.PIDController(rtol=rtol, atol=rtol)
    solution = diffrax.diffeqsolve(
        terms, solver, 0.0, case.end, None, case.initial, stepsize_controller=control, max_steps=max_steps
    )
    return solution.ys


def explicit(solver: Any, case: Case, parameters: Any, rtol: float) -> Any:
    """On the vector field."""
    term = diffrax.ODETerm(case.equation(parameters).vector_field)
    return _diffeqsolve(case, term, solver, rtol, case.max_steps)


def implicit(solver: Any, case: Case, parameters: Any, rtol: float) -> Any:
    """The same, with a root finder."""
    term = diffrax.ODETerm(case.equation(parameters).vector_field)
    return _diffeqsolve(case, term, solver(root_finder=_root_finder(case)), rtol, 1024)


def semi_implicit(solver: Any, case: Case, parameters: Any, rtol: float) -> Any:
    """The linear part implicit, the rest explicit."""
    linear, rest = kd.split(case.equation(parameters)).terms
    terms = diffrax.MultiTerm(rest, diffrax.ODETerm(lambda t, u, args: linear.vf(t, u, args)))
    return _diffeqsolve(case, terms, solver(root_finder=_root_finder(case)), rtol, 1024)


def driven(solver: Any, case: Case, parameters: Any, rtol: float) -> Any:
    """Ours under Diffrax's control and adjoint."""
    return _diffeqsolve(case, kd.split(case.equation(parameters)), solver, rtol, 1024)


METHODS: dict[str, Callable[[Case, Any, float], Any]] = {
    "krylovpde ETDRK4": partial(ours, kp.ETDRK4()),
    "krylovpde Rosenbrock": partial(ours, kp.Rosenbrock()),
    "Diffrax Tsit5": partial(explicit, diffrax.Tsit5()),
    "Diffrax Dopri8": partial(explicit, diffrax.Dopri8()),
    "Diffrax Kvaerno5": partial(implicit, diffrax.Kvaerno5),
    "Diffrax KenCarp3": partial(semi_implicit, diffrax.KenCarp3),
    "Diffrax KenCarp5": partial(semi_implicit, diffrax.KenCarp5),
    "Diffrax driving ETDRK4": partial(driven, kd.ETDRK4()),
}
