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


def reason(error: Exception) -> str:
    """Why a method does not run: of an error inside a compiled program, the line that names it."""
    lines = str(error).strip().splitlines() or ["no message"]
    inside = [text for text in lines if "EquinoxRuntimeError: " in text]
    return (inside[0].split("EquinoxRuntimeError: ")[1] if inside else f"{type(error).__name__}: {lines[0]}")[:160]
