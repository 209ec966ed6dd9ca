"""Filters at the time of a request, on data as imports, puts and events leave it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from shared.aws.errors import InvalidInput, ResourceNotFound, ServiceUnavailable
from shared.serving import snapshots
from shared.store import SEEN_SECONDS, PutRecord
from tests.strict import STRICT
from tests.unit.services.runtime_world import GROUP, PREFIX, Echo, Runtime, dataset, event
from tests.unit.shared.serving.filter_world import (
    ACTIONS,
    ALSO_VIEWED,
    DRAMA,
    INTERACTIONS,
    ITEMS,
    RANKING,
    SIMS,
    TOP_PICKS,
    UP,
)


@pytest.mark.parametrize(
    ("expression", "values", "kept"),
    [
        (DRAMA, {}, "a"),
        ('EXCLUDE ItemID WHERE Items.GENRE IN ("Drama")', {}, "bcdh"),
        ('INCLUDE ItemID WHERE Items.GENRE NOT IN ("War")', {}, "cd"),
        ("INCLUDE ItemID WHERE Items.GENRE IN ($GENRE)", {"GENRE": '"Comedy","War"'}, "abc"),
        ("INCLUDE ItemID WHERE Items.PRICE = 9.99 OR Items.PRICE > $LEAST", {"LEAST": "19.5"}, "ac"),
        ("EXCLUDE ItemID WHERE Items.PRICE < $MOST", {}, "abcdh"),
        ("EXCLUDE ItemID WHERE Items.PRICE < $MOST", {"MOST": '"6"', "OTHER": "x"}, "acdh"),
        ('EXCLUDE ItemID WHERE Items.ITEM_ID IN ("a", "z", "?")', {}, "bcdh"),
        ('EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("watch")', {}, "acdh"),
        ('INCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("*")', {}, "bh"),
        (f'{DRAMA} | INCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("BUY")', {}, "ah"),
        (f"{DRAMA} IF CurrentUser.AGE > 30", {}, "abcdh"),
        (f'{DRAMA} IF CurrentUser.AGE = 20 AND CurrentUser.TEAM IN ("y")', {}, "a"),
    ],
)
def test_a_filter_says_what_is_recommended(
    runtime: Runtime, expression: str, values: dict[str, str], kept: str
) -> None:
    request = {"filterArn": runtime.filter(expression), "filterValues": values}
    assert runtime.recommended(runtime.serving(UP), userId="u", **request) == kept


def test_scores_and_the_order_are_those_of_an_unfiltered_answer(runtime: Runtime) -> None:
    arn = runtime.serving(UP)
    everything = {row["itemId"]: row for row in runtime.answered(arn, userId="u")}
    some = runtime.answered(arn, userId="u", filterArn=runtime.filter('EXCLUDE ItemID WHERE Items.GENRE IN ("War")'))
    assert some == [everything[item] for item in "cdh"]
    few = runtime.answered(
        arn, userId="u", numResults=2, filterArn=runtime.filter("EXCLUDE ItemID WHERE Items.PRICE > 9")
    )
    assert [row["itemId"] for row in few] == ["b", "d"]
    assert runtime.answered(arn, userId="u", filterArn=runtime.filter("INCLUDE ItemID WHERE Items.PRICE > 900")) == []


def test_the_item_that_others_are_sought_to_may_be_unknown_to_the_model(runtime: Runtime) -> None:
    arn = runtime.serving(SIMS)
    alike = runtime.filter("INCLUDE ItemID WHERE Items.GENRE IN CurrentItem.GENRE")
    cheaper = runtime.filter("INCLUDE ItemID WHERE Items.PRICE < CurrentItem.PRICE")
    assert runtime.recommended(arn, itemId="b", filterArn=alike) == "a"
    assert runtime.recommended(arn, itemId="z", filterArn=alike) == "a"
    assert runtime.recommended(arn, itemId="?", filterArn=alike) == ""
    assert runtime.recommended(arn, itemId="a", filterArn=cheaper) == "b"
    with pytest.raises(InvalidInput, match="tests CurrentItem, which only recipes of type RELATED_ITEMS have"):
        runtime.recommended(runtime.serving(UP), userId="u", filterArn=cheaper)


def test_what_filters_cannot_be_used_for_is_refused_with_awss_errors(runtime: Runtime) -> None:
    arn, actions = runtime.serving(UP), runtime.serving(ACTIONS)
    needs_both = runtime.filter("INCLUDE ItemID WHERE Items.PRICE < $MOST AND Items.GENRE IN ($GENRE)")
    refusals: dict[str, dict[str, Any]] = {
        "of another dataset group": {"filterArn": runtime.filter(DRAMA, group=f"{GROUP}2")},
        "in status CREATE FAILED; it must be ACTIVE": {"filterArn": runtime.filter(DRAMA, status="CREATE FAILED")},
        "has no value for MOST": {"filterArn": needs_both, "filterValues": {"GENRE": "x"}},
        "value of MOST in filterValues must be a number": {
            "filterArn": needs_both,
            "filterValues": {"GENRE": "x", "MOST": "cheap"},
        },
        "does not filter what aws-user-personalization recommends; use one of ItemID": {
            "filterArn": runtime.filter("INCLUDE UserID WHERE Users.AGE > 3")
        },
        "does not fit the datasets as they are now": {"filterArn": runtime.filter("INCLUDE ItemID WHERE Items.X > 3")},
    }
    for message, request in refusals.items():
        with pytest.raises(InvalidInput, match=message):
            runtime.answered(arn, userId="u", **request)
    with pytest.raises(ResourceNotFound, match="The given filter does not exist"):
        runtime.answered(arn, userId="u", filterArn=f"{PREFIX}:filter/none")
    with pytest.raises(InvalidInput, match="does not filter what aws-next-best-action recommends"):
        runtime.asked("GetActionRecommendations", campaignArn=actions, userId="u", filterArn=runtime.filter(DRAMA))
    bought = runtime.filter('EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("buy")')
    with pytest.raises(InvalidInput, match="userId is required by the filter"):
        runtime.answered(runtime.serving(SIMS), itemId="a", filterArn=bought)
    assert runtime.recommended(arn, userId="u", filterValues={"MOST": "cheap"}) == "abcdh"


def test_events_count_at_once_however_many_came_since_and_only_the_users(runtime: Runtime) -> None:
    arn = runtime.serving(UP)
    unseen = runtime.filter('EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("watch", "buy")')
    runtime.sent(event("c", 10.0, "BUY", "v"), event("d", 10.0, "click", "v"))
    runtime.sent(*(event("d", 20.0 + n, "click", "v") for n in range(250)))
    assert runtime.recommended(arn, userId="v", filterArn=unseen) == "bdh"
    assert runtime.recommended(arn, userId="u", filterArn=unseen) == "acd"
    assert runtime.recommended(arn, userId="new", filterArn=unseen) == "abcdh"


@pytest.mark.parametrize(
    ("expression", "anew"),
    [
        ('EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("watch")', True),
        ('EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("*") | INCLUDE ItemID WHERE Items.PRICE > 1', True),
        ('EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("buy")', False),  # what was watched may be shown
        ('INCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("buy")', False),  # to be bought again
        ("EXCLUDE ItemID WHERE Items.PRICE > 1", False),  # it hides what was had by chance
    ],
)
def test_only_what_is_new_is_asked_for_where_a_filter_hides_what_was_had(
    runtime: Runtime, expression: str, anew: bool
) -> None:
    arn, user = runtime.serving(UP), f"anew {expression}"
    runtime.sent(event("b", time.time(), "Watch", user))
    runtime.answered(arn, userId=user, filterArn=runtime.filter(expression))
    assert runtime.scorer.asked[-1].unseen_only is anew


def test_of_a_user_the_newest_hundred_items_of_a_type_are_known(runtime: Runtime) -> None:
    arn = runtime.serving(UP, scorer=Echo(sorted(f"i{n:03}" for n in range(120)), (0.1,)))
    unseen = runtime.filter('EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("watch")')
    runtime.sent(*(event(f"i{n:03}", 100.0 + n, user="busy") for n in range(110)))
    left = [row["itemId"] for row in runtime.answered(arn, userId="busy", numResults=100, filterArn=unseen)]
    assert left == [*(f"i{n:03}" for n in range(10)), *(f"i{n:03}" for n in range(110, 120))]


def test_users_of_whom_nothing_came_for_three_months_are_forgotten(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn, unseen = runtime.serving(UP), runtime.filter('EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("*")')
    assert runtime.recommended(arn, userId="u", filterArn=unseen) == "acd"
    later = time.time() + SEEN_SECONDS + 1
    monkeypatch.setattr(runtime.store, "_clock", lambda: later)
    assert runtime.recommended(arn, userId="u", filterArn=unseen) == "abcdh"
    runtime.sent(event("a", 10.0, user="w"))
    assert runtime.recommended(arn, userId="w", filterArn=unseen) == "bcdh"


def test_a_new_import_a_put_record_and_a_changed_filter_are_seen(
    fresh: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "PACE", 0.0)
    arn, filter_arn = fresh.serving(UP), fresh.filter("INCLUDE ItemID WHERE Items.PRICE > 15", name="f")

    def kept() -> str:
        fresh.refresh()
        return fresh.recommended(arn, userId="u", filterArn=filter_arn)

    assert kept() == "c"
    item = PutRecord(id="b", properties={"PRICE": 16.0}, at=time.time())
    fresh.store.save_put_records(dataset("ITEMS"), [item], invocation="1")
    assert kept() == "bc"
    fresh.imported(dataset("ITEMS"), ITEMS, [("h", None, 17.0, None, None)], mode="INCREMENTAL")
    assert kept() == "bch"
    fresh.imported(dataset("ITEMS"), ITEMS, [("d", None, 18.0, None, None)])
    assert kept() == "bd"
    [made] = (fresh.artifacts.create_workspace(dataset("ITEMS"))).iterdir()
    assert made.name.startswith("snapshot-")
    standing = fresh.store.get(filter_arn)
    assert standing is not None
    fresh.store.remove(standing)
    fresh.filter("INCLUDE ItemID WHERE Items.PRICE < 17", name="f")
    assert kept() == "b"
    gone = fresh.imported(dataset("ITEMS"), ITEMS, [("a", None, 1.0, None, None)])
    fresh.artifacts.discard_artifact(gone)
    assert kept() == "b", "what can't be read leaves what there was"


def test_requests_go_on_with_what_was_made_until_the_new_is_ready(
    fresh: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them waits for a new catalogue; a filter that is asked for first has the newest."""
    arn, dear = fresh.serving(UP), fresh.filter("INCLUDE ItemID WHERE Items.PRICE > 15")
    assert fresh.recommended(arn, userId="u", filterArn=dear) == "c"
    item = PutRecord(id="b", properties={"PRICE": 16.0}, at=time.time())
    fresh.store.save_put_records(dataset("ITEMS"), [item], invocation="1")
    monkeypatch.setattr(snapshots, "PACE", 0.0)
    fresh.filters.refresh_snapshots(STRICT, {})
    assert fresh.recommended(arn, userId="u", filterArn=dear) == "c"
    dearer = fresh.filter("INCLUDE ItemID WHERE Items.PRICE > 15.5")
    assert fresh.recommended(arn, userId="u", filterArn=dearer) == "bc"
    fresh.refresh()
    assert fresh.recommended(arn, userId="u", filterArn=dear) == "bc"


