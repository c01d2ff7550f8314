"""Numbers to JSON, curves to figures: what the three experiments share."""

import json
import math
from pathlib import Path
from typing import Any

# Okabe and Ito's colours, which people who do not tell red from green can tell apart.
BLUE, ORANGE, GREEN, SKY = "#0072b2", "#d55e00", "#009e73", "#56b4e9"


def write(found: dict[str, Any], output: Path) -> None:
    """As JSON, which knows no NaN: what is not finite becomes null."""
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(_finite(found), indent=1))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def save(figure: Any, output: Path) -> None:
    """The figure as a file."""
    import matplotlib.pyplot as plt

    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=150)
    plt.close(figure)


def number(value: float) -> str:
    """An error as it is read."""
    return f"{value:.0e}" if math.isfinite(value) else "nan"
