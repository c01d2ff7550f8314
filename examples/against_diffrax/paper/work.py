"""A: errors of the solution and of the gradient against counted products with the operator."""

import statistics
from argparse import Namespace
from typing import Any

import jax

from .figures import plot_work
from .methods import (
    Method,
    default,
    discrete_adjoint,
    has_matfree,
    krylov,
    matfree_adjoint,
    runge_kutta,
    two_sided_fixed,
)
from .problem import Draw, draws, errors, single, value_and_gradient
from .report import reason, save, table
from .stencils import Case

FIXED = 10  # products forward and backward at which the adjoints are compared


def settings(case: Case, arguments: Namespace) -> list[Method]:
    """Every method with its knob turned."""
    rows = [make(case, depth) for make in (discrete_adjoint, two_sided_fixed) for depth in arguments.depths]
    if has_matfree() and FIXED in arguments.depths:
        rows.append(matfree_adjoint(case, FIXED))
    steps = [max(1, round(count * max(case.horizon, 1.0))) for count in arguments.steps]
    rows += [runge_kutta(case, "Dopri5", "backsolve", count) for count in steps]
    rows += [runge_kutta(case, "Tsit5", "checkpoints", count) for count in steps]
    return rows + [make(case, rtol) for make in (default, krylov) for rtol in arguments.tolerances]


def run(arguments: Namespace) -> dict[str, Any]:
    """All rows, printed as they come, and what follows for ten products."""
    case = Case(arguments.size, arguments.stencil, arguments.horizon)
    cases = draws(case, arguments.seeds)
    rows = []
    for method in settings(case, arguments):
        rows.append(measure(method, cases))
        print(line(rows[-1]), flush=True)
    report = {"what": "work", "size": case.size, "stencil": case.stencil, "horizon": case.horizon, "rows": rows}
    report["fixed"] = compare(rows)
    print_comparison(report["fixed"])
    save(arguments.output, report)
    plot_work(report, arguments.output.with_suffix(".png"))
    return report


def measure(method: Method, cases: list[Draw]) -> dict[str, Any]:
    """Errors of all draws and their medians; the work of the first draw."""
    row: dict[str, Any] = {"method": method.name, "setting": method.setting}
    try:
        program = value_and_gradient(method.solve)
        pairs = [errors(draw, jax.block_until_ready(program(*single(draw)))) for draw in cases]
        _, coefficient, state = single(cases[0])
        work = method.work(coefficient**2, state)
    except Exception as error:  # whatever stops a method is its result
        return row | {"failure": reason(error)}
    row["value_errors"], row["gradient_errors"] = ([pair[k] for pair in pairs] for k in range(2))
    row["value_error"], row["gradient_error"] = (statistics.median(row[k]) for k in ("value_errors", "gradient_errors"))
    return row | work._asdict() | {"backward": work.backward}


def compare(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Gradient errors at ten products forward and ten transposed: the discrete adjoint over ours, draw by draw."""
    found = {
        row["method"]: row["gradient_errors"]
        for row in rows
        if row["setting"] == f"depth {FIXED}" and "failure" not in row
    }
    theirs, ours = found.get("Arnoldi, discrete adjoint"), found.get("krylovpde, two-sided, fixed")
    if theirs is None or ours is None:
        return None
    ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
    return {"discrete": theirs, "two_sided": ours, "ratios": ratios, "median_ratio": statistics.median(ratios)}


def print_comparison(fixed: dict[str, Any] | None) -> None:
    """All draws."""
    if fixed is None:
        return
    names = ("draw", "discrete adjoint", "two-sided", "ratio")
    lines = zip(fixed["discrete"], fixed["two_sided"], fixed["ratios"], strict=True)
    cells = [[str(i + 1), f"{a:.1e}", f"{b:.1e}", f"{r:.1f}"] for i, (a, b, r) in enumerate(lines)]
    print(f"\nGradient errors at {FIXED} products forward and {FIXED} transposed\n")
    print(table(names, [*cells, ["median", "", "", f"{fixed['median_ratio']:.1f}"]]))


def line(row: dict[str, Any]) -> str:
    """One row."""
    name = f"{row['method']}, {row['setting']}"
    if "failure" in row:
        return f"{name}: {row['failure']}"
    work = f"{row['forward']} forward, {row['recomputed']} + {row['transposed']} + {row['parameters']} backward"
    return f"{name}: value {row['value_error']:.1e}, gradient {row['gradient_error']:.1e}; {work}"