def test_data_that_cannot_be_read_or_written_are_no_fault_of_the_request(
    fresh: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: str) -> Path:
        raise PermissionError("read-only")

    monkeypatch.setattr(fresh.artifacts, "create_workspace", fails)
    with pytest.raises(ServiceUnavailable, match=r"ITEMS can't be read: read-only"):
        fresh.recommended(fresh.serving(UP), userId="u", filterArn=fresh.filter(DRAMA))
    monkeypatch.undo()
    assert fresh.recommended(fresh.serving(UP), userId="u", filterArn=fresh.filter(DRAMA)) == "a"


# What use cases hide


def test_a_use_case_hides_what_the_user_has_watched_or_bought(runtime: Runtime) -> None:
    picks, viewed = runtime.serving(TOP_PICKS), runtime.serving(ALSO_VIEWED)
    assert runtime.recommended(picks, userId="u") == "acdh"
    runtime.sent(event("d", 50.0, "WATCH", "x"), event("c", 51.0, "purchase", "x"))
    assert runtime.recommended(picks, userId="x") == "abch"
    assert runtime.recommended(viewed, userId="x", itemId="b") == "adh"
    assert runtime.recommended(picks, userId="new") == "abcdh"
    drama = runtime.filter('EXCLUDE ItemID WHERE Items.GENRE IN ("Drama")')
    assert runtime.recommended(picks, userId="x", filterArn=drama) == "bch"


