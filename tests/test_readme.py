"""The README does what it says: short, two set-up commands, and code that runs as a user would run it."""

import re
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_README = (_ROOT / "README.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", _README, re.MULTILINE | re.DOTALL)


def test_is_short():
    assert len(_README.splitlines()) <= 100


def test_has_two_set_up_commands():
    commands = [line.split("#")[0].strip() for block in _blocks("sh") for line in block.splitlines()]
    assert commands == ["make demo", "make test"]


def test_links_lead_somewhere():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", _README)
    assert links
    assert [link for link in links if not (_ROOT / link).exists()] == []


def test_code_runs():
    """In a process of its own, with JAX's defaults: single precision, ordinary promotion."""
    (code,) = _blocks("python")
    code += "assert gradient.shape == (64, 64) and bool(jnp.any(gradient != 0)) and gradient.dtype == jnp.float32\n"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=_ROOT, check=False
    )
    assert run.returncode == 0, run.stderr
