"""Seconds and accuracy of value and gradient of the solve alone, with the plain field, in single precision."""

import statistics
import time
from argparse import Namespace
from typing import Any

import jax

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
from .report import milliseconds, reason, save, table
from .stencils import Case

TOLERATED = 1e-4  # gradient error at which seconds count
THEIRS = ("Dopri5, backsolve", "Tsit5, checkpoints")


def settings(case: Case) -> list[Method]:
    """Theirs as published (steps and depth per unit of time) and finer, ours in both forms."""
    steps = [max(1, round(count * max(case.horizon, 1.0))) for count in (2, 3, 4, 6)]
    rows = [runge_kutta(case, "Dopri5", "backsolve", count) for count in steps]
    rows += [runge_kutta(case, "Tsit5", "checkpoints", count) for count in steps[:3]]
    depths = (10,) if case.horizon <= 1.0 else (10, 30, 50)
    rows += [make(case, depth) for make in (discrete_adjoint, two_sided_fixed) for depth in depths]
    if has_matfree():
        rows.append(matfree_adjoint(case, depths[-1]))
    room = (10, 2) if case.horizon <= 1.0 else (40, 8)
    return [*rows, krylov(case, 1e-4), krylov(case, 1e-4, *room), default(case, 1e-3), default(case, 1e-4)]


def run(arguments: Namespace) -> dict[str, Any]:
    """All rows: compiled first, then timed in turns."""
    case = Case(arguments.size, arguments.stencil, arguments.horizon)
    draw = draws(case, arguments.seeds[:1])[0]
    rows, programs = [], []
    for method in settings(case):
        row, program = prepare(method, draw)
        rows.append(row)
        if program is not None:
            programs.append((row, program))
    clock(programs, draw, arguments.repeats)
    print_rows(rows)
    report = {"what": "solve_alone", "size": case.size, "stencil": case.stencil, "horizon": case.horizon, "rows": rows}
    report["ratios"] = ratios(rows)
    for text in conclusions(report["ratios"]):
        print(text)
    save(arguments.output, report)
    return report


def prepare(method: Method, draw: Draw) -> tuple[dict[str, Any], Any]:
    """Errors and work, and the compiled program; or why there is none."""
    row: dict[str, Any] = {"method": method.name, "setting": method.setting}
    try:
        program = value_and_gradient(method.solve)
        row["value_error"], row["gradient_error"] = errors(draw, jax.block_until_ready(program(*single(draw))))
        _, coefficient, state = single(draw)
        row |= method.work(coefficient**2, state)._asdict()
    except Exception as error:  # whatever stops a method is its result
        return row | {"failure": reason(error)}, None
    return row, program


def clock(programs: list[tuple[dict[str, Any], Any]], draw: Draw, repeats: int) -> None:
    """Adds median and minimal seconds to the rows; all take turns, so that a disturbance meets all of them."""
    given = single(draw)
    seconds: list[list[float]] = [[] for _ in programs]
    for _ in range(repeats):
        for (_, program), taken in zip(programs, seconds, strict=True):
            began = time.perf_counter()
            jax.block_until_ready(program(*given))
            taken.append(time.perf_counter() - began)
    for (row, _), taken in zip(programs, seconds, strict=True):
        row["median_s"], row["minimum_s"] = statistics.median(taken), min(taken)


def ratios(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The fastest setting of each method whose gradient is accurate; our seconds over theirs."""
    best: dict[str, dict[str, Any]] = {}
    for row in rows:
        accurate = "failure" not in row and row["gradient_error"] <= TOLERATED
        if accurate and row["minimum_s"] < best.get(row["method"], row)["minimum_s"] * 1.0000001:
            best[row["method"]] = row
    ours = [name for name in best if name.startswith("krylovpde")]
    quotients = {
        f"{own} / {other}": {key: best[own][f"{key}_s"] / best[other][f"{key}_s"] for key in ("median", "minimum")}
        for own in ours
        for other in THEIRS
        if other in best
    }
    return {"tolerated": TOLERATED, "best": best, "quotients": quotients}


def conclusions(ratios: dict[str, Any]) -> list[str]:
    """In words."""
    missing = [name for name in THEIRS if name not in ratios["best"]]
    lines = [f"{name}: no setting with a gradient error of at most {TOLERATED:.0e}" for name in missing]
    lines += [f"{name}: fastest is {row['setting']}" for name, row in ratios["best"].items()]
    return lines + [
        f"{name}: {values['median']:.2f} x its seconds (medians), {values['minimum']:.2f} x (minima)"
        for name, values in ratios["quotients"].items()
    ]


def print_rows(rows: list[dict[str, Any]]) -> None:
    """All of them."""
    names = ("method", "setting", "value error", "gradient error", "median", "minimum", "products forward", "backward")
    print(table(names, [_cells(row) for row in rows]))


def _cells(row: dict[str, Any]) -> list[str]:
    if "failure" in row:
        return [row["method"], row["setting"], f"does not run: {row['failure']}", "", "", "", "", ""]
    backward = f"{row['recomputed']} + {row['transposed']} + {row['parameters']}"
    times = [milliseconds(row[key]) for key in ("median_s", "minimum_s")]
    found = [f"{row[key]:.1e}" for key in ("value_error", "gradient_error")]
    return [row["method"], row["setting"], *found, *times, str(row["forward"]), backward]
