"""Data as no textbook has it, through the whole service: trained on, or refused with a reason; never a crash."""

from __future__ import annotations

import math
import re
import time
from typing import Any

import pytest

from tests.conftest import System
from tests.operations.conftest import METADATA, SMALL, Maker, column, recommended, refused

EVENTS = [column("USER_ID"), column("ITEM_ID"), column("TIMESTAMP", "long"), column("EVENT_VALUE", ["null", "float"])]
NOW = 1_700_000_000


@pytest.fixture(scope="module")
def make(system: System) -> Maker:
    return Maker(system.personalize, system.folder)


def people(count: int = 40, events: int = 30, begin: int = NOW, step: int = 600) -> list[tuple[Any, ...]]:
    """Everybody goes round twenty items in one order."""
    return [
        (f"u{user}", f"i{(user + place) % 20}", begin + place * step, None)
        for user in range(count)
        for place in range(events)
    ]


def served(make: Maker, system: System, rows: list[tuple[Any, ...]], user: str) -> list[str]:
    """What the user is recommended by a model of these interactions: finite, falling scores."""
    group = make.group()
    make.filled(group, "Interactions", EVENTS, rows)
    campaign = make.deployed(make.solution(group, solutionConfig=SMALL))
    answer = system.runtime.get_recommendations(campaignArn=campaign, userId=user, numResults=500)["itemList"]
    scores = [item["score"] for item in answer]
    assert all(math.isfinite(score) for score in scores)
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0
    return [item["itemId"] for item in answer]


def test_one_event_of_each_user_is_too_little(make: Maker) -> None:
    group = make.group()
    make.filled(group, "Interactions", EVENTS, [(f"u{n}", f"i{n % 9}", NOW + n, None) for n in range(1500)])
    version = make.trained(make.solution(group))
    assert version["status"] == "CREATE FAILED"
    assert "fewer than 25 users with at least 2 interactions each" in version["failureReason"]


def test_users_with_one_event_beside_others_are_served(make: Maker, system: System) -> None:
    once = [(f"once{n}", f"i{n % 20}", NOW + n, None) for n in range(1000)]
    assert len(served(make, system, people() + once, "once7")) == 20


def test_all_events_at_one_moment(make: Maker, system: System) -> None:
    assert len(served(make, system, people(count=80, step=0), "u1")) == 20


def test_events_in_the_far_future_and_before_the_beginning_of_time(make: Maker, system: System) -> None:
    """Seconds after 1970 that a calendar still knows; and those before it, which are negative."""
    future = [(f"late {user}", item, at, value) for user, item, at, value in people(begin=95_000_000_000)]
    past = [(f"early {user}", item, at, value) for user, item, at, value in people(begin=-1_000_000)]
    assert len(served(make, system, people() + future + past, "u1")) == 20


def test_one_item_only(make: Maker, system: System) -> None:
    assert served(make, system, [(user, "only", at, None) for user, _, at, _ in people()], "u1") == ["only"]


SCRIPTS = ("用户", "Пользователь", "مستخدم", "उपयोगकर्ता", "👩\u200d👧", "e\u0301", "a b", "a,b", "a|b")
MARKS = ('a"b', "../a", "a%2Fb", "'; --", "007", "7", "1e3", "-0", "NaN", "null", "x" * 256)


def test_ids_that_are_numbers_or_in_any_script(make: Maker, system: System) -> None:
    items = [*SCRIPTS, *MARKS]
    rows = [
        (f"{items[user % 19]}{user}", items[(user + place) % len(items)], NOW + place * 600, None)
        for user in range(40)
        for place in range(30)
    ]
    assert set(served(make, system, rows, f"{SCRIPTS[2]}2")) == set(items)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("", "i1", NOW, None), "USER_ID.* is empty"),
        (("u1", "", NOW, None), "ITEM_ID.* is empty"),
        (("u1", "i1", "", None), "TIMESTAMP.* is empty"),
        (("u1", "i1", NOW * 1000, None), "TIMESTAMP.* looks like milliseconds"),
    ],
)
def test_cells_that_mean_nothing_fail_the_import_with_a_reason(make: Maker, row: tuple[Any, ...], message: str) -> None:
    dataset = make.dataset(schema=make.schema({"type": "record", "name": "Interactions", "fields": EVENTS}))
    job = make.imported(dataset, make.file("USER_ID,ITEM_ID,TIMESTAMP,EVENT_VALUE", [*people(), row]))
    assert job["status"] == "CREATE FAILED"
    assert re.search(f"(?is){message}", job["failureReason"]), job["failureReason"]


def test_values_that_mean_nothing_are_null_in_a_few_rows_and_fail_the_import_in_more(make: Maker) -> None:
    dataset = make.dataset(schema=make.schema({"type": "record", "name": "Interactions", "fields": EVENTS}))
    odd = [("u1", "i1", NOW + n, "nan" if n % 2 else "-inf") for n in range(13)]
    few = make.imported(dataset, make.file("USER_ID,ITEM_ID,TIMESTAMP,EVENT_VALUE", [*people(), *odd[:12]]))
    assert few["status"] == "ACTIVE", few
    more = make.imported(dataset, make.file("USER_ID,ITEM_ID,TIMESTAMP,EVENT_VALUE", [*people(), *odd]))
    assert re.search("13 errors.*EVENT_VALUE.* is not a finite number", more["failureReason"])


def test_values_that_mean_nothing_are_refused_as_live_events_too(make: Maker, system: System) -> None:
    group = make.group()
    numbers = [column("PLACE", ["null", "int"]), column("STAMP", ["null", "long"])]
    make.dataset(group, make.schema({"type": "record", "name": "Interactions", "fields": [*EVENTS, *numbers]}))
    _, tracking_id = make.tracker(group)
    event = {"eventType": "watch", "sentAt": time.time()}
    for properties in (
        '{"eventValue": "NaN"}',
        '{"eventValue": NaN}',
        '{"itemId": 7}',
        '{"itemId": ""}',
        '{"place": 2147483648}',
        '{"stamp": 9223372036854775808}',
        '{"stamp": 1e99}',
    ):
        with refused("InvalidInputException"):
            system.events.put_events(
                trackingId=tracking_id, userId="u1", sessionId="s", eventList=[{**event, "properties": properties}]
            )


def test_a_history_of_100_000_events_is_served_though_it_is_too_long_to_be_trained_on(
    make: Maker, system: System
) -> None:
    long = [("long", f"i{place % 20}", NOW + place, None) for place in range(100_000)]
    assert len(served(make, system, people() + long, "long")) == 20


def test_a_million_items_of_which_ten_are_ever_seen(make: Maker, system: System) -> None:
    group = make.group()
    seen = [(user, f"i{int(item[1:]) % 10}", at, value) for user, item, at, value in people()]
    make.filled(group, "Interactions", EVENTS, seen)
    fields = [column("ITEM_ID"), column("KIND", ["null", "string"], categorical=True)]
    make.filled(group, "Items", fields, ((f"i{number}", f"k{number % 50}") for number in range(1_000_000)))
    campaign = make.deployed(make.solution(group, METADATA, solutionConfig=SMALL))
    assert set(recommended(system, campaign, "u1", 500)) == {f"i{number}" for number in range(10)}
