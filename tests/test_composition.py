"""The composition examples as a user runs them, at a small size."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parent.parent


def _run(script: str, *arguments) -> str:
    """What it prints; warnings are errors, compiled programs are kept where those of the tests are."""
    command = [sys.executable, "-W", "error", str(_ROOT / "examples" / "composition" / script), *map(str, arguments)]
    cache = {"JAX_COMPILATION_CACHE_DIR": str(_ROOT / ".pytest_cache" / "jax")}
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), **cache}
    run = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.slow
def test_a_diffrax_model():
    """Loss and gradient of the same module by both: to the tolerances of the two."""
    output = _run("diffrax_model.py", "--size", 16)
    rows = re.findall(r"^by_(diffrax|krylovpde) +loss (\S+)  gradient (\S+) (\S+) (\S+)$", output, re.MULTILINE)
    (first, *theirs), (second, *ours) = rows
    assert (first, second) == ("diffrax", "krylovpde")
    theirs, ours = ([float(number) for number in numbers] for numbers in (theirs, ours))
    assert all(abs(number) > 1e-5 for number in ours)
    scale = max(map(abs, ours))
    assert max(abs(a - b) for a, b in zip(theirs, ours, strict=True)) < 1e-6 * scale
    assert float(re.search(r"relative to the largest: (\S+)", output).group(1)) < 1e-6


def test_a_network_coefficient():
    """The network learns: in 30 steps of Adam the loss falls to a ninth (measured)."""
    output = _run("network_coefficient.py", "--size", 16, "--steps", 30)
    losses = [float(loss) for loss in re.findall(r"^step +\d+  loss (\S+)$", output, re.MULTILINE)]
    assert len(losses) >= 8
    assert 0.0 < losses[-1] < 0.25 * losses[0]


@pytest.mark.slow
def test_an_ensemble():
    """Every member's gradient in the batch is that of the member alone, and members differ."""
    output = _run("ensemble.py", "--size", 12, "--members", 3)
    rows = re.findall(r"^ +(\d) +(\S+) +(\S+) +(\S+) +(\S+)$", output, re.MULTILINE)
    assert [int(row[0]) for row in rows] == [0, 1, 2]
    for *_, batched, alone in rows:
        assert abs(float(batched) - float(alone)) <= 1e-4 * abs(float(alone))
        assert abs(float(alone)) > 1e-4
    assert len({row[1] for row in rows}) == len({row[3] for row in rows}) == 3
    deviations = re.findall(r"^0\.\d\d +\S+ +(\S+) +\S+ +(\S+)$", output, re.MULTILINE)
    assert len(deviations) == 6
    assert max(float(number) for pair in deviations for number in pair) > 1e-3


def test_serialisation(tmp_path):
    """Bit for bit, from a file that is really there."""
    file = tmp_path / "model.eqx"
    output = _run("serialise.py", "--size", 16, "--file", file)
    # The two coefficient fields, at least.
    assert file.stat().st_size > 2 * 16 * 8
    first, second = re.search(r"^loss (\S+) and (\S+)$", output, re.MULTILINE).groups()
    assert float(first) == float(second) > 0.0
    for name in ("solution", "gradient"):
        assert re.search(rf"^{name}: the same, bit for bit$", output, re.MULTILINE), output
