"""Ours: the default choice, and the other method for the operator's class."""

from functools import partial
from typing import Any

import krylovpde as kp

from .cases import Case
from .competitor import Competitor


def competitors(case: Case) -> list[Competitor]:
    """The default, a Krylov space, and for a handful of unknowns the dense exponential."""
    other = kp.Arnoldi() if case.kind == "advection" else kp.Lanczos()
    methods: dict[str, Any] = {"default": None, other.name: other}
    if case.field.size <= 64:
        methods["dense"] = kp.Dense()
    return [
        Competitor(
            f"krylovpde, {name}",
            "default",
            f"{rtol:.0e}",
            partial(solve, case, rtol, method),
            with_gradient=None if case.waves or name == "dense" else partial(count, case, rtol, method),
        )
        for name, method in methods.items()
        for rtol in case.tolerances or (case.problem.rtol,)
    ]


def solve(case: Case, rtol: float, method: Any, coefficient: Any) -> tuple[Any, Any]:
    """`kp.solve`."""
    solution = kp.solve(case.equation(coefficient), case.initial, case.end, rtol=rtol, method=method)
    return case.seen(solution.value), solution.stats.applications


def count(case: Case, rtol: float, method: Any) -> int:
    """Applications of the operator and of its transpose for value and gradient."""
    if method is None:  # what `solve` takes by itself
        method = kp.Arnoldi() if case.kind == "advection" else kp.Chebyshev()
    operator = case.equation(case.coefficient).operator()
    stats = kp.pullback(operator, case.initial, case.end, case.weight, rtol=rtol, method=method).stats
    return int(stats.applications + stats.transpose_applications)
