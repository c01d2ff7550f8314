"""The demo as a user runs it, at a small size."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parent.parent
_SMALL = "--cells 48 --shots 4 --sensors 16 --times 5 --iterations 8 --compare short"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    figure = tmp_path_factory.mktemp("demo") / "figures" / "demo.png"
    command = [
        sys.executable,
        "-W",
        "error",
        str(_ROOT / "examples" / "demo.py"),
        *_SMALL.split(),
        "--output",
        str(figure),
    ]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    finished = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT, env=environment, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout, figure


def test_there_is_a_line_for_each_iteration(run):
    output, _ = run
    lines = re.findall(r"^ +(\d+)  loss \S+  χ²/N +\S+  .*field error \S+ .* s$", output, re.MULTILINE)
    iterations = int(re.search(r"^iterations +(\d+),", output, re.MULTILINE).group(1))
    stages = output.count("stopped: ")
    assert stages == 2
    assert len(lines) == iterations + stages
    assert "mesh error at the estimate subtracted" in output


def test_the_field_comes_nearer_to_the_truth(run):
    """At this size the pulses are long and the mesh error is large; at full size the error falls to an eighth."""
    output, _ = run
    start, end = map(float, re.search(r"([\d.]+) % at the start, ([\d.]+) % at the end", output).groups())
    assert start == pytest.approx(5.8, abs=0.2)
    assert end < 0.7 * start


def test_the_table_is_complete(run):
    output, _ = run
    for row in ("applications of the operator", "one value and gradient", "seconds", "peak memory"):
        assert re.search(rf"^{row}.*\d", output, re.MULTILINE), row


def test_the_gradients_of_both_libraries_agree(run):
    output, _ = run
    errors = dict(re.findall(r"^  (krylovpde|Diffrax \S+ \S+ rtol \S+) +[\d.]+ +(\S+)$", output, re.MULTILINE))
    assert float(errors["krylovpde"]) < 1e-3
    assert len(errors) == 3


def test_the_figure_is_there_and_its_path_is_told(run):
    output, figure = run
    assert output.rstrip().endswith(f"figure: {figure}")
    assert figure.stat().st_size > 100_000
