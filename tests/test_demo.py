"""The demo as a user runs it, at a small size."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parent.parent
_SMALL = "--cells 32 --shots 2 --sensors 8 --times 3 --iterations 8 --compare"


@pytest.mark.parametrize("compare", ["none", pytest.param("short", marks=pytest.mark.slow)])
def test_the_demo(compare, tmp_path):
    """One test, so that the demo runs once: iterations, field, table, comparison, figure."""
    figure = tmp_path / "figures" / "demo.png"
    command = [sys.executable, "-W", "error", str(_ROOT / "examples" / "demo.py"), *_SMALL.split(), compare]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    finished = subprocess.run(
        [*command, "--output", str(figure)], capture_output=True, text=True, cwd=_ROOT, env=environment, check=False
    )
    assert finished.returncode == 0, finished.stderr
    output = finished.stdout

    lines = re.findall(r"^ +(\d+)  loss \S+  χ²/N +\S+  .*field error \S+ .* s$", output, re.MULTILINE)
    iterations = int(re.search(r"^iterations +(\d+),", output, re.MULTILINE).group(1))
    assert output.count("stopped: ") == 2
    assert len(lines) == iterations + 2
    assert "mesh error at the estimate subtracted" in output

    # At this size the pulses are long and the mesh error is large; at full size the error falls to an eighth.
    start, end = map(float, re.search(r"([\d.]+) % at the start, ([\d.]+) % at the end", output).groups())
    assert start == pytest.approx(5.8, abs=0.2)
    assert end < 0.7 * start

    for row in ("applications of the operator", "one value and gradient", "seconds", "peak memory"):
        assert re.search(rf"^{row}.*\d", output, re.MULTILINE), row

    errors = dict(re.findall(r"^  (krylovpde|Diffrax \S+ \S+ rtol \S+) +[\d.]+ +(\S+)$", output, re.MULTILINE))
    if compare == "none":
        assert not errors
    else:
        assert float(errors["krylovpde"]) < 1e-3
        assert len(errors) == 3

    assert output.rstrip().endswith(f"figure: {figure}")
    assert figure.stat().st_size > 100_000