# Rankings and actions


def test_a_ranking_leaves_out_what_the_filter_does_and_keeps_the_scores(runtime: Runtime) -> None:
    arn = runtime.serving(RANKING)
    assert runtime.ranked(arn, "z?cab") == "abcz?"
    war = runtime.filter('EXCLUDE ItemID WHERE Items.GENRE IN ("War")')
    assert runtime.ranked(arn, "z?cab", filterArn=war) == "cz?"
    assert runtime.ranked(arn, "z?cab", filterArn=runtime.filter(DRAMA)) == "az"
    cheap = runtime.filter("INCLUDE ItemID WHERE Items.PRICE < $MOST")
    assert runtime.ranked(arn, "z?cab", filterArn=cheap, filterValues={"MOST": "9.99"}) == "bz"
    seen = runtime.filter('INCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("*")')
    runtime.sent(event("?", 9.0, user="y"))
    assert runtime.ranked(arn, "z?cab", filterArn=seen, userId="y") == "?"
    assert runtime.ranked(arn, "z?cab", filterArn=seen) == "b"
    request = {"campaignArn": arn, "userId": "u", "inputList": ["a", "c"]}
    [_, whole] = runtime.asked("GetPersonalizedRanking", **request)["personalizedRanking"]
    [part] = runtime.asked("GetPersonalizedRanking", **request, filterArn=war)["personalizedRanking"]
    assert part == whole == {"itemId": "c", "score": 0.4}


def test_actions_are_filtered_by_their_columns_and_by_what_was_done_with_them(runtime: Runtime) -> None:
    runtime.filled("Actions", ("ACTION_ID string", "LEVEL string"), [("a", "gold"), ("b", "tin"), ("c", "gold")])
    runtime.dataset("ActionInteractions", *(field.replace("ITEM", "ACTION") for field in INTERACTIONS))
    runtime.sent(event("a", 5.0, "Not Taken"), dataset_type="ACTION_INTERACTIONS")
    arn = runtime.serving(ACTIONS)
    for expression, kept in {
        'INCLUDE ActionID WHERE Actions.LEVEL IN ("gold")': "ac",
        'EXCLUDE ActionID WHERE Action_Interactions.EVENT_TYPE IN ("NOT_TAKEN")': "bcdh",
        'INCLUDE ActionID WHERE Actions.LEVEL IN ("gold") IF CurrentUser.AGE > 30': "abcdh",
    }.items():
        request = {"campaignArn": arn, "userId": "u", "filterArn": runtime.filter(expression)}
        listed = runtime.asked("GetActionRecommendations", **request)["actionList"]
        assert "".join(row["actionId"] for row in listed) == kept
