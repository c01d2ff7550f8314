"""Tables and files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax


def table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [list(names), ["---"] * len(names), *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def save(path: Path, report: dict[str, Any]) -> None:
    """As JSON, with the device."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"device": str(jax.devices()[0]), **report}, indent=1))
    print(f"written: {path}")


def milliseconds(seconds: float) -> str:
    """Three digits."""
    return f"{1e3 * seconds:.3g} ms"
