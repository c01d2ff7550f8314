"""Turns the formulas of every page into MathML when the site is built, so that no script is loaded to show them."""

import html
import re

from latex2mathml.converter import convert

# What pymdownx.arithmatex (generic: true) leaves behind: \(...\) in a span, \[...\] in a div.
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(content: str, **_) -> str:
    """Called by MkDocs with the HTML of each page."""
    return _FORMULA.sub(_mathml, content)


def _mathml(match: re.Match[str]) -> str:
    tag, formula = match.groups()
    return convert(html.unescape(formula), display="inline" if tag == "span" else "block")
