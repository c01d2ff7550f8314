"""Every public name has its place on an API page of the site."""

import re
from pathlib import Path
from types import ModuleType

import pytest

import krylovpde
from krylovpde import functions, inverse, plot, verify

_PAGES = Path(__file__).parent.parent / "docs" / "api"


def _public(module: ModuleType) -> set[str]:
    names = {name for name, value in vars(module).items() if not name.startswith("_")}
    return {name for name in names if not isinstance(getattr(module, name), ModuleType)}


@pytest.mark.parametrize("module", [krylovpde, functions, inverse, plot, verify], ids=lambda module: module.__name__)
def test_every_public_name_is_documented(module):
    documented = set(
        re.findall(r"^::: ([\w.]+)", "\n".join(page.read_text() for page in _PAGES.glob("*.md")), re.MULTILINE)
    )
    assert {f"{module.__name__}.{name}" for name in _public(module)} <= documented
