"""Seconds against error, of values and of gradients: waves, heat, advection and diffusion, in both precisions.

Runs the rows of `python -m examples.against_diffrax` at several tolerances each, writes them to a file, and draws a
figure from that file for each precision.

    OPENBLAS_NUM_THREADS=1 python -m examples.against_diffrax.work_precision [--size 128] [--draw FILE]
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

TOLERANCES = {"float64": (1e-3, 1e-5, 1e-7, 1e-9), "float32": (1e-2, 1e-3, 1e-5)}
PROBLEMS = {"wave": "wave", "heat": "diffusion", "advection": "advection and diffusion"}
# What is drawn: parts of the rows' names, and colour, marker and line of each.
STYLES = {
    "krylovpde, default": ("#000000", "o", "-"),
    "Diffrax Tsit5, checkpointed": ("#d55e00", "s", "-"),
    "Diffrax Dopri8, checkpointed": ("#e69f00", "D", "-"),
    "leapfrog": ("#0072b2", "^", "--"),
    "Crank–Nicolson": ("#009e73", "v", "--"),
}


def run(precision: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """All rows of one precision."""
    output = arguments.output.with_suffix(f".{precision}.json")
    command = [sys.executable, "-m", "examples.against_diffrax", "--size", str(arguments.size)]
    command += ["--precision", precision, "--repeats", str(arguments.repeats), "--output", str(output)]
    command += ["--limit", str(arguments.limit), "--problems", *arguments.problems, "--methods", *STYLES]
    tolerances = arguments.tolerances or TOLERANCES[precision]
    subprocess.run([*command, "--tolerances", *map(str, tolerances)], check=True)
    rows = json.loads(output.read_text())["rows"]
    output.unlink()
    return rows


def points(rows: list[dict[str, Any]], name: str, error: str, seconds: str) -> list[tuple[float, float]]:
    """Errors and seconds of a method, in the order in which they were asked for."""
    named = [row for row in rows if ", ".join((row["method"], row["adjoint"])).startswith(name)]
    return [(row[error], row[seconds]) for row in named if row.get(error) and row.get(seconds)]


def draw(rows: list[dict[str, Any]], output: Path) -> None:
    """A line of panels for values and one for gradients; a column for each problem."""
    import matplotlib.pyplot as plt

    problems = list(dict.fromkeys(row["problem"] for row in rows))
    kinds = {"value": ("value_error", "forward_s"), "gradient": ("gradient_error", "value_and_gradient_s")}
    shape = (len(kinds), len(problems))
    figure, panels = plt.subplots(*shape, figsize=(3.6 * len(problems), 6.2), layout="constrained", squeeze=False)
    for line, (kind, keys) in zip(panels, kinds.items(), strict=True):
        for axes, problem in zip(line, problems, strict=True):
            own = [row for row in rows if row["problem"] == problem]
            for name, (colour, marker, style) in STYLES.items():
                if found := points(own, name, *keys):
                    axes.loglog(*zip(*found, strict=True), marker=marker, color=colour, linestyle=style, label=name)
            axes.set_title(f"{PROBLEMS.get(problem, problem)}: {kind}")
            axes.set_xlabel(f"error of the {kind}, relative")
            axes.invert_xaxis()
            axes.grid(alpha=0.3)
        line[0].set_ylabel("seconds, " + ("value" if kind == "value" else "value and gradient"))
    found = [axes.get_legend_handles_labels() for axes in panels.flat]
    handles = {label: handle for pair in found for handle, label in zip(*pair, strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, frameon=False)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=150)
    plt.close(figure)


def main() -> None:
    """Rows, file, figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--precisions", nargs="+", choices=list(TOLERANCES), default=list(TOLERANCES))
    parser.add_argument("--problems", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--tolerances", type=float, nargs="+", default=[])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--limit", type=float, default=300.0, help="seconds after which a row is stopped")
    parser.add_argument("--output", type=Path, default=Path("results/work_precision.json"))
    parser.add_argument("--figures", type=Path, default=Path("docs/figures"), help="the folder of the figures")
    parser.add_argument("--draw", type=Path, metavar="FILE", help="only draw what is in FILE")
    arguments = parser.parse_args()
    if arguments.draw is None:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        rows = [row for precision in arguments.precisions for row in run(precision, arguments)]
        arguments.output.write_text(json.dumps({"rows": rows}, indent=1))
        print(f"written: {arguments.output}")
    rows = json.loads((arguments.draw or arguments.output).read_text())["rows"]
    for precision in dict.fromkeys(row["precision"] for row in rows):
        figure = arguments.figures / f"work_precision_{precision}.png"
        draw([row for row in rows if row["precision"] == precision], figure)
        print(f"figure: {figure}")


if __name__ == "__main__":
    main()
