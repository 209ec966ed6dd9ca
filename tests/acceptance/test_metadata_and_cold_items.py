"""Lives of aws-hrnn-metadata and aws-hrnn-coldstart through plain boto3, on a made-up audience whose tastes are known.

Each viewer keeps to one genre. The films with even numbers are watched on a television, the others on a phone. A third
of the films is new: nobody has seen them.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from typing import Any

import pytest

from tests.conftest import System
from tests.operations.conftest import COLDSTART, HRNN, METADATA, SMALL, Maker, column, recommended

GENRES = ("Western", "Animation", "Romance", "Crime", "Horror", "Comedy")
WARM, COLD = 240, 120
VIEWERS, EVENTS = 120, 40
BEGIN = 1_600_000_000
DAY = 24 * 3600
NEWEST = BEGIN + 60 * DAY

INTERACTIONS = [
    column("USER_ID"),
    column("ITEM_ID"),
    column("TIMESTAMP", "long"),
    column("DEVICE", ["null", "string"], categorical=True),
]
ITEMS = [
    column("ITEM_ID"),
    column("GENRES", ["null", "string"], categorical=True),
    column("MINUTES", ["null", "float"]),
    column("PLOT", ["null", "string"], textual=True),
    column("CREATION_TIMESTAMP", "long"),
]
USERS = [column("USER_ID"), column("FAVOURITE", "string", categorical=True), column("AGE", ["null", "int"])]


def number(film: str) -> int:
    return int(film.removeprefix("film"))


def genre(film: str) -> str:
    return GENRES[number(film) % len(GENRES)]


def taste(viewer: int) -> str:
    return GENRES[viewer % len(GENRES)]


def on_television(film: str) -> bool:
    return number(film) // len(GENRES) % 2 == 0


def is_cold(film: str) -> bool:
    return number(film) >= WARM


def films() -> list[Sequence[Any]]:
    rng = random.Random(1)
    rows = []
    for film in (f"film{number}" for number in range(WARM + COLD)):
        plot = f"A story of {genre(film).lower()} and {rng.choice(('rain', 'snow', 'dust'))}"
        created = NEWEST - DAY if is_cold(film) else BEGIN
        rows.append((film, f"{genre(film)}|Feature", rng.choice((None, 90.5, 120)), plot, created))
    return rows


def interactions() -> list[Sequence[Any]]:
    rng = random.Random(2)
    rows = []
    for viewer in range(VIEWERS):
        own = [film for film in (f"film{number}" for number in range(WARM)) if genre(film) == taste(viewer)]
        for at in sorted(rng.randrange(BEGIN, NEWEST) for _ in range(EVENTS)):
            film = rng.choice(own) if rng.random() < 0.85 else f"film{rng.randrange(WARM)}"
            rows.append((f"viewer{viewer}", film, at, "television" if on_television(film) else "phone"))
    return rows


@pytest.fixture(scope="module")
def make(system: System) -> Maker:
    return Maker(system.personalize, system.folder)


@pytest.fixture(scope="module")
def group(make: Maker) -> str:
    group = make.group()
    make.filled(group, "Interactions", INTERACTIONS, interactions())
    make.filled(group, "Items", ITEMS, films())
    make.filled(group, "Users", USERS, [(f"viewer{n}", taste(n), 20 + n % 40) for n in range(VIEWERS)])
    return group


@pytest.fixture(scope="module")
def campaign(make: Maker, group: str) -> str:
    return make.deployed(make.solution(group, METADATA, solutionConfig=SMALL))


def share_on_television(system: System, campaign: str, **request: Any) -> float:
    """Of the ten films that ten viewers are recommended first."""
    found = [film for viewer in range(10) for film in recommended(system, campaign, f"viewer{viewer}", 10, **request)]
    return sum(map(on_television, found)) / len(found)


def test_metadata_recommends_what_has_been_seen_and_knows_tastes(system: System, campaign: str) -> None:
    everything = recommended(system, campaign, "viewer1", 500)
    assert not any(map(is_cold, everything))
    first = [(viewer, film) for viewer in range(20) for film in recommended(system, campaign, f"viewer{viewer}", 10)]
    assert sum(genre(film) == taste(viewer) for viewer, film in first) / len(first) > 0.6


def test_the_context_of_a_request_acts_where_the_recipe_learns_from_it(system: System, campaign: str) -> None:
    television = share_on_television(system, campaign, context={"DEVICE": "television"})
    phone = share_on_television(system, campaign, context={"DEVICE": "phone"})
    assert television > phone + 0.2


@pytest.mark.parametrize("context", [{}, {"COLOUR": "red"}, {"DEVICE": "never heard of"}, {"DEVICE": ""}])
def test_a_context_that_says_nothing_changes_nothing(system: System, campaign: str, context: dict[str, str]) -> None:
    without = recommended(system, campaign, "viewer3")
    assert recommended(system, campaign, "viewer3", context=context) == without


def test_a_context_is_ignored_where_the_recipe_or_the_solution_does_not_learn_from_it(
    system: System, make: Maker, group: str
) -> None:
    left_out = {**SMALL, "trainingDataConfig": {"excludedDatasetColumns": {"Interactions": ["DEVICE"]}}}
    for solution in (
        make.solution(group, METADATA, solutionConfig=left_out),
        make.solution(group, HRNN, solutionConfig=SMALL),
    ):
        campaign = make.deployed(solution)
        television, phone = (
            recommended(system, campaign, "viewer3", context={"DEVICE": device}) for device in ("television", "phone")
        )
        assert television == phone


def test_live_events_with_their_properties_are_listened_to_at_once(
    system: System, make: Maker, group: str, campaign: str
) -> None:
    _, tracking_id = make.tracker(group)
    before = recommended(system, campaign, "newcomer", 10)
    properties = json.dumps({"device": "television"})
    for minute, film in enumerate(("film3", "film9", "film15", "film21")):
        # As old as the rest: an event of today would make the new films of these data old ones.
        sent_at = NEWEST + 60 * minute
        event = {"eventType": "watch", "itemId": film, "sentAt": sent_at, "properties": properties}
        system.events.put_events(trackingId=tracking_id, userId="newcomer", sessionId="s", eventList=[event])
    after = recommended(system, campaign, "newcomer", 10)
    assert sum(genre(film) == "Crime" for film in after) > sum(genre(film) == "Crime" for film in before)


def test_coldstart_recommends_what_nobody_has_seen_by_its_metadata(system: System, make: Maker, group: str) -> None:
    campaign = make.deployed(make.solution(group, COLDSTART, solutionConfig=SMALL))
    hits, ranks = [], []
    for viewer in range(12):
        everything = recommended(system, campaign, f"viewer{viewer}", 500)
        assert len(everything) == WARM + COLD
        cold = [film for film in everything if is_cold(film)]
        assert len(cold) == COLD
        hits += [genre(film) == taste(viewer) for film in cold[:10]]
        ranks.append(everything.index(cold[0]))
    # By chance, or by popularity, a sixth would be.
    assert sum(hits) / len(hits) > 0.5
    assert sorted(ranks)[len(ranks) // 2] < 100


@pytest.mark.parametrize("cold", [99, 80_001])
def test_too_few_or_too_many_cold_items_fail_the_version_with_the_numbers(make: Maker, group: str, cold: int) -> None:
    rows = [row for row in films() if not is_cold(row[0])]
    rows += [(f"new{number}", "Western", None, "", NEWEST - DAY) for number in range(cold)]
    other = make.group()
    make.filled(other, "Interactions", INTERACTIONS, interactions())
    make.filled(other, "Items", ITEMS, rows)
    version = make.trained(make.solution(other, COLDSTART, solutionConfig=SMALL))
    assert version["status"] == "CREATE FAILED"
    assert {str(cold), "100", "80000"} <= set(re.findall("[0-9]+", version["failureReason"].replace(",", "")))
