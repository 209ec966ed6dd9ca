"""Batch segment jobs, done in this process: what counts of users, items, filters and lines, and restarts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from shared.data.live_files import LiveFileWriter
from shared.jobs.entrypoint import WorkFailed, WorkStopped
from shared.serving import segment_scores
from tests.unit.services.runtime_world import PREFIX, event
from tests.unit.workers.inference.segment_world import (
    BY_ATTRIBUTES,
    INTERACTIONS,
    SegmentWorld,
    create_world,
    put_version,
)


@pytest.fixture
def world(tmp_path: Path) -> SegmentWorld:
    return create_world(tmp_path)


def test_a_line_gets_the_users_by_falling_probability(world: SegmentWorld) -> None:
    world.give("items.json", {"itemId": "y"}, {"itemId": "x"})
    assert world.run(world.job()) == {"lines": 2, "failed": 0}
    assert world.results() == [
        {"input": {"itemId": "y"}, "output": {"usersList": ["bob", "ann", "cat"]}, "error": None},
        {"input": {"itemId": "x"}, "output": {"usersList": ["ann", "bob", "cat"]}, "error": None},
    ]


def test_num_results_bounds_each_list(world: SegmentWorld) -> None:
    assert world.answer({"itemId": "y"}, {"itemId": "z"}, numResults=2) == [["bob", "ann"], ["cat", "ann"]]


def test_several_files_have_a_result_each_and_users_are_scored_once(world: SegmentWorld) -> None:
    world.give("a.json", {"itemId": "y"})
    world.give("b.json", {"itemId": "z"}, {"itemId": "nowhere"})
    scorer = world.build_scorer()
    assert world.run(world.job(numResults=1), scorer=scorer) == {"lines": 3, "failed": 1}
    assert [each["output"] for each in world.results("a.json")] == [{"usersList": ["bob"]}]
    assert [each["output"] for each in world.results("b.json")] == [{"usersList": ["cat"]}, None]
    assert [query.user_id for query in scorer.asked] == ["ann", "bob", "cat"]


def test_attributes_choose_the_items_together(world: SegmentWorld) -> None:
    first = {
        'ITEMS.GENRE = "War"': "ann",
        'ITEMS.GENRE = "Drama" AND ITEMS.GENRE = "War"': "ann",
        'items.genre = "Comedy"': "bob",
        "ITEMS.YEAR = 2001": "bob",
    }
    answers = world.answer(*({"itemAttributes": text} for text in first), recipe=BY_ATTRIBUTES)
    assert [users[0] for users in answers] == list(first.values())
    assert {tuple(sorted(users)) for users in answers} == {("ann", "bob", "cat")}


def test_the_probabilities_of_all_items_with_the_attributes_count(world: SegmentWorld) -> None:
    # w and x are dramas. A newer event makes cat one who took w last; z, which ann takes, has no row in Items.
    world.runtime.sent(event("w", 9, user="cat"), event("z", 9, user="ann"))
    [users] = world.answer({"itemAttributes": 'ITEMS.GENRE = "Drama"'}, recipe=BY_ATTRIBUTES)
    assert users == ["cat", "ann", "bob"]


# Events and users since the training


def test_live_events_after_the_training_count_and_bring_new_users(world: SegmentWorld) -> None:
    world.runtime.sent(event("y", 10, user="cat"), event("y", 11, user="new"), event(None, 12, user="nothing"))
    assert world.answer({"itemId": "y"}) == [["bob", "cat", "new", "ann"]]


def test_live_events_that_have_moved_to_files_count_too(world: SegmentWorld) -> None:
    world.runtime.sent(event("y", 10, user="cat"))
    job = world.job()
    with LiveFileWriter(
        job.store, job.artifacts, f"{PREFIX}:dataset/g/INTERACTIONS", memory_mb=256, on_step=lambda: None
    ) as writer:
        assert writer.compact_stream() is not None
    world.runtime.sent(event("y", 11, user="new"))
    assert world.answer({"itemId": "y"}) == [["bob", "cat", "new", "ann"]]


def test_events_that_were_trained_on_count_once(world: SegmentWorld) -> None:
    scorer = world.build_scorer()
    world.runtime.sent(event("x", 2, event_type="view", user="ann"))
    world.give("items.json", {"itemId": "y"})
    world.run(world.job(), scorer=scorer)
    assert scorer.asked[0].history == world.build_scorer().history("ann")


def test_a_full_import_after_the_training_replaces_the_users(world: SegmentWorld) -> None:
    interactions = f"{PREFIX}:dataset/g/INTERACTIONS"
    time.sleep(0.001)
    world.runtime.imported(interactions, INTERACTIONS, [("eve", "y", 5, "View"), ("ann", "z", 6, "View")])
    world.runtime.sent(event("y", 9, user="bob"))
    assert world.answer({"itemId": "y"}) == [["bob", "eve", "ann"]]


def test_an_incremental_import_after_the_training_does_not_count(world: SegmentWorld) -> None:
    interactions = f"{PREFIX}:dataset/g/INTERACTIONS"
    world.runtime.imported(interactions, INTERACTIONS, [("eve", "y", 5, "View")], mode="INCREMENTAL")
    assert world.answer({"itemId": "y"}) == [["bob", "ann", "cat"]]


def test_events_that_the_solution_does_not_train_on_do_not_count(world: SegmentWorld) -> None:
    put_version(world.runtime, [world.first_import], eventType="Buy", solutionConfig={"eventValueThreshold": "2"})
    world.runtime.sent(
        event("y", 10, event_type="view", user="cat"), event("y", 10, event_type="buy", user="without-value")
    )
    assert world.answer({"itemId": "y"}) == [["bob", "ann", "cat"]]


def test_probabilities_are_for_the_moment_of_the_jobs_creation(world: SegmentWorld) -> None:
    scorer = world.build_scorer()
    world.give("items.json", {"itemId": "y"})
    job = world.job()
    world.run(job, scorer=scorer)
    assert {query.now for query in scorer.asked} == {job.record.created}


# Filters


@pytest.mark.parametrize(
    ("expression", "users"),
    [
        ('INCLUDE UserID WHERE Users.COUNTRY IN ("usa")', ["bob", "ann"]),
        ("EXCLUDE UserID WHERE Users.AGE > 25", ["ann", "cat"]),
        ('INCLUDE UserID WHERE Interactions.EVENT_TYPE IN ("buy")', ["bob"]),
        ('EXCLUDE UserID WHERE Interactions.EVENT_TYPE IN ("buy", "sail")', ["ann"]),
    ],
)
def test_a_filter_chooses_among_the_users(world: SegmentWorld, expression: str, users: list[str]) -> None:
    world.runtime.sent(event("z", time.time(), event_type="Sail", user="cat"))
    assert world.answer({"itemId": "y"}, filterArn=world.runtime.filter(expression)) == [users]


def test_each_line_has_its_own_values(world: SegmentWorld) -> None:
    filter_arn = world.runtime.filter("INCLUDE UserID WHERE Users.COUNTRY IN ($COUNTRY)")
    answers = world.answer(
        {"itemId": "y", "filterValues": {"COUNTRY": '"fr"'}},
        {"itemId": "y", "filterValues": {"COUNTRY": '"usa"'}},
        {"itemId": "x", "filterValues": {"COUNTRY": '"fr"', "MORE": "1"}},
        {"itemId": "y"},
        filterArn=filter_arn,
    )
    assert answers[:3] == [["bob"], ["bob", "ann"], ["bob"]]
    assert answers[3].startswith("The filter can't be applied: filterValues has no value for COUNTRY.")


def test_a_filter_that_no_longer_fits_the_datasets_fails_the_job(world: SegmentWorld) -> None:
    filter_arn = world.runtime.filter("INCLUDE UserID WHERE Users.TEAM = 5")
    with pytest.raises(WorkFailed, match="does not fit the datasets as they are now"):
        world.answer({"itemId": "y"}, filterArn=filter_arn)


# Lines that are no queries


def test_a_bad_line_costs_the_others_nothing(world: SegmentWorld) -> None:
    bad: list[tuple[Any, str]] = [
        ({"itemId": "nowhere"}, "The model does not know the item nowhere"),
        ({"itemId": "v"}, "The model does not know the item v"),
        ({}, "itemId is required"),
        ({"userId": "ann"}, "itemId is required"),
        ({"itemId": 5}, "itemId must be a string"),
        ({"itemId": "x" * 257}, "itemId must be a string of at most 256"),
        ({"itemAttributes": 'ITEMS.GENRE = "a"'}, "itemAttributes is not for aws-item-affinity"),
        ({"itemId": "y", "filterValues": ["a"]}, "filterValues must be an object"),
        (b'{"itemId": "y"', "The line is no JSON"),
        (b'{"itemId": "\xff"}', "The line is no JSON"),
        (["y"], "The line is no JSON object"),
    ]
    *errors, users = world.answer(*(line for line, _ in bad), {"itemId": "y"})
    for error, (_, expected) in zip(errors, bad, strict=True):
        assert error.startswith(expected)
    assert users == ["bob", "ann", "cat"]


def test_a_bad_line_of_attributes_is_told_why(world: SegmentWorld) -> None:
    bad: list[tuple[Any, str]] = [
        ({"itemAttributes": 'ITEMS.GENRE = "Opera"'}, "No item that the model knows has these attributes."),
        ({"itemAttributes": "ITEMS.YEAR = 1"}, "No item that the model knows has these attributes."),
        ({"itemAttributes": 'ITEMS.COLOUR = "red"'}, "Invalid Expression: Items.COLOUR at line 1, column 1"),
        ({"itemAttributes": 'ITEMS.GENRE = "a" OR ITEMS.YEAR = 1'}, "Invalid Expression: itemAttributes are joined"),
        ({"itemAttributes": " "}, "itemAttributes must be an expression"),
        ({"itemAttributes": ["a"]}, "itemAttributes must be an expression"),
        ({}, "itemAttributes must be an expression"),
        ({"itemId": "y"}, "itemId is not for aws-item-attribute-affinity"),
    ]
    errors = world.answer(*(line for line, _ in bad), recipe=BY_ATTRIBUTES)
    for error, (_, expected) in zip(errors, bad, strict=True):
        assert error.startswith(expected)


def test_equal_lines_have_equal_segments(world: SegmentWorld) -> None:
    first, second = world.answer({"itemId": "y"}, {"itemId": "y"})
    assert first == second == ["bob", "ann", "cat"]


def test_more_lines_than_aws_allows_fail_the_job(tmp_path: Path) -> None:
    world = create_world(tmp_path, quota_segment_item_lines=3, quota_segment_attribute_lines=1)
    world.give("items.json", *[{"itemId": "y"}] * 4)
    with pytest.raises(WorkFailed, match=r"has 4 lines; .* at most 3\..*FORETASTE_QUOTA_SEGMENT_ITEM_LINES"):
        world.run(world.job())
    world.give("items.json", *[{"itemAttributes": "ITEMS.YEAR = 1"}] * 2)
    with pytest.raises(WorkFailed, match=r"has 2 lines; .*FORETASTE_QUOTA_SEGMENT_ATTRIBUTE_LINES"):
        world.run(world.job(name="k"), BY_ATTRIBUTES)


def test_a_group_without_users_or_items_works(world: SegmentWorld) -> None:
    for table in ("ITEMS", "USERS"):
        record = world.runtime.store.get(f"{PREFIX}:dataset/g/{table}")
        assert record is not None
        world.runtime.store.remove(record)
    assert world.answer({"itemId": "y"}) == [["bob", "ann", "cat"]]


# Restarts


def test_attempts_that_were_stopped_anywhere_leave_the_results_of_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_scores, "MOST_USERS", 8)
    world = create_world(tmp_path)
    world.runtime.sent(*(event("wxyz"[n % 4], 10 + n, user=f"u{n:03}") for n in range(40)))
    filter_arn = world.runtime.filter(
        'EXCLUDE UserID WHERE Users.COUNTRY IN ($C) | EXCLUDE UserID WHERE Interactions.EVENT_TYPE IN ("buy")'
    )
    lines = [{"itemId": item, "filterValues": {"C": f'"{country}"'}} for item in "xyz!" for country in ("usa", "fr")]
    world.give("items.json", *lines)
    body = {"filterArn": filter_arn, "numResults": 7}
    world.run(world.job(**body))
    undisturbed = world.results()
    stops, left = 0, 0

    def stop_later() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    while True:
        left = 3 + stops
        try:
            world.run(world.job(name="k", should_stop=stop_later, **body))
            break
        except WorkStopped:
            stops += 1
    assert stops > 10
    assert world.results() == undisturbed


def test_a_later_attempt_reads_what_the_first_has_read(world: SegmentWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(Exception):
        pass

    def be_killed(*_: object) -> None:
        raise Killed

    world.give("items.json", {"itemId": "y"})
    with monkeypatch.context() as patched:
        patched.setattr(segment_scores.SegmentScores, "compute_scores", be_killed)
        with pytest.raises(Killed):
            world.run(world.job())
    world.runtime.sent(event("y", 99, user="late"))
    world.give("items.json", {"itemId": "x"})
    world.run(world.job())
    assert [each["output"] for each in world.results()] == [{"usersList": ["bob", "ann", "cat"]}]


def test_progress_tells_how_many_users_are_scored(world: SegmentWorld) -> None:
    world.answer({"itemId": "y"})
    assert {"phase": "scoring", "rows": 3} in world.progress
