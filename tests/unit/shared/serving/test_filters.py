"""Filters, promotions and metadata at the time of a request, on data as imports, puts and events leave it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from services.runtime import deployer
from services.status import transitions
from shared.aws.errors import InvalidInput, ResourceNotFound, ServiceUnavailable
from shared.jobs.worker_process import WorkerProcess
from shared.recipes import RECIPES, Recipe
from shared.serving import filters, snapshots
from shared.serving.dataset_snapshot import Snapshot
from shared.serving.item_columns import ItemColumns
from shared.serving.promotions import Promotion, interleave_promotions
from shared.settings import Settings
from shared.state.lifecycle import ACTIVE, CREATE_IN_PROGRESS, CREATE_PENDING
from shared.state.messages import Provision
from shared.store import SEEN_SECONDS, PutRecord
from tests.strict import STRICT
from tests.unit.services.runtime_world import GROUP, PREFIX, Echo, Runtime, dataset, event
from tests.unit.shared.data import parquet_files

UP, SECOND, SIMS, RANKING, TOP_PICKS, ALSO_VIEWED, ACTIONS = (
    RECIPES[f"aws-{name}"]
    for name in (
        "user-personalization",
        "user-personalization-v2",
        "sims",
        "personalized-ranking",
        "vod-top-picks",
        "ecomm-customers-who-viewed-x-also-viewed",
        "next-best-action",
    )
)
ITEMS = ("ITEM_ID string", "GENRE string categorical", "PRICE float", "TITLE string", "STORY string textual")
USERS = ("USER_ID string", "AGE int", "TEAM string categorical")
INTERACTIONS = (*parquet_files.INTERACTIONS, "EVENT_TYPE string")
#: Of h only interactions know, and of z only Items.
ROWS: list[tuple[Any, ...]] = [
    ("a", "Drama|War", 9.99, "The A", "long"),
    ("b", "War", 5.0, "B", None),
    ("c", "Comedy", 20.0, None, None),
    ("d", None, None, None, None),
    ("z", "Drama", 1.0, "Z", None),
]
DRAMA = 'INCLUDE ItemID WHERE Items.GENRE IN ("Drama")'


def made_in(folder: Path) -> Runtime:
    """The best items are a, b, c, d and h, in this order."""
    made = Runtime(folder)
    made.scorer = Echo("abcdh", (0.3, 0.25, 0.2, 0.15, 0.1))
    made.filled("Items", ITEMS, ROWS)
    made.filled("Users", USERS, [("u", 20, "x|y"), ("w", None, None)])
    made.filled("Interactions", INTERACTIONS, [("u", "b", 5, "Watch"), ("u", "h", 6, "Buy"), ("v", "a", 7, "Watch")])
    return made


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """Its data stay as they are: who has events sent has a user of their own."""
    return made_in(tmp_path_factory.mktemp("runtime"))


@pytest.fixture
def fresh(tmp_path: Path) -> Runtime:
    return made_in(tmp_path)


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
    fresh.filters.refresh_snapshots(STRICT)
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


# Promotions


def promotion(runtime: Runtime, expression: str, percent: int, **values: str) -> list[dict[str, Any]]:
    filter_arn = runtime.filter(expression)
    return [{"name": "p", "percentPromotedItems": percent, "filterArn": filter_arn, "filterValues": values}]


def test_promoted_items_have_their_share_in_order_and_stand_once(runtime: Runtime) -> None:
    arn = runtime.serving(UP)
    war = promotion(runtime, "INCLUDE ItemID WHERE Items.GENRE IN ($G)", 50, G='"War","Comedy"')
    for _ in range(20):
        rows = runtime.answered(arn, userId="u", numResults=4, promotions=war)
        promoted = [row["itemId"] for row in rows if row.get("promotionName") == "p"]
        others = [row["itemId"] for row in rows if "promotionName" not in row]
        assert (promoted, others) == (["a", "b"], ["c", "d"])
        assert all("score" in row and "reason" not in row for row in rows)
    few = runtime.answered(arn, userId="u", numResults=5, promotions=promotion(runtime, DRAMA, 60))
    assert sorted(row["itemId"] for row in few) == [*"abcdh"]
    assert [row["itemId"] for row in few if "promotionName" in row] == ["a"]


def test_the_requests_filter_is_for_the_others_alone(runtime: Runtime) -> None:
    arn = runtime.serving(UP)
    request = {
        "userId": "u",
        "numResults": 4,
        "filterArn": runtime.filter('EXCLUDE ItemID WHERE Items.GENRE IN ("War")'),
    }
    rows = runtime.answered(arn, **request, promotions=promotion(runtime, "INCLUDE ItemID WHERE Items.PRICE < 10", 25))
    assert [row["itemId"] for row in rows if "promotionName" in row] == ["a"]
    assert [row["itemId"] for row in rows if "promotionName" not in row] == ["c", "d", "h"]


def test_promotions_of_use_cases_hide_what_these_hide_and_the_second_version_tells_the_reason(runtime: Runtime) -> None:
    war = promotion(runtime, 'INCLUDE ItemID WHERE Items.GENRE IN ("War")', 100)
    listed = runtime.recommended(runtime.serving(TOP_PICKS), userId="u", numResults=3, promotions=war)
    assert listed in ("acd", "cad", "cda")
    rows = runtime.answered(runtime.serving(SECOND), userId="u", numResults=2, promotions=war)
    assert [(row["itemId"], row["reason"]) for row in rows] == [("a", ["Promoted item"]), ("b", ["Promoted item"])]


@pytest.mark.parametrize(
    ("promoted", "message"),
    [
        ({"filterArn": None}, "filterArn is required of a promotion"),
        ({"percentPromotedItems": None}, "percentPromotedItems is required of a promotion"),
        ({"filterValues": {}}, "has no value for G"),
    ],
)
def test_a_promotion_without_what_it_needs_is_refused(runtime: Runtime, promoted: dict[str, Any], message: str) -> None:
    [whole] = promotion(runtime, "INCLUDE ItemID WHERE Items.GENRE IN ($G)", 50, G="War")
    with pytest.raises(InvalidInput, match=message):
        runtime.answered(runtime.serving(UP), userId="u", promotions=[{**whole, **promoted}])


@pytest.mark.parametrize(
    ("percent", "wanted", "places"), [(60, 5, 3), (50, 25, 13), (1, 25, 0), (100, 7, 7), (2, 25, 1)]
)
def test_a_share_is_rounded(percent: int, wanted: int, places: int) -> None:
    assert Promotion("p", percent, np.ones(1, np.bool_)).count_places(wanted) == places


def test_places_are_of_chance() -> None:
    rows = [{"itemId": item} for item in "abcdef"]
    rng = np.random.default_rng(7)
    seen = {"".join(row["itemId"] for row in interleave_promotions(rows[:2], rows[2:4], rng)) for _ in range(200)}
    assert seen == {"abcd", "acbd", "acdb", "cabd", "cadb", "cdab"}
    assert interleave_promotions([], rows, rng) == interleave_promotions(rows, [], rng) == rows


# Metadata


def test_metadata_is_text_by_the_columns_names_in_lower_case(runtime: Runtime) -> None:
    arn = runtime.serving(UP, enableMetadataWithRecommendations=True)
    columns = {"ITEMS": ["PRICE", "genre", "TITLE", "STORY", "ITEM_ID"]}
    rows = {row["itemId"]: row for row in runtime.answered(arn, userId="u", metadataColumns=columns)}
    assert rows["a"]["metadata"] == {
        "price": "9.99", "genre": "Drama|War", "title": "The A", "story": "long", "item_id": "a"
    }  # fmt: skip
    assert rows["c"]["metadata"] == {"price": "20.0", "genre": "Comedy", "item_id": "c"}
    assert "metadata" not in rows["h"]
    ranking = runtime.serving(RANKING, enableMetadataWithRecommendations=True)
    answer = runtime.asked(
        "GetPersonalizedRanking",
        campaignArn=ranking,
        userId="u",
        inputList=["?", "z", "b"],
        metadataColumns={"ITEMS": ["PRICE"]},
    )
    assert [row.get("metadata") for row in answer["personalizedRanking"]] == [{"price": "5.0"}, None, {"price": "1.0"}]


def test_metadata_is_refused_where_it_is_not_enabled_or_not_there(runtime: Runtime) -> None:
    price = {"ITEMS": ["PRICE"]}
    with pytest.raises(InvalidInput, match="set enableMetadataWithRecommendations to true"):
        runtime.answered(runtime.serving(UP), userId="u", metadataColumns=price)
    assert runtime.answered(runtime.serving(SECOND), userId="u", metadataColumns=price)[0]["metadata"] == {
        "price": "9.99"
    }
    arn = runtime.serving(TOP_PICKS, enableMetadataWithRecommendations=True)
    refusals: dict[str, dict[str, Any]] = {
        "numResults is 51; at most 50 are answered with metadata": {"metadataColumns": price, "numResults": 51},
        "names 11 columns; at most 10": {"metadataColumns": {"ITEMS": [f"C{n}" for n in range(11)]}},
        "names COLOUR; the columns of ITEMS are ITEM_ID, GENRE": {"metadataColumns": {"ITEMS": ["COLOUR", "PRICE"]}},
        "names USERS; only columns of ITEMS": {"metadataColumns": {"USERS": ["AGE"]}},
    }
    for message, request in refusals.items():
        with pytest.raises(InvalidInput, match=message):
            runtime.answered(arn, userId="u", **request)
    assert len(runtime.answered(arn, userId="new", numResults=51, metadataColumns={"ITEMS": []})) == 5
    ranking = runtime.serving(RANKING, enableMetadataWithRecommendations=True)
    with pytest.raises(InvalidInput, match="inputList has 51 items; at most 50 are ranked with metadata"):
        runtime.asked(
            "GetPersonalizedRanking", campaignArn=ranking, userId="u", inputList=["a"] * 51, metadataColumns=price
        )


# Before anybody asks


def test_what_nobody_will_ask_for_is_not_read(fresh: Runtime) -> None:
    fresh.serving(UP)
    fresh.filter(DRAMA, group=f"{GROUP}2")
    fresh.refresh()
    assert list(fresh.artifacts.create_workspace(dataset("ITEMS")).iterdir()) == []


def test_what_a_request_will_need_is_made_before_it_comes(fresh: Runtime) -> None:
    fresh.serving(TOP_PICKS, enableMetadataWithRecommendations=True)
    fresh.filter(f'{DRAMA} IF CurrentUser.AGE > 3 | EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("buy")')
    fresh.filter("INCLUDE UserID WHERE Users.AGE > 3")
    fresh.refresh()
    for dataset_type, kind in {"ITEMS": "snapshot", "USERS": "snapshot", "INTERACTIONS": "seen"}.items():
        [made] = fresh.artifacts.create_workspace(dataset(dataset_type)).iterdir()
        assert made.name.startswith(f"{kind}-")


# When it is made


@pytest.fixture
def making(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads in which anything was made that takes long with many items, in their order."""
    threads: list[str] = []

    def told(make: Callable[..., Any]) -> Callable[..., Any]:
        def tell(*args: Any, **more: Any) -> Any:
            threads.append(threading.current_thread().name)
            return make(*args, **more)

        return tell

    monkeypatch.setattr(snapshots.SnapshotCache, "_make_open", told(snapshots.SnapshotCache._make_open))
    monkeypatch.setattr(ItemColumns, "__init__", told(ItemColumns.__init__))
    monkeypatch.setattr(filters, "compiled", told(filters.compile_filter))
    monkeypatch.setattr("shared.serving.dataset_snapshot.Snapshot.read_numbers", told(Snapshot.read_numbers))
    return threads


