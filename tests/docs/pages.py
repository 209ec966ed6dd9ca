"""Reads the Markdown pages as a forge shows them: fenced blocks, links, and the anchors of headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

#: Every page that a reader may open: the front page, the docs, and the README of a folder.
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/**/README.md", "shared/**/README.md", "tests/**/README.md")
    for path in ROOT.glob(pattern)
)
_BLOCK = re.compile(r"^```([\w-]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```$|``[^`]+``|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,6} +(.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; ``output`` is the block of text that follows it directly, or None."""

    language: str
    source: str
    output: str | None = None


def read_blocks(page: Path) -> list[Block]:
    """Return the fenced blocks in their order, without those of text, which are the outputs of the blocks before."""
    text = page.read_text()
    blocks: list[Block] = []
    end = 0
    for found in _BLOCK.finditer(text):
        language, source = found.groups()
        if language != "text":
            blocks.append(Block(language, source))
        elif not text[end : found.start()].strip():
            blocks[-1] = Block(blocks[-1].language, blocks[-1].source, source)
        end = found.end()
    return blocks


def read_links(page: Path) -> Iterator[str]:
    """Yield the targets of the links that lead to a file or a heading of this repository; code is no link."""
    for found in _LINK.finditer(_CODE.sub("", page.read_text())):
        if not re.match(r"[a-z]+:", found[1]):
            yield found[1]


def read_anchors(page: Path) -> set[str]:
    """Return the anchors that a forge gives to the headings of a page."""
    anchors: set[str] = set()
    for heading in _HEADING.findall(re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        count = sum(anchor == slug or re.fullmatch(rf"{re.escape(slug)}-\d+", anchor) is not None for anchor in anchors)
        anchors.add(f"{slug}-{count}" if count else slug)
    return anchors
