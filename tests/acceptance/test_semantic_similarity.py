"""The life of aws-semantic-similarity through plain boto3: no interactions, new items, rankingInfluence, metadata."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from tests.conftest import System, until
from tests.operations.conftest import Maker, column, refused

SEMANTIC = "arn:aws:personalize:::recipe/aws-semantic-similarity"
ITEMS = [
    column("ITEM_ID"),
    column("NAME", "string", itemName=True),
    column("DESCRIPTION", ["null", "string"], textual=True),
    column("GENRES", ["null", "string"], categorical=True),
    column("CREATION_TIMESTAMP", ["null", "long"]),
]
SUBJECTS = {
    "cooking": ("pan", "oven", "recipe", "sauce", "chef", "kitchen", "dough", "spices"),
    "sailing": ("boat", "harbour", "wind", "anchor", "sailor", "waves", "mast", "ropes"),
    "chess": ("pawn", "bishop", "opening", "board", "queen", "endgame", "castle", "player"),
}
BEGIN, DAY = 1_600_000_000, 86_400


def books() -> list[Sequence[Any]]:
    """Twelve books of each subject, whose descriptions share words; the last ones are the newest."""
    rows = []
    for number in range(36):
        subject = list(SUBJECTS)[number % 3]
        words = SUBJECTS[subject]
        chosen = [words[(number + step) % len(words)] for step in range(5)]
        text = f"A book with {', '.join(chosen[:4])} and {chosen[4]}"
        rows.append((f"{subject}{number:02}", f"Volume {number}", text, "Book|Paper", BEGIN + number * DAY))
    return rows


def subject_of(book: str) -> str:
    return book.rstrip("0123456789")


@pytest.fixture(scope="module")
def make(system: System) -> Maker:
    return Maker(system.personalize, system.folder)


@pytest.fixture(scope="module")
def group(make: Maker) -> str:
    group = make.group()
    make.filled(group, "Items", ITEMS, books())
    return group


@pytest.fixture(scope="module")
def solution(make: Maker, group: str) -> str:
    return make.solution(group, SEMANTIC)


@pytest.fixture(scope="module")
def campaign(make: Maker, solution: str) -> str:
    return make.deployed(solution)


def related(system: System, campaign: str, book: str, count: int = 8, **more: Any) -> list[str]:
    answer = system.runtime.get_recommendations(campaignArn=campaign, itemId=book, numResults=count, **more)
    return [item["itemId"] for item in answer["itemList"]]


def put_book(system: System, group: str, book: str, subject: str) -> None:
    dataset = next(
        each["datasetArn"]
        for each in system.personalize.list_datasets(datasetGroupArn=group)["datasets"]
        if each["datasetType"] == "ITEMS"
    )
    words = SUBJECTS[subject]
    text = f"A book with {', '.join(words[:4])} and {words[4]}"
    properties = f'{{"name": "Another volume", "description": "{text}", "genres": "Book|Paper"}}'
    system.events.put_items(datasetArn=dataset, items=[{"itemId": book, "properties": properties}])


def test_it_trains_without_interactions_and_finds_the_books_of_a_subject(system: System, campaign: str) -> None:
    for book in ("cooking00", "sailing13", "chess35"):
        found = related(system, campaign, book)
        assert book not in found
        assert {subject_of(each) for each in found} == {subject_of(book)}


def test_metadata_come_without_being_enabled(system: System, campaign: str) -> None:
    answer = system.runtime.get_recommendations(
        campaignArn=campaign, itemId="chess02", numResults=3, metadataColumns={"ITEMS": ["NAME"]}
    )
    assert all(item["metadata"]["name"].startswith("Volume") for item in answer["itemList"])
    assert not any("score" in item for item in answer["itemList"])


def test_the_metrics_without_interactions_are_the_coverage(system: System, make: Maker, solution: str) -> None:
    version = system.personalize.list_solution_versions(solutionArn=solution)["solutionVersions"][0]
    metrics = system.personalize.get_solution_metrics(solutionVersionArn=version["solutionVersionArn"])["metrics"]
    assert metrics == {"coverage": 1.0}


def test_a_solution_updates_incrementally_unless_told_otherwise(system: System, solution: str) -> None:
    described = system.personalize.describe_solution(solutionArn=solution)["solution"]
    assert described["performIncrementalUpdate"] is True


def test_the_freshness_of_a_campaign_orders_the_similar_items(system: System, make: Maker, campaign: str) -> None:
    version = system.personalize.describe_campaign(campaignArn=campaign)["campaign"]["solutionVersionArn"]
    fresh = system.personalize.create_campaign(
        name=make.name(), solutionVersionArn=version, campaignConfig={"rankingInfluence": {"FRESHNESS": 1.0}}
    )["campaignArn"]
    assert make.settled("campaign", "campaign", fresh)["status"] == "ACTIVE"
    newest_first = [row[0] for row in reversed(books()) if row[0] != "chess02"]
    assert related(system, fresh, "chess02") == newest_first[:8]
    system.personalize.delete_campaign(campaignArn=fresh)


def test_a_new_item_is_known_within_seconds_after_put_items(
    system: System, group: str, campaign: str, record_property: Any
) -> None:
    put_book(system, group, "new-sailing", "sailing")
    began = time.monotonic()
    until(lambda: "new-sailing" in related(system, campaign, "sailing01"), 30, "the new item among its neighbours")
    found = related(system, campaign, "new-sailing")
    assert {subject_of(each) for each in found} == {"sailing"}
    record_property("told", f"a new item was found {time.monotonic() - began:.1f} s after PutItems")


def test_an_item_that_is_put_again_moves_to_its_new_subject(system: System, group: str, campaign: str) -> None:
    assert "cooking03" in related(system, campaign, "cooking00", 11)
    put_book(system, group, "cooking03", "chess")
    until(lambda: "cooking03" in related(system, campaign, "chess02", 12), 30, "the changed item")
    assert subject_of(related(system, campaign, "cooking03", 1)[0]) == "chess"


def test_items_without_texts_fail_the_training_with_advice(system: System, make: Maker) -> None:
    group = make.group()
    make.filled(group, "Items", [column("ITEM_ID"), column("PRICE", "float")], [("a", 1.0), ("b", 2.0)])
    version = make.trained(make.solution(group, SEMANTIC))
    assert version["status"] == "CREATE FAILED"
    assert "a string column" in version["failureReason"]


def test_a_group_without_items_fails_the_training_with_advice(system: System, make: Maker) -> None:
    version = make.trained(make.solution(make.group(), SEMANTIC))
    assert "aws-semantic-similarity needs the ITEMS dataset" in version["failureReason"]


def test_an_item_id_is_required(system: System, campaign: str) -> None:
    with refused("InvalidInputException", "itemId is required"):
        system.runtime.get_recommendations(campaignArn=campaign, userId="u")
