"""C: losses, parameter errors and seconds, mean and deviation over seeds, with the published figures beside."""

import json
import statistics
from argparse import Namespace
from typing import Any

from .report import table

# Krämer, Moreno-Muñoz, Roy, Hauberg 2024: seconds per epoch on one V100, training losses of seeds 1 to 3 after 3000
# epochs. Losses of the other two methods were not told to us.
PUBLISHED = {
    "Arnoldi, discrete adjoint": (0.077, "0.0033, 0.0029, 0.0040"),
    "Dopri5, backsolve": (0.072, "—"),
    "Tsit5, checkpoints": (0.269, "—"),
}
NAMES = (
    "method",
    "seeds",
    "training loss",
    "held-out loss",
    "error of |p|",
    "s per epoch",
    "s of the solves",
    "published: s per epoch (V100)",
    "published: loss at 3000",
)


def run(arguments: Namespace) -> dict[str, Any]:
    """From the files of `train`."""
    reports = [json.loads(path.read_text()) for path in arguments.input]
    if wrong := [str(path) for path, report in zip(arguments.input, reports, strict=True) if report["what"] != "train"]:
        message = f"`--input` takes files that `train` wrote, got {', '.join(wrong)}."
        raise SystemExit(message)
    print_table(reports)
    return {"reports": reports}


def print_table(reports: list[dict[str, Any]]) -> None:
    """One table for each report."""
    for report in reports:
        told = ", ".join(f"{key} {report[key]}" for key in ("size", "stencil", "horizon", "parametrisation", "pairs"))
        print(f"\nAfter {report['epochs']} epochs: {told}\n")
        print(table(NAMES, [cells(name, report["rows"]) for name in names(report["rows"])]))


def names(rows: list[dict[str, Any]]) -> list[str]:
    """Methods in the order of the file."""
    return list(dict.fromkeys(row["method"] for row in rows))


def cells(name: str, rows: list[dict[str, Any]]) -> list[str]:
    """One line of the table."""
    mine = [row for row in rows if row["method"] == name]
    seconds, losses = PUBLISHED.get(name, (None, "—"))
    numbers = [[row["losses"][-1] for row in mine]]
    numbers += [[row[key] for row in mine] for key in ("held_out_loss", "parameter_error", "epoch_s", "solve_s")]
    seeds = ", ".join(str(row["seed"]) for row in mine)
    return [name, seeds, *map(spread, numbers), "—" if seconds is None else f"{seconds:.3f}", losses]


def spread(values: list[float]) -> str:
    """Mean, and deviation where there is more than one."""
    mean = f"{statistics.mean(values):.3g}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.1g}"
