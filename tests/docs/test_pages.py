"""The pages lead somewhere, and the filters, messages and targets they show are the ones that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared import recipes
from shared.data import schemas
from shared.filters import FilterError, check_filter, parse_filter
from shared.filters.checking import Schemas
from tests.conftest import ROOT
from tests.docs.pages import PAGES, read_anchors, read_blocks, read_links

FILTERS = ROOT / "docs" / "user" / "filters.md"
TARGETS = re.findall(r"^([\w-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE)


def label_page(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=label_page)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in read_links(page):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{label_page(page)} links to {link}"
        if anchor:
            assert anchor in read_anchors(target), f"{label_page(page)} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=label_page)
def test_every_target_of_make_that_a_page_names_exists(page: Path) -> None:
    for target in re.findall(r"(?:^|[`(]|^    )make ([a-z][\w-]*)", page.read_text(), re.MULTILINE):
        assert target in TARGETS, f"{label_page(page)} names make {target}"


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "user").glob("*.md")), ids=label_page)
def test_a_user_page_says_first_who_needs_it(page: Path) -> None:
    heading, paragraph, *_ = page.read_text().split("\n\n")
    assert heading.startswith("# ")
    assert re.match(r"This page is for ", paragraph), f"{label_page(page)} begins: {paragraph[:60]}"


def test_the_site_lists_every_page_once_and_no_other() -> None:
    docs = ROOT / "docs"
    lists = re.findall(
        r"^```{toctree}\n(?::[^\n]*\n)*\n(.*?)^```$", (docs / "index.md").read_text(), re.MULTILINE | re.DOTALL
    )
    listed: list[Path] = []
    for entry in "".join(lists).split():
        pages = list(docs.glob(f"{entry}.md"))
        assert pages, f"there is no page {entry}"
        listed += pages
    assert len(lists) == 4
    assert sorted(listed) == sorted(page for page in PAGES if page.is_relative_to(docs) and page != docs / "index.md")


def parse_column(description: str) -> tuple[str, schemas.Field]:
    """A column as the page writes it: its name in backticks, and perhaps its type or attribute in brackets."""
    found = re.fullmatch(r"`(\w+)`(?: \((\w+)\))?", description.strip())
    assert found is not None, description
    kind = found[2] if found[2] in schemas.TYPES else "long" if found[1].endswith("STAMP") else "string"
    flags = {"categorical": found[2] == "categorical", "textual": found[2] == "textual"}
    return found[1], schemas.Field(name=found[1], type="long" if found[1] == "VALUE" else kind, **flags)


def read_schemas() -> Schemas:
    """The datasets of the page's own table."""
    section = FILTERS.read_text().partition("## The data of the examples")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\w+) \| (`.*) \|$", section, re.MULTILINE)
    return {dataset.upper(): dict(map(parse_column, columns.split(", "))) for dataset, columns in rows}


ACCEPTED = [block.source for block in read_blocks(FILTERS) if block.language == "filter"]
REFUSED = re.findall(r"^\| `((?:INCLUDE|EXCLUDE) .*)` \| (.*) \|$", FILTERS.read_text(), re.MULTILINE)


@pytest.mark.parametrize("expression", ACCEPTED)
def test_every_filter_example_is_accepted(expression: str) -> None:
    check_filter(parse_filter(expression), read_schemas())


@pytest.mark.parametrize(("expression", "answer"), REFUSED)
def test_every_refused_filter_is_refused_with_these_words(expression: str, answer: str) -> None:
    with pytest.raises(FilterError, match=re.escape(answer.replace("\\|", "|"))):
        check_filter(parse_filter(expression.replace("\\|", "|")), read_schemas())


def test_there_is_an_example_for_each_operator_and_each_dataset() -> None:
    assert len(ACCEPTED) > 15
    assert len(REFUSED) > 10
    shown = " ".join(ACCEPTED)
    for word in ("CurrentUser", "CurrentItem", " IF ", " OR ", " AND ", " | ", "$", '"*"', "ActionID", "UserID"):
        assert word in shown
    assert set(read_schemas()) == set(schemas.DATASET_TYPES.values())


@pytest.mark.parametrize("recipe", recipes.RECIPES)
def test_every_recipe_answers_a_question(recipe: str) -> None:
    page = (ROOT / "docs" / "user" / "choose-a-recipe.md").read_text()
    assert f"`{recipe.rpartition('/')[2]}`" in page
