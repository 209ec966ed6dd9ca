"""Each page of docs/decisions has its status, its date and its four sections, and the index lists it so."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from tests.conftest import ROOT

FOLDER = ROOT / "docs" / "decisions"
PAGES = sorted(FOLDER.glob("[0-9]*.md"))
SECTIONS = ["Context", "Decision", "Considered", "Consequences"]
FRONT = re.compile(
    r"# (?P<title>.+)\n\n"
    r"\* Status: (?P<status>accepted|superseded by \[(?P<by>\d{3})\]\((?P<file>[\w-]+\.md)\))"
    r"(?:; [^\n]+(?:\n  [^\n]+)*)?\n"
    r"\* Date: (?P<date>\d{4}-\d\d-\d\d)\n\n"
)


def read_front(page: Path) -> re.Match[str]:
    front = FRONT.match(page.read_text())
    assert front is not None, f"{page.name} does not begin with a title, a status and a date"
    return front


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_the_form_of_a_decision(page: Path) -> None:
    front = read_front(page)
    date.fromisoformat(front["date"])
    assert re.findall(r"^## (.+)$", page.read_text(), re.MULTILINE) == SECTIONS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_that_is_superseded_is_named_by_the_one_that_supersedes_it(page: Path) -> None:
    front = read_front(page)
    if front["by"]:
        assert front["file"].startswith(front["by"])
        assert f"supersedes [{page.name[:3]}]({page.name})" in (FOLDER / front["file"]).read_text()
    else:
        assert front["status"] == "accepted"


def test_the_numbers_have_no_gap() -> None:
    assert [page.name[:3] for page in PAGES] == [f"{number:03}" for number in range(1, len(PAGES) + 1)]


def test_the_index_lists_every_page_with_its_title_status_and_date() -> None:
    index = (FOLDER / "README.md").read_text()
    rows = re.findall(r"^\| (\d{3}) \| \[(.+)\]\((.+\.md)\) \| (.+) \| (.+) \|$", index, re.MULTILINE)
    fronts = {page: read_front(page) for page in PAGES}
    assert rows == [
        (page.name[:3], front["title"], page.name, front["status"], front["date"]) for page, front in fronts.items()
    ]
