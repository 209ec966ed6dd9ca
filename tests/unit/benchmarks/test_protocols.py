"""When is asked, who is asked, and what counts: the splits by time, and the three views of one answer."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.quality import asked, data, protocols, runs
from shared.data.arrays.histories import Histories

MINUTE, DAY = 60, 24 * 60 * 60


def histories_of(*users: list[tuple[int, int]]) -> Histories:
    """Of each user (item, seconds)."""
    events = [(number, *event) for number, user in enumerate(users) for event in user]
    of_user, items, times = (np.array(column) for column in zip(*events, strict=True))
    return data.histories_of(
        of_user,
        items,
        times,
        user_ids=[f"u{number:04}" for number in range(len(users))],
        item_ids=[f"i{number:02}" for number in range(20)],
    )


def daily(users: int, events: int) -> Histories:
    """Everybody has an event a day, the last user's all a little later than the others'."""
    return histories_of(*[[(day % 20, day * DAY + number) for day in range(events)] for number in range(users)])


def figures(ranking: list[int], query: protocols.Query) -> dict[str, dict[str, float]]:
    scores_I = np.zeros(20)
    scores_I[ranking] = np.arange(len(ranking), 0, -1)
    return protocols.measure(lambda queries: [scores_I for _ in queries], [query])


def query_of(items: list[int], wanted: list[int], most: int | None = None) -> protocols.Query:
    def array(numbers: list[int]) -> npt.NDArray[np.int32]:
        return np.array(numbers, np.int32)

    return protocols.Query(array(items), np.arange(len(items)), 100.0, array(wanted), most=most)


@pytest.mark.parametrize("protocol", ["h10", "loo", "aws"])
def test_nothing_is_known_of_the_event_to_be_found_but_when_its_visit_began(protocol: str) -> None:
    # The last event is in the midst of a visit of every other user, and the first of one of the others.
    gaps = [10 * MINUTE, 40 * MINUTE] * 30
    task = protocols.PROTOCOLS[protocol](
        histories_of(*[[(day, day * DAY) for day in range(9)] + [(9, 8 * DAY + gap)] for gap in gaps]), 0
    )
    assert task.queries
    moments = {query.now - query.timestamps[-1] for query in task.queries}
    assert moments == {0, 40 * MINUTE}


def test_time_learns_what_was_before_a_moment_and_asks_for_all_after_it() -> None:
    task = protocols.time(daily(users=3, events=10))
    # 30 events, of which the 28th, of user 0, is the moment.
    assert task.training.lengths.tolist() == [9, 9, 9]
    assert [query.user for query in task.queries] == [0, 1, 2]
    assert [query.wanted.tolist() for query in task.queries] == [[9]] * 3
    assert task.queries[1].now == 9 * DAY + 1


def test_time_asks_only_users_on_both_sides_and_events_of_the_moment_are_after_it() -> None:
    before, both, after = [(0, second) for second in range(8)], [(1, 8), (1, 9)], [(2, 9)]
    task = protocols.time(histories_of(before, both, after))
    assert [query.user for query in task.queries] == [1]
    assert task.users.tolist() == [0, 1]
    assert task.queries[0].items.tolist() == [1]
    assert task.queries[0].now == 8  # a second later is the same visit


def test_time_asks_so_many_users_at_most_and_the_same_ones_for_every_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "MOST_ASKED", 5)
    first, second = (protocols.time(daily(users=40, events=10), seed) for seed in (0, 1))
    assert len(first.queries) == 5
    assert [query.user for query in first.queries] == [query.user for query in second.queries]


@pytest.mark.parametrize("protocol", protocols.ASKED)
def test_clients_ask_today(protocol: str) -> None:
    task = protocols.PROTOCOLS[protocol](daily(users=3, events=20), 0)
    assert task.queries
    assert all(abs(query.now - time.time()) < 60 for query in task.queries)


def test_asked_last_wants_the_newest_tenth_of_some_and_learns_the_rest_of_all() -> None:
    histories = histories_of(*[[(day % 20, day * DAY) for day in range(events)] for events in (9, 10, 15, 26)])
    task = protocols.asked_last(histories)
    # A user of nine events is not asked; tenths are rounded to the nearest.
    assert {query.user: len(query.wanted) for query in task.queries} == {1: 1, 2: 1, 3: 3}
    assert task.training.lengths.tolist() == [9, 9, 14, 23]


def test_clients_are_drawn_as_the_check_through_the_service_draws_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "CLIENTS", 7)
    histories = daily(users=30, events=10)
    drawn = list(histories.user_ids)
    random.Random(1).shuffle(drawn)
    task = protocols.asked_time(histories)
    assert sorted(histories.user_ids[query.user] for query in task.queries) == sorted(drawn[:7])


def test_what_is_wanted_twice_counts_once() -> None:
    found = figures([5, 6], query_of([1], [5, 5, 6]))
    assert found["raw"]["NDCG@25"] == pytest.approx(1.0)


def test_raw_shows_what_was_had_filtered_hides_it_and_unseen_does_not_want_it_either() -> None:
    found = figures([1, 5], query_of([1], [1, 5]))
    assert found["raw"]["NDCG@25"] == pytest.approx(1.0)
    assert found["filtered"]["NDCG@25"] == pytest.approx(1 / (1 + 1 / np.log2(3)))
    assert found["unseen"]["NDCG@25"] == pytest.approx(1.0)


def test_who_took_nothing_new_does_not_count_among_the_unseen() -> None:
    scores_I = np.zeros(20)
    scores_I[5] = 1
    queries = [query_of([1], [1]), query_of([1], [5])]
    found = protocols.measure(lambda asked: [scores_I for _ in asked], queries)
    assert found["filtered"]["HR@10"] == 0.5
    assert found["unseen"]["HR@10"] == 1.0
    assert figures([1], queries[0])["unseen"] == {}


def test_each_view_has_its_own_first_events_that_count() -> None:
    query = query_of([1], [1, 1, 5, 6], most=2)
    assert figures([1], query)["raw"]["NDCG@25"] == pytest.approx(1.0)  # the first two events are both of 1
    assert figures([5, 6], query)["unseen"]["NDCG@25"] == pytest.approx(1.0)
    assert figures([5, 2], query_of([1], [5, 2, 6], most=2))["unseen"]["NDCG@25"] == pytest.approx(1.0)


def test_items_alike_in_score_are_ranked_by_their_number() -> None:
    found = protocols.measure(lambda asked: [np.ones(60)], [query_of([0], [25])])
    assert found["raw"]["HR@10"] == 0
    assert found["raw"]["MRR@25"] == 0
    assert found["filtered"]["MRR@25"] == pytest.approx(1 / 25)


def test_a_data_set_is_below_the_folder_or_the_folder_or_a_path(tmp_path: Path) -> None:
    one = tmp_path / "one"
    one.mkdir()
    (one / "interactions.csv").write_text("USER_ID,ITEM_ID,TIMESTAMP\na,1,1\n")
    for folder, name in ((tmp_path, "one"), (one, "one"), (tmp_path / "elsewhere", str(one))):
        assert data.read(data.folder_of(folder, name)).user_ids == ["a"]


def test_our_model_learns_from_those_that_the_service_would_train_on() -> None:
    task = protocols.asked_last(
        histories_of(*[[(day % 20, day * DAY) for day in range(events)] for events in (2, 20, 90)])
    )
    values = {"min_user_history_length_percentile": "0.4", "max_user_history_length_percentile": "0.9"}
    assert runs._as_served(task, values).users.tolist() == [1]


def test_the_table_of_asked_ends_with_our_share_of_the_best_peer() -> None:
    def rows(*values: float) -> dict[str, runs.Row]:
        views = {view: dict.fromkeys(asked.COLUMNS, value) for view, value in zip(asked.VIEWS, values, strict=True)}
        return {protocol: runs.Row(model="m", runs=[views], seconds=2.0) for protocol in protocols.ASKED}

    table = asked.lines({"linear": rows(0.3, 0.2), "markov": rows(0.2, 0.1), "stan": rows(0.1, 0.4)})
    assert len(table) == 4
    assert table[0].startswith("| linear | 0.3000 |")
    assert "| 1.500 (markov) |" in table[-1]
    assert "| 0.500 (stan) |" in table[-1]