ALL_OF_IT = (
    "INCLUDE ItemID WHERE Items.GENRE IN ($G) AND Items.PRICE < $P IF CurrentUser.AGE > 3 "
    '| EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("watch")'
)


def process_of(runtime: Runtime) -> WorkerProcess:
    """A runtime's, whose facts are applied at once."""
    queue: Any = SimpleNamespace(send=lambda fact: transitions.write_transition(runtime.store, fact))
    return WorkerProcess(
        name="runtime@test:1",
        settings=Settings(),
        store=runtime.store,
        queue=queue,
        artifacts=runtime.artifacts,
        ending=threading.Event(),
    )


def deployed(runtime: Runtime, recipe: Recipe, **config: Any) -> str:
    """A campaign or recommender that has just become ACTIVE."""
    arn = runtime.serving(recipe, CREATE_PENDING, **config)
    record = runtime.store.get(arn)
    assert record is not None
    deployer.deploy_model(
        process_of(runtime), runtime.serving_.loader, runtime.preparing, record, record.body["solutionVersionArn"]
    )
    return arn


def asked_all(runtime: Runtime, arn: str, filter_arn: str) -> None:
    values = {"G": '"War","Drama"', "P": "9.995"}
    assert runtime.recommended(arn, userId="u", filterArn=filter_arn, filterValues=values) == "a"


