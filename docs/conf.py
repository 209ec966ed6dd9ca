"""Configures the documentation site: ``make docs`` builds it from the Markdown pages of this folder."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pygments.lexer import RegexLexer, words
from pygments.token import Keyword, Name, Number, Operator, String, Whitespace

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DOCS = Path(__file__).parent

project = "foretaste"
author = "the foretaste authors"
release = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"]["version"]

extensions = ["myst_parser", "sphinxcontrib.mermaid"]
root_doc = "index"

# A forge gives every heading an anchor of this form, so a link to one works on both.
myst_heading_anchors = 4
# A forge draws a block that is fenced as mermaid; here the extension does.
myst_fence_as_directive = ["mermaid"]

html_theme = "furo"
html_title = "foretaste"
html_copy_source = False
html_show_sphinx = False

_RELATIVE_LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s]+)\)")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the language of filters, and make links work that leave this folder."""
    app.add_lexer("filter", FilterLexer)
    app.connect("source-read", _adapt_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class FilterLexer(RegexLexer):
    """Colours filter expressions, which Pygments does not know."""

    name = "filter"
    flags = re.IGNORECASE
    tokens: ClassVar = {
        "root": [
            (
                words(["INCLUDE", "EXCLUDE", "WHERE", "IF", "AND", "OR", "NOT", "IN"], prefix=r"\b", suffix=r"\b"),
                Keyword,
            ),
            (r"\$\w+", Name.Variable),
            (r'"[^"]*"', String),
            (r"\d+(\.\d+)?", Number),
            (r"[a-z_]\w*", Name),
            (r"[.,()|<>=!]", Operator),
            (r"\s+", Whitespace),
        ]
    }


def _adapt_links(_app: Sphinx, page: str, source: list[str]) -> None:
    """Make links work that a forge resolves and Sphinx does not: to folders, and to files outside of docs/.

    A link to a folder of pages leads to the front page, which lists them; any other file becomes a download.
    """
    folder = (DOCS / page).parent

    def adapt(link: re.Match[str]) -> str:
        target = (folder / link[1].partition("#")[0]).resolve()
        if target.is_dir():
            return "](/index.md)"
        if target.is_file() and not target.is_relative_to(DOCS):
            return f"](path:{link[1].partition('#')[0]})"
        return link[0]

    source[0] = _RELATIVE_LINK.sub(adapt, source[0])
