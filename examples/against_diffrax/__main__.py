"""Value and gradient beside Diffrax's, a leapfrog scheme's, Crank–Nicolson's, SciPy's and matfree's.

The same equation, stencil, precision and machine; each row in a process of its own. Errors of value and gradient
against Diffrax's Dopri8 at a tolerance of 1e-11, median seconds after a warm-up, seconds of tracing and compiling,
applications of the operator as counted, peak temporary memory of the compiled program in fields.

    OPENBLAS_NUM_THREADS=1 python -m examples.against_diffrax [--size 256] [--problems wave heat ...] [--scaling]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .cases import PROBLEMS, Case
from .competitors import competitors
from .measure import measure, reference
from .report import conclusions, head, line
from .scaling import print_scaling

DEFAULT_PROBLEMS = [name for name in PROBLEMS if name != "long wave"]


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.against_diffrax",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    size = "cells along each axis, where the problem does not say (256; 64 for --scaling)"
    parser.add_argument("--size", type=int, help=size)
    parser.add_argument("--problems", nargs="+", default=DEFAULT_PROBLEMS, choices=list(PROBLEMS))
    parser.add_argument("--methods", nargs="+", default=[""], help="only rows whose name contains one of these")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--limit", type=float, default=600.0, help="seconds after which a row is stopped")
    parser.add_argument("--output", type=Path, default=Path("results/against_diffrax.json"))
    parser.add_argument("--precision", choices=["float64", "float32"], default="float64")
    parser.add_argument(
        "--tolerances", type=float, nargs="+", default=[], help="of all that controls its error, instead of its own"
    )
    parser.add_argument("--scaling", action="store_true", help="how cost and memory grow with the duration, instead")
    parser.add_argument("--one", nargs=3, metavar=("PROBLEM", "METHOD", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.size = arguments.size or (64 if arguments.scaling else 256)
    return arguments


def main():
    """All rows, each in a process of its own, or (inside such a process) one."""
    arguments = parse()
    # The reference is in double precision, whatever is measured.
    double = arguments.precision == "float64" or (arguments.one and arguments.one[1] == "reference")
    jax.config.update("jax_enable_x64", bool(double))
    if arguments.one:
        print(json.dumps(one(arguments)))
        return
    if arguments.scaling:
        report = {"scaling": print_scaling(arguments.size, arguments.repeats)}
    else:
        report = {"rows": (rows := all_rows(arguments))}
        print("\n" + "\n".join(conclusions(rows)))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps({"device": str(jax.devices()[0]), **report}, indent=1))
    print(f"written: {arguments.output}")


def all_rows(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Printed one by one."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for problem in arguments.problems:
            case = case_of(arguments, problem)
            table = {
                name: row for name, row in competitors(case).items() if any(part in name for part in arguments.methods)
            }
            exact = str(Path(folder) / f"{problem}.npz")
            in_process(arguments, problem, "reference", exact)
            print(head(problem, case.size), flush=True)
            for name, row in table.items():
                named = {"problem": problem, "size": case.size, "precision": arguments.precision}
                named |= {key: getattr(row, key) for key in ("method", "adjoint", "tolerance")}
                rows.append(named | in_process(arguments, problem, name, exact))
                print(line(rows[-1]), flush=True)
    return rows


def in_process(arguments: argparse.Namespace, problem: str, name: str, exact: str) -> dict[str, Any]:
    """What `one` says in a fresh process, or why it said nothing."""
    command = [sys.executable, "-m", "examples.against_diffrax", "--size", str(arguments.size)]
    command += ["--repeats", str(arguments.repeats), "--precision", arguments.precision]
    if arguments.tolerances:
        command += ["--tolerances", *map(str, arguments.tolerances)]
    command += ["--one", problem, name, exact]
    # The reference has to be there, however long it takes.
    limit = None if name == "reference" else arguments.limit
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"failure": f"stopped after {limit:.0f} s"}
    if run.returncode != 0:
        reason = (run.stderr.strip().splitlines() or ["no message"])[-1]
        if name == "reference":
            message = f"{problem}: no reference: {reason}"
            raise RuntimeError(message)
        return {"failure": f"the process ended with {run.returncode}: {reason}"[:160]}
    return json.loads(run.stdout.splitlines()[-1])


def one(arguments: argparse.Namespace) -> dict[str, Any]:
    """One row, or the file of the reference."""
    problem, name, path = arguments.one
    if name == "reference":
        field, gradient = reference(Case(problem, arguments.size))
        np.savez(path, field=field, gradient=gradient)
        return {}
    stored = np.load(path)
    exact = (stored["field"], stored["gradient"])
    case = case_of(arguments, problem)
    try:
        return measure(case, competitors(case)[name], exact, arguments.repeats)
    except Exception as error:  # whatever stops a competitor is its result
        return {"failure": told(error)}


def case_of(arguments: argparse.Namespace, problem: str) -> Case:
    """The problem as the command line wants it."""
    return Case(problem, arguments.size, dtype=np.dtype(arguments.precision), tolerances=tuple(arguments.tolerances))


def told(error: Exception) -> str:
    """The first line of a message; of an error inside a compiled program, the line that names it."""
    lines = str(error).strip().splitlines() or ["no message"]
    inside = [text for text in lines if "EquinoxRuntimeError: " in text]
    return (inside[0].split("EquinoxRuntimeError: ")[1] if inside else f"{type(error).__name__}: {lines[0]}")[:160]


if __name__ == "__main__":
    main()
