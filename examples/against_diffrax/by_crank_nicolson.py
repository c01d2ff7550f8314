"""Crank–Nicolson in a scan: with conjugate gradients, or with a tridiagonal solver in one dimension.

The derivative goes through lineax's implicit rule for each linear system. For waves it is the implicit midpoint rule on
displacement and velocity, the system reduced to the displacement.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax

from .cases import Case
from .competitor import Competitor

STEPS = (16, 64, 256)
# Relative; and absolute beside fields of size one: below it the iteration would divide zero by zero.
LINEAR_TOLERANCES = {"float64": (1e-8, 1e-12), "float32": (1e-5, 1e-7)}


def competitors(case: Case) -> list[Competitor]:
    """Several numbers of steps; for waves multiples of the step that is the limit of explicit schemes."""
    if case.waves:
        explicit = case.end * case.bound**0.5 / 2.0
        return [
            Competitor(
                "Crank–Nicolson (CG)", "implicit", f"{part} of the limit", partial(wave, case, int(explicit / part))
            )
            for part in (4.0, 1.0, 0.25)
        ]
    rows = []
    for steps in STEPS:
        if case.problem.dimension == 1:
            solve, name = tridiagonal, "Crank–Nicolson (tridiagonal)"
        else:
            solve, name = diffusion, f"Crank–Nicolson ({'BiCGStab' if case.kind == 'advection' else 'CG'})"
        rows.append(Competitor(name, "implicit", f"{steps} steps", partial(solve, case, steps)))
    return rows


def solver_of(case: Case) -> Any:
    """For a positive definite system, or for one that is not symmetric."""
    make = lx.BiCGStab if case.kind == "advection" else lx.CG
    rtol, atol = LINEAR_TOLERANCES[case.coefficient.dtype.name]
    return make(rtol=rtol, atol=atol)


def shifted(case: Case, coefficient: Any, factor: float) -> lx.FunctionLinearOperator:
    """`I - factor A`."""
    operator = case.equation(coefficient).operator()
    tags = () if case.kind == "advection" else lx.positive_semidefinite_tag
    structure = jax.eval_shape(lambda: case.field)
    return lx.FunctionLinearOperator(lambda u: u - factor * operator.mv(u), structure, tags=tags)


def diffusion(case: Case, steps: int, coefficient: Any) -> tuple[Any, Any]:
    """`(I - dt/2 A) u⁺ = (I + dt/2 A) u`; counts the iterations."""
    dt = case.end / steps
    operator, system, solver = (
        case.equation(coefficient).operator(),
        shifted(case, coefficient, dt / 2),
        solver_of(case),
    )

    def step(carry, _):
        u, count = carry
        solution = lx.linear_solve(
            system, u + dt / 2 * operator.mv(u), solver, options={"y0": lax.stop_gradient(u)}, throw=False
        )
        per_iteration = 2 if case.kind == "advection" else 1
        return (solution.value, count + per_iteration * solution.stats["num_steps"] + 2), None

    return lax.scan(jax.checkpoint(step), (case.initial, jnp.zeros((), int)), None, length=steps)[0]


def wave(case: Case, steps: int, coefficient: Any) -> tuple[Any, Any]:
    """`(I - dt²/4 A) w = u + dt/2 v` for the displacement in the middle; then `v⁺ = v + dt A w`, `u⁺ = 2 w - u`."""
    dt = case.end / steps
    operator, system = case.equation(coefficient).operator(), shifted(case, coefficient, dt**2 / 4)
    solver = solver_of(case)

    def step(carry, _):
        u, v, count = carry
        solution = lx.linear_solve(
            system, u + dt / 2 * v, solver, options={"y0": lax.stop_gradient(u + dt / 2 * v)}, throw=False
        )
        w = solution.value
        return (2 * w - u, v + dt * operator.mv(w), count + solution.stats["num_steps"] + 2), None

    start = (case.initial.displacement, case.initial.velocity, jnp.zeros((), int))
    u, _, count = lax.scan(jax.checkpoint(step), start, None, length=steps)[0]
    return u, count


def tridiagonal(case: Case, steps: int, coefficient: Any) -> tuple[Any, Any]:
    """The same in one dimension, by elimination."""
    dt = case.end / steps
    operator = case.equation(coefficient).operator()
    diagonal, lower, upper = lx.tridiagonal(operator)
    system = lx.TridiagonalLinearOperator(1.0 - dt / 2 * diagonal, -dt / 2 * lower, -dt / 2 * upper)

    def step(u, _):
        return lx.linear_solve(system, u + dt / 2 * operator.mv(u), lx.Tridiagonal()).value, None

    return lax.scan(step, case.initial, None, length=steps)[0], 2 * steps