@pytest.mark.parametrize("recipe", [UP, TOP_PICKS])
def test_no_request_makes_what_a_filter_reads_however_soon_it_comes(
    fresh: Runtime, making: list[str], recipe: Recipe
) -> None:
    filter_arn = fresh.filter(ALL_OF_IT)
    arn = deployed(fresh, recipe)
    assert making
    making.clear()
    asked_all(fresh, arn, filter_arn)
    assert making == []


def test_no_request_makes_what_metadata_are_read_from(fresh: Runtime, making: list[str]) -> None:
    arn = deployed(fresh, UP, enableMetadataWithRecommendations=True)
    making.clear()
    assert fresh.answered(arn, userId="u", metadataColumns={"ITEMS": ["TITLE"]})[0]["metadata"] == {"title": "The A"}
    assert making == []


def test_a_new_filter_is_active_when_what_it_reads_is_there(fresh: Runtime, making: list[str]) -> None:
    arn = deployed(fresh, UP)
    filter_arn = fresh.filter(ALL_OF_IT, CREATE_PENDING)
    fresh.store.send_heartbeat("runtime@test:1", 5)
    transitions.provision_resource(fresh.store, Provision(arn=filter_arn))
    record = fresh.store.get(filter_arn)
    assert record is not None
    assert record.status == CREATE_IN_PROGRESS, "a runtime is there, which has not read anything yet"
    deployer.make_filter_usable(process_of(fresh), fresh.preparing, record)
    record = fresh.store.get(filter_arn)
    assert record is not None
    assert record.status == ACTIVE
    assert making
    making.clear()
    asked_all(fresh, arn, filter_arn)
    assert making == []


