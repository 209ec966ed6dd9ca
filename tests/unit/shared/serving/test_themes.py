"""Themes of lists: what sets a list apart, how well each item fits, and generators of an operator's own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

from shared.data.duckdb_session import DuckDBSession
from shared.serving.dataset_snapshot import Snapshot, write_snapshot
from shared.serving.keyword_themes import KeywordThemes
from shared.serving.themes import (
    GeneratorUnusable,
    SnapshotCatalogue,
    Theme,
    ThemeItem,
    ThemeRefused,
    generate_checked,
    load_generator,
)
from tests.unit.shared.data import parquet_files

FIELDS = ("ITEM_ID string", "TITLE string", "GENRES string categorical", "STORY string textual", "PRICE float")
#: Twenty dramas and ten comedies that are alike in nothing else, and five space films, of which one is a comedy too.
ROWS = [
    *((f"d{number}", f"The drama {chr(97 + number) * 4}", "Drama", None, 1.0) for number in range(20)),
    *((f"c{number}", f"The comedy {chr(97 + number) * 4}", "Comedy", "People laugh.", None) for number in range(10)),
    ("s1", "The Space Trek", "Sci-Fi|Adventure", "A starship flies.", None),
    ("s2", "Space Trek Returns", "Sci-Fi|Adventure", "The starship burns.", None),
    ("s3", "Trek Home", "Sci-Fi| Adventure ", "Whales and a starship", None),
    ("s4", "Robots", "Sci-Fi", None, None),
    ("s5", "Space Cooks", "Sci-Fi|Comedy", None, None),
    ("n", None, None, None, None),
]


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> SnapshotCatalogue:
    folder = tmp_path_factory.mktemp("items")
    table = parquet_files.table(folder / "items", "Items", FIELDS, ROWS)
    with DuckDBSession(memory_mb=256, scratch=folder, on_step=lambda: None) as database:
        write_snapshot(folder / "snapshot", table.schema, None, table.files, database)
    return SnapshotCatalogue(Snapshot.open(folder / "snapshot"), "TITLE")


def generate(catalogue: SnapshotCatalogue, *item_ids: str, seed: str = "s4") -> Theme:
    listed = [catalogue.find_item(item_id) for item_id in item_ids]
    return generate_checked(KeywordThemes(catalogue), catalogue.find_item(seed), listed)


def test_an_item_is_read_with_its_name_categories_and_texts(catalogue: SnapshotCatalogue) -> None:
    assert catalogue.find_item("s3") == ThemeItem(
        item_id="s3",
        name="Trek Home",
        categories={"GENRES": ["Sci-Fi", "Adventure"]},
        texts={"STORY": "Whales and a starship"},
    )
    assert catalogue.find_item("n") == ThemeItem(item_id="n")
    assert catalogue.find_item("unknown") == ThemeItem(item_id="unknown")
    assert len(list(catalogue.iter_items())) == len(catalogue) == len(ROWS)
    assert catalogue.count_items("GENRES", "Adventure") == 3


def test_a_theme_names_the_categories_and_words_that_set_the_list_apart(catalogue: SnapshotCatalogue) -> None:
    theme = generate(catalogue, "s1", "s2", "s3", "d0")
    assert theme.text == "Adventure sci-fi: starship, trek"
    assert theme.relevance[:3] == [1.0, 1.0, 1.0]
    assert theme.relevance[3] == 0.0


def test_an_item_with_a_part_of_the_theme_fits_in_part(catalogue: SnapshotCatalogue) -> None:
    theme = generate(catalogue, "s1", "s2", "s3", "s4", "s5")
    assert theme.text.startswith("Sci-Fi")
    assert 0 < theme.relevance[3] < theme.relevance[0]


def test_what_is_frequent_everywhere_is_no_theme(catalogue: SnapshotCatalogue) -> None:
    theme = generate(catalogue, "d1", "d2", "c5", "s4", seed="s1")
    assert theme.text == "More like The Space Trek"
    assert theme.relevance == [0.0] * 4


def test_what_one_item_has_is_no_theme_of_a_list(catalogue: SnapshotCatalogue) -> None:
    assert "robots" not in generate(catalogue, "s4", "s5").text.lower()


@pytest.mark.parametrize("listed", [(), ("n",), ("unknown", "n")])
def test_a_list_about_which_items_say_nothing_is_named_after_its_seed(
    catalogue: SnapshotCatalogue, listed: tuple[str, ...]
) -> None:
    assert generate(catalogue, *listed, seed="s1").text == "More like The Space Trek"
    assert generate(catalogue, *listed, seed="n").text == "More like n"


def test_equal_lists_have_equal_themes(catalogue: SnapshotCatalogue) -> None:
    assert generate(catalogue, "c1", "c2", "s5") == generate(catalogue, "c1", "c2", "s5")


def test_the_default_generator_is_found_by_its_name() -> None:
    assert load_generator("shared.serving.keyword_themes:KeywordThemes") is KeywordThemes


@pytest.mark.parametrize("name", ["", "nowhere_to_be_found:create", "shared.serving.keyword_themes:create", "json"])
def test_a_generator_that_cannot_be_loaded_is_named(name: str) -> None:
    with pytest.raises(GeneratorUnusable, match=f"FORETASTE_THEME_GENERATOR is '{name}'"):
        load_generator(name)


class Fixed:
    """A generator of an operator's own."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    def generate_theme(self, seed: ThemeItem, listed: Sequence[ThemeItem]) -> Theme:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer  # type: ignore[return-value]


def test_a_generator_of_an_operators_own_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("our_themes")
    module.create = lambda _catalogue: Fixed(Theme(text="Ours", relevance=[1]))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "our_themes", module)
    generator = load_generator("our_themes:create")(None)  # type: ignore[arg-type]
    item = ThemeItem(item_id="a")
    assert generate_checked(generator, item, [item]) == Theme(text="Ours", relevance=[1.0])


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (TimeoutError("too slow"), "failed: TimeoutError: too slow"),
        (Theme(text="a", relevance=[]), "a relevance for each item"),
        (Theme(text="a", relevance=[1.5]), "outside 0 to 1"),
        (Theme(text="a", relevance=[float("nan")]), "outside 0 to 1"),
        (Theme(text=None, relevance=[1.0]), "must return a text"),  # type: ignore[arg-type]
        ("a text", "failed: AttributeError"),
    ],
)
def test_an_answer_of_another_form_is_refused(answer: object, problem: str) -> None:
    item = ThemeItem(item_id="a")
    with pytest.raises(ThemeRefused, match=problem):
        generate_checked(Fixed(answer), item, [item])


def test_generators_may_read_the_catalogue_more_than_once(catalogue: SnapshotCatalogue, tmp_path: Path) -> None:
    assert list(catalogue.iter_items()) == list(catalogue.iter_items())
