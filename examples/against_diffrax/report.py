"""The rows as lines, as a table, and what follows from them."""

from typing import Any

from .cases import PROBLEMS

COLUMNS = {
    "method": "method",
    "adjoint": "adjoint",
    "tolerance": "tolerance",
    "value_error": "value error",
    "gradient_error": "gradient error",
    "forward_s": "forward",
    "value_and_gradient_s": "value and gradient",
    "compile_s": "compiling",
    "applications": "applications, forward",
    "applications_with_gradient": "with gradient",
    "memory_fields": "memory (fields)",
}


def cell(key: str, value: Any) -> str:
    """A number as it is read."""
    if value is None or value == "":
        return "—"
    if key.endswith("_error"):
        return f"{value:.0e}"
    if key.endswith("_s"):
        return f"{1e3 * value:.3g} ms" if value < 1.0 else f"{value:.1f} s"
    return f"{value:.0f}" if isinstance(value, float) else str(value)


def line(row: dict[str, Any]) -> str:
    """A row of a Markdown table; what failed says so in place of its numbers."""
    if "failure" in row:
        cells = [cell(key, row.get(key)) for key in ("method", "adjoint", "tolerance")]
        return "| " + " | ".join([*cells, f"does not run: {row['failure']}", *[""] * (len(COLUMNS) - 4)]) + " |"
    return "| " + " | ".join(cell(key, row.get(key)) for key in COLUMNS) + " |"


def head(problem: str, size: int) -> str:
    """Title and head of a problem's table."""
    found = PROBLEMS[problem]
    kind, dimension = found.kind, found.dimension
    stiffness = found.stiffness_with(size)
    number = "R" if kind == "wave" else "tρ"
    cells = " × ".join([str(size)] * dimension)
    title = f"\n{problem}: {kind}, {cells} cells, {number} = {stiffness:g}\n\n"
    return title + "| " + " | ".join(COLUMNS.values()) + " |\n" + "|---" * len(COLUMNS) + "|"


def conclusions(rows: list[dict[str, Any]]) -> list[str]:
    """For each problem the fastest competitor whose gradient is accurate, beside krylovpde's default."""
    lines = []
    for problem in dict.fromkeys(row["problem"] for row in rows):
        limit = PROBLEMS[problem].accuracy
        done = [row for row in rows if row["problem"] == problem and "value_and_gradient_s" in row]
        own = next((row for row in done if row["method"] == "krylovpde, default"), None)
        accurate = [row for row in done if row["gradient_error"] <= limit and "krylovpde" not in row["method"]]
        if not accurate:
            lines.append(f"{problem}: no competitor had a gradient's error of at most {limit:.0e}")
            continue
        best = min(accurate, key=lambda row: row["value_and_gradient_s"])
        name = ", ".join(best[key] for key in ("method", "adjoint", "tolerance") if best[key])
        text = f"{problem}: fastest with a gradient's error of at most {limit:.0e}: {name}"
        if own is not None:
            text += f", {best['value_and_gradient_s'] / own['value_and_gradient_s']:.2g} x krylovpde's time"
            text += f" (krylovpde's error: {own['gradient_error']:.0e})"
        lines.append(text)
    return lines
