"""How krylovpde's cost and memory grow with the duration: exponents fitted to counts and to seconds."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import krylovpde as kp

from .cases import Case
from .measure import compiled, median, temporary_bytes

# Stiffness: t rho for heat, R = t sqrt(rho) for the wave.
STIFFNESS = {"heat": (1e2, 3e2, 1e3, 3e3, 1e4, 3e4, 1e5), "wave": (220.0, 440.0, 880.0, 1750.0, 3500.0)}
MEMORY_AT = (440.0, 3500.0)


def value(case: Case, end: Any, coefficient: Any) -> tuple[Any, Any]:
    """`J` and the applications."""
    solution = kp.solve(case.equation(coefficient), case.initial, end, rtol=case.problem.rtol)
    return jnp.vdot(case.weight, case.seen(solution.value)), solution.stats.applications


def points(name: str, size: int, repeats: int) -> list[dict[str, float]]:
    """Applications and seconds of value and gradient for each stiffness; one program, the duration is its argument."""
    function = jax.jit(jax.value_and_grad(partial(value, Case(name, size)), argnums=1, has_aux=True))
    found = []
    for stiffness in STIFFNESS[name]:
        case = Case(name, size, stiffness)
        (_, applications), _ = function(case.end, case.coefficient)
        seconds = median(partial(function, case.end, case.coefficient), repeats)
        found.append({"stiffness": stiffness, "applications": int(applications), "seconds": seconds})
    return found


def exponent(found: list[dict[str, float]], key: str) -> float:
    """The slope of the logarithms.

    A wave takes `R/2` applications and a multiple of `R^(1/3)` that the tolerance decides, so that the slope comes near
    one only from below.
    """
    stiffness, cost = (np.log([point[name] for point in found]) for name in ("stiffness", key))
    return float(np.polyfit(stiffness, cost, 1)[0])


def memory(name: str, size: int, stiffness: float) -> float:
    """Temporary memory of value and gradient, in fields."""
    case = Case(name, size, stiffness)
    function = jax.value_and_grad(partial(value, case, case.end), has_aux=True)
    return temporary_bytes(compiled(function, case.coefficient)[0]) / case.coefficient.nbytes


def print_scaling(size: int, repeats: int) -> dict[str, Any]:
    """The tables and the exponents."""
    report: dict[str, Any] = {"size": size}
    for name, expected in (("heat", 0.5), ("wave", 1.0)):
        found = points(name, size, repeats)
        fitted = {key: exponent(found, key) for key in ("applications", "seconds")}
        last = exponent(found[-2:], "applications")
        report[name] = {"points": found, "exponents": fitted, "last_exponent": last}
        print(f"\n| {'tρ' if name == 'heat' else 'R'} | applications | value and gradient |\n|---|---|---|")
        for point in found:
            print(f"| {point['stiffness']:g} | {point['applications']} | {1e3 * point['seconds']:.3g} ms |")
        print(
            f"\n{name}, {size} × {size} cells: applications grow with the power {fitted['applications']:.2f}, "
            f"seconds with {fitted['seconds']:.2f} (expected: {expected:g}); between the last two, applications with "
            f"{last:.2f}"
        )
    report["memory_fields"] = {stiffness: memory("wave", size, stiffness) for stiffness in MEMORY_AT}
    told = ", ".join(f"R = {stiffness:g}: {fields:.1f}" for stiffness, fields in report["memory_fields"].items())
    print(f"\nmemory of the wave's value and gradient, in fields: {told}")
    return report
