"""Batch inference jobs in mode THEME_GENERATION, done in this process."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from shared.jobs.entrypoint import WorkFailed
from shared.recipes import RECIPES
from shared.serving.themes import Theme, ThemeItem
from shared.state.lifecycle import ACTIVE
from tests.unit.services.runtime_world import GROUP, PREFIX, Echo, Runtime
from tests.unit.workers.inference.batch_world import BatchWorld, create_world

SIMILAR = RECIPES["aws-similar-items"]
ITEMS = ("ITEM_ID string", "TITLE string", "GENRES string categorical")
ROWS = [
    ("a", "The Trek", "Sci-Fi|Adventure"),
    ("b", "Trek Again", "Sci-Fi|Adventure"),
    ("c", "Trek Home", "Sci-Fi"),
    *((f"d{number}", f"Drama {number}", "Drama") for number in range(30)),
]
THEMES: dict[str, Any] = {
    "batchInferenceJobMode": "THEME_GENERATION",
    "themeGenerationConfig": {"fieldsForThemeGeneration": {"itemName": "TITLE"}},
}


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    """The best items are a, b and c; the one that is asked for is never shown."""
    made = Runtime(tmp_path)
    made.scorer = Echo(("a", "b", "c", "d0"), (0.4, 0.3, 0.2, 0.1))
    made.filled("Items", ITEMS, ROWS)
    made.put(f"{PREFIX}:solution/s/1", "solution_version", ACTIVE, GROUP, datasetGroupArn=GROUP)
    return made


@pytest.fixture
def world(tmp_path: Path, runtime: Runtime) -> BatchWorld:
    return create_world(tmp_path, runtime)


def test_a_list_gets_its_theme_and_the_relevance_of_each_item(world: BatchWorld) -> None:
    world.give("users.json", {"itemId": "a"}, {"itemId": "b"})
    world.run(SIMILAR, numResults=3, **THEMES)
    first, second = world.results()
    assert first["input"] == {"itemId": "a"}
    assert first["error"] is None
    assert list(first["output"]) == ["theme", "recommendedItems", "itemsThemeRelevanceScores"]
    assert first["output"]["recommendedItems"] == ["b", "c", "d0"]
    assert first["output"]["theme"] == "Sci-Fi: trek"
    assert first["output"]["itemsThemeRelevanceScores"] == [1.0, 1.0, 0.0]
    assert second["output"]["recommendedItems"] == ["a", "c", "d0"]


def test_filters_of_the_current_item_act_before_the_theme(world: BatchWorld, runtime: Runtime) -> None:
    same = runtime.filter("INCLUDE ItemID WHERE Items.GENRES IN CurrentItem.GENRES")
    world.give("users.json", {"itemId": "a"})
    world.run(SIMILAR, filterArn=same, **THEMES)
    [result] = world.results()
    assert result["output"]["recommendedItems"] == ["b", "c"]
    assert result["output"]["itemsThemeRelevanceScores"] == [1.0, 1.0]


def test_an_unknown_item_is_answered_and_a_bad_line_is_not(world: BatchWorld) -> None:
    unknown, bad = world.answered(SIMILAR, [{"itemId": "?"}, {"userId": "u"}], **THEMES)
    assert unknown["recommendedItems"]
    assert isinstance(unknown["theme"], str)
    assert len(unknown["itemsThemeRelevanceScores"]) == len(unknown["recommendedItems"])
    assert bad == "itemId is required."


def test_without_the_mode_there_is_no_theme(world: BatchWorld) -> None:
    [answer] = world.answered(SIMILAR, [{"itemId": "a"}], batchInferenceJobMode="BATCH_INFERENCE")
    assert list(answer) == ["recommendedItems"]


def test_a_file_may_have_a_hundred_lines(world: BatchWorld, tmp_path: Path, runtime: Runtime) -> None:
    world.give("users.json", *[{"itemId": "a"}] * 101)
    with pytest.raises(WorkFailed, match=r"users\.json has 101 lines; .*FORETASTE_QUOTA_THEME_LINES"):
        world.run(SIMILAR, **THEMES)
    for name in ("one.json", "two.json"):
        world.give(name, *[{"itemId": "a"}] * 100)
    world.give("users.json")
    assert world.run(SIMILAR, world.job(name="k", **THEMES))["lines"] == 200


def test_without_items_the_job_fails(world: BatchWorld, runtime: Runtime) -> None:
    record = runtime.store.get(f"{PREFIX}:dataset/g/ITEMS")
    assert record is not None
    runtime.store.remove(record)
    world.give("users.json", {"itemId": "a"})
    with pytest.raises(WorkFailed, match="no Items dataset any more"):
        world.run(SIMILAR, **THEMES)


class Grumpy:
    """A generator of an operator's own, which fails for lists with b."""

    def __init__(self, catalogue: Any) -> None:
        self.items = len(catalogue)

    def generate_theme(self, seed: ThemeItem, listed: Sequence[ThemeItem]) -> Theme:
        if any(item.item_id == "b" for item in listed):
            raise ConnectionError("no model")
        return Theme(text=f"{seed.name} among {self.items}", relevance=[0.5] * len(listed))


def test_a_generator_of_ones_own_may_fail_for_a_line(
    tmp_path: Path, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("grumpy_themes")
    module.create = Grumpy  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "grumpy_themes", module)
    world = create_world(tmp_path, runtime, theme_generator="grumpy_themes:create")
    failed, good = world.answered(SIMILAR, [{"itemId": "a"}, {"itemId": "b"}], **THEMES)
    assert failed == "The theme generator failed: ConnectionError: no model"
    assert (good["theme"], good["itemsThemeRelevanceScores"]) == ("Trek Again among 33", [0.5, 0.5, 0.5])


def test_a_generator_that_cannot_be_loaded_fails_the_job(tmp_path: Path, runtime: Runtime) -> None:
    world = create_world(tmp_path, runtime, theme_generator="nowhere:create")
    world.give("users.json", {"itemId": "a"})
    with pytest.raises(WorkFailed, match="FORETASTE_THEME_GENERATOR is 'nowhere:create'"):
        world.run(SIMILAR, **THEMES)
