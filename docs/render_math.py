"""Turns the formulas of every page into MathML when the site is built, so that no script is loaded to show them."""

import html
import logging
import re

from latex2mathml.converter import convert

_LOG = logging.getLogger("mkdocs.hooks.render_math")  # a warning fails the strict build

# What pymdownx.arithmatex (generic: true) leaves behind: \(...\) in a span, \[...\] in a div.
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
_CODE = re.compile(r"<(pre|code|script|style|math)\b.*?</\1>", re.DOTALL)


def on_page_content(content: str, page, **_) -> str:
    """Called by MkDocs with the HTML of each page."""
    content = _FORMULA.sub(_mathml, content)
    left = re.search(r"\$[^$]{1,60}", _CODE.sub("", content))
    if left:
        _LOG.warning("%s: a formula was not recognised (a line of it may begin like a list): %s", page.title, left[0])
    return content


def _mathml(match: re.Match[str]) -> str:
    tag, formula = match.groups()
    return convert(html.unescape(formula), display="inline" if tag == "span" else "block")
