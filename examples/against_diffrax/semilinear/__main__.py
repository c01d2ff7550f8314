"""Seconds over errors, of values and of gradients, on four semilinear equations.

python -m examples.against_diffrax.semilinear [--size 64] [--output FILE] [--figure FILE] [--draw FILE ...]

Everybody has the same spatial operator in double precision; each row is a process of its own, stopped after `--limit`
seconds. The reference is Dopri8 at 1e-11. The file is written after each row, so that a run that was ended is not lost.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..measure import compiled, median, relative_error
from ..report import cell
from .methods import METHODS
from .problems import PROBLEMS, Case

COLUMNS = ("value_error", "gradient_error", "forward_s", "value_and_gradient_s", "compile_s")


def loss(case: Case, method: Any, rtol: float, parameters: Any) -> tuple[Any, Any]:
    """`<w, u>`, and the fields."""
    field = case.seen(method(case, parameters, rtol))
    return jnp.vdot(case.weight(), field), field


def reference(problem: str, size: int, folder: str) -> tuple[np.ndarray, np.ndarray]:
    """Field and gradient, made once for all rows of a problem and kept in a file."""
    kept = Path(folder) / f"reference_{problem}_{size}.npz"
    if not kept.exists():
        exact_loss = partial(loss, PROBLEMS[problem](size), METHODS["Diffrax Dopri8"], 1e-11)
        (_, field), gradient = jax.jit(jax.value_and_grad(exact_loss, has_aux=True))(jnp.ones(2))
        np.savez(kept, field=field, gradient=gradient)
    with np.load(kept) as arrays:
        return arrays["field"], arrays["gradient"]


def row(problem: str, name: str, rtol: float, size: int, repeats: int, folder: str) -> dict[str, Any]:
    """Errors and seconds of one method at one tolerance."""
    case, parameters = PROBLEMS[problem](size), jnp.ones(2)
    exact, exact_gradient = reference(problem, size, folder)
    own = partial(loss, case, METHODS[name], rtol)
    both, seconds = compiled(jax.value_and_grad(own, has_aux=True), parameters)
    (_, field), gradient = jax.block_until_ready(both(parameters))
    forward, _ = compiled(lambda p: own(p)[0], parameters)
    return {
        "problem": problem,
        "method": name,
        "tolerance": rtol,
        "value_error": relative_error(field, exact),
        "gradient_error": relative_error(gradient, exact_gradient),
        "forward_s": median(partial(forward, parameters), repeats),
        "value_and_gradient_s": median(partial(both, parameters), repeats),
        "compile_s": seconds,
    }


def in_a_process(problem: str, name: str, rtol: float, folder: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The row, or why there is none."""
    what = json.dumps([problem, name, rtol, arguments.size, arguments.repeats, folder])
    command = [sys.executable, "-m", "examples.against_diffrax.semilinear", "--row", what]
    failed = {"problem": problem, "method": name, "tolerance": rtol}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=arguments.limit)
    except subprocess.TimeoutExpired:
        return failed | {"failure": f"stopped after {arguments.limit:g} s"}
    if done.returncode:
        return failed | {"failure": done.stderr.strip().splitlines()[-1][:200]}
    return json.loads(done.stdout.splitlines()[-1])


def line(found: dict[str, Any]) -> str:
    """Of a Markdown table."""
    head = f"| {found['problem']} | {found['method']} | {found['tolerance']:.0e} | "
    if "failure" in found:
        return head + found["failure"] + " |" * len(COLUMNS)
    return head + " | ".join(cell(key, found[key]) for key in COLUMNS) + " |"


def draw(rows: list[dict[str, Any]], output: Path) -> None:
    """A column for each problem: values above, gradients below."""
    import matplotlib.pyplot as plt

    problems = [problem for problem in PROBLEMS if any(found["problem"] == problem for found in rows)]
    kinds = {"value": ("value_error", "forward_s"), "gradient": ("gradient_error", "value_and_gradient_s")}
    size = (3.4 * len(problems), 6.2)
    figure, panels = plt.subplots(2, len(problems), figsize=size, layout="constrained", squeeze=False)
    for panel, (kind, (error, seconds)) in zip(panels, kinds.items(), strict=True):
        for axes, problem in zip(panel, problems, strict=True):
            for index, name in enumerate(METHODS):
                own = [r for r in rows if (r["problem"], r["method"]) == (problem, name) and "failure" not in r]
                style = "-" if name.startswith("krylovpde") else "--"
                if own:
                    axes.loglog([r[error] for r in own], [r[seconds] for r in own], f"o{style}C{index}", label=name)
            axes.invert_xaxis()
            axes.set(title=f"{problem}: {kind}", xlabel="relative error")
        panel[0].set_ylabel("seconds")
    handles = {label: h for axes in panels.flat for h, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=120)


def main() -> None:
    """Rows, file, figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64, help="cells along each axis in two dimensions")
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--tolerances", type=float, nargs="+", default=[1e-3, 1e-5, 1e-7])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=float, default=120.0)
    parser.add_argument("--output", type=Path, default=Path("results/semilinear.json"))
    parser.add_argument("--figure", type=Path, default=Path("results/semilinear_work_precision.png"))
    parser.add_argument("--draw", type=Path, nargs="+", metavar="FILE", help="only draw what is in these files")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    if arguments.row:
        print(json.dumps(row(*json.loads(arguments.row))))
        return
    if arguments.draw is None:
        print(
            "| problem | method | tolerance | value error | gradient error | forward | value and gradient | compiling |"
        )
        print("|---" * 8 + "|")
        rows = []
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            for problem in arguments.problems:
                reference(problem, arguments.size, folder)
                for name, rtol in itertools.product(arguments.methods, arguments.tolerances):
                    rows.append(in_a_process(problem, name, rtol, folder, arguments))
                    print(line(rows[-1]), flush=True)
                    arguments.output.write_text(json.dumps({"size": arguments.size, "rows": rows}, indent=1))
    files = arguments.draw or [arguments.output]
    draw([found for file in files for found in json.loads(file.read_text())["rows"]], arguments.figure)


if __name__ == "__main__":
    main()