def test_a_new_filter_waits_for_no_runtime_that_is_not_there(fresh: Runtime) -> None:
    filter_arn = fresh.filter(ALL_OF_IT, CREATE_PENDING)
    transitions.provision_resource(fresh.store, Provision(arn=filter_arn))
    fresh.store.send_heartbeat("runtime@test:1", 5)
    late = fresh.filter(ALL_OF_IT, CREATE_PENDING)
    for _ in range(2):  # the second time by the reconciler, since nobody took it up
        transitions.provision_resource(fresh.store, Provision(arn=late))
    records = [fresh.store.get(arn) for arn in (filter_arn, late)]
    assert [record.status for record in records if record] == [ACTIVE, ACTIVE]


def test_no_request_makes_what_new_items_change(
    fresh: Runtime, making: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "PACE", 0.0)
    filter_arn = fresh.filter("INCLUDE ItemID WHERE Items.PRICE > 15")
    arn = deployed(fresh, UP)
    item = PutRecord(id="b", properties={"PRICE": 16.0}, at=time.time())
    fresh.store.save_put_records(dataset("ITEMS"), [item], invocation="1")
    making.clear()
    assert fresh.recommended(arn, userId="u", filterArn=filter_arn) == "c"
    assert making == []
    fresh.refresh()
    assert making
    making.clear()
    assert fresh.recommended(arn, userId="u", filterArn=filter_arn) == "bc"
    assert making == []


def test_who_comes_before_it_is_made_waits_a_moment_and_is_asked_to_try_again(
    fresh: Runtime, making: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at a runtime that has not heard yet of the campaign that another one has made ready."""
    arn, filter_arn = fresh.serving(UP), fresh.filter(ALL_OF_IT)
    let, make = threading.Event(), snapshots.SnapshotCache._make_file
    monkeypatch.setattr(snapshots.SnapshotCache, "_make_file", lambda *args: (let.wait(30), make(*args)))
    fresh.filters.patience = 0.05
    for _ in range(3):
        with pytest.raises(ServiceUnavailable, match="is being made ready"):
            asked_all(fresh, arn, filter_arn)
    let.set()
    fresh.filters.patience = 60.0
    asked_all(fresh, arn, filter_arn)
    assert threading.current_thread().name not in making
