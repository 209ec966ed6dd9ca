"""Each simple peer on histories so small that what it must say can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.quality import data, peers
from benchmarks.quality.protocols import Query, Task

ITEMS = 8
MINUTE, DAY = 60, 24 * 60 * 60
START = 1_600_000_000

Visits = Sequence[Sequence[int]]
"""Of one user: the items of each visit, which are a minute apart; visits are a day apart."""


def times_of(visits: Visits, begin: int = START) -> list[int]:
    return [begin + day * DAY + place * MINUTE for day, visit in enumerate(visits) for place in range(len(visit))]


def task_of(*users: Visits, begins: Sequence[int] | None = None, items: int = ITEMS) -> Task:
    begins = begins or [START] * len(users)
    flat = [[item for visit in visits for item in visit] for visits in users]
    histories = data.histories_of(
        np.repeat(np.arange(len(users)), [len(user) for user in flat]),
        np.concatenate([np.array(user, np.int64) for user in flat]),
        np.concatenate([times_of(visits, begin) for visits, begin in zip(users, begins, strict=True)]).astype(np.int64),
        user_ids=[f"u{number}" for number in range(len(users))],
        item_ids=[f"i{number:05}" for number in range(items)],
    )
    return Task(training=histories, users=np.flatnonzero(histories.lengths), queries=[])


def query_of(*visits: Sequence[int], user: int = -1, begin: int = START) -> Query:
    return Query(
        items=np.array([item for visit in visits for item in visit], np.int32),
        timestamps=np.array(times_of(visits, begin)),
        now=begin + 10_000 * DAY,
        wanted=np.zeros(0, np.int32),
        user=user,
    )


def scores(peer: str, task: Task, query: Query, **settings: Any) -> npt.NDArray[Any]:
    scores_I = peers.PEERS[peer](task, **settings)(query)
    assert scores_I.shape == (len(task.training.item_ids),)
    return scores_I


def order(found: npt.NDArray[Any]) -> list[int]:
    return np.argsort(-found, kind="stable").tolist()


def test_popularity_counts_what_was_trained_on() -> None:
    task = task_of([[1, 2, 1]], [[1]])
    assert scores("popularity", task, query_of([5])).tolist() == [0, 3, 1, 0, 0, 0, 0, 0]


def test_recent_counts_the_last_seven_days_and_orders_the_rest_by_all_time() -> None:
    task = task_of([[3, 3, 3]], [[4, 4]], [[5]], begins=[START, START, START + 8 * DAY])
    assert order(scores("recent", task, query_of([1])))[:3] == [5, 3, 4]


def test_personal_counts_the_users_own_and_orders_the_rest_by_popularity() -> None:
    task = task_of([[3, 3, 3]], [[4, 4]])
    assert order(scores("personal", task, query_of([4, 6, 6])))[:3] == [6, 4, 3]


def test_markov_looks_one_event_ahead() -> None:
    task = task_of([[1, 2, 3]], [[1, 2]], [[1, 4]])
    found = scores("markov", task, query_of([1]))
    assert np.round(found).tolist() == [0, 0, 2, 0, 1, 0, 0, 0]
    assert order(scores("markov", task, query_of([7])))[:2] == [1, 2]  # nothing came after it: by popularity


def test_markov_window_looks_further_and_back_to_five_events() -> None:
    task = task_of([[1, 2, 3]])
    assert np.round(scores("markov-window", task, query_of([1]))).tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    faded = scores("markov-window", task, query_of([1, 6]))
    assert faded[2] == pytest.approx(0.8, abs=1e-5)
    assert scores("markov-window", task, query_of([1, 6, 6, 6, 6, 6]))[2] == pytest.approx(0, abs=1e-5)


def test_transitions_are_read_in_both_directions_and_fade_with_the_distance() -> None:
    task = task_of([[1, 2, 3]])
    found = scores("transitions", task, query_of([2]))
    assert found[[1, 3]] == pytest.approx([1, 1], abs=1e-5)
    assert scores("transitions", task, query_of([1]))[[2, 3]] == pytest.approx([1, 1 / 2], abs=1e-5)
    # 2 is before the last: half of what is near it; 5 is near nothing.
    assert scores("transitions", task, query_of([2, 5]))[[1, 3]] == pytest.approx([1 / 2, 1 / 2], abs=1e-5)


def test_item_knn_is_the_cosine_between_users() -> None:
    task = task_of([[1, 2]], [[1, 3]], [[1, 2, 2]])
    found = scores("item-knn", task, query_of([1]))
    assert found[2] == pytest.approx(2 / np.sqrt(3 * 2))
    assert found[3] == pytest.approx(1 / np.sqrt(3 * 1))
    assert found[1] == 0


def test_item_knn_keeps_the_nearest_neighbours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "NEIGHBOURS", 1)
    found = scores("item-knn", task_of([[1, 2]], [[1, 3]], [[1, 2]]), query_of([1]))
    assert np.flatnonzero(found).tolist() == [2]


def test_ease_is_the_formula_of_its_paper() -> None:
    task = task_of([[1, 2]], [[1, 2, 3]], [[3, 4]])
    seen_UI = np.zeros((3, ITEMS))
    seen_UI[[0, 0, 1, 1, 1, 2, 2], [1, 2, 1, 2, 3, 3, 4]] = 1
    inverse_II = np.linalg.inv(seen_UI.T @ seen_UI + peers.RIDGE * np.eye(ITEMS))
    weights_II = -inverse_II / np.diag(inverse_II)
    np.fill_diagonal(weights_II, 0)
    assert scores("ease", task, query_of([1, 3])) == pytest.approx(weights_II[[1, 3]].sum(0), rel=1e-3)


def test_ease_knows_the_most_popular_items_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "MOST_OF_EASE", 3)
    task = task_of([[1, 2, 3]], [[1, 2]], [[3, 4]])
    found = scores("ease", task, query_of([1, 4]))
    assert found[4] == 0
    assert found[2] > 0


def test_the_neighbours_of_v_sknn_share_the_newest_items_of_the_newest_visit() -> None:
    task = task_of([[1, 2, 5]], [[3, 6]], [[4, 7]])
    # The visit is [1, 3]: 3 counts 1, 1 counts a half; 4 is of an older visit.
    found = scores("vs-knn", task, query_of([4], [1, 3]))
    assert found[[3, 6]] == pytest.approx([1, 1], abs=1e-5)
    assert found[[1, 2, 5]] == pytest.approx([1 / 2] * 3, abs=1e-5)
    assert found[[4, 7]] == pytest.approx([0, 0], abs=1e-5)


def test_v_sknn_samples_the_newest_visits_and_keeps_the_most_alike() -> None:
    task = task_of([[1, 2]], [[1, 3]], [[1, 4, 5]], begins=[START, START + DAY, START + 2 * DAY])
    two = scores("vs-knn", task, query_of([5, 1]), sampled=2)
    assert np.flatnonzero(two > 1e-3).tolist() == [1, 3, 4, 5]
    one = scores("vs-knn", task, query_of([5, 1]), neighbours=1)
    assert np.flatnonzero(one > 1e-3).tolist() == [1, 4, 5]


def test_a_visit_is_no_neighbour_of_itself() -> None:
    task = task_of([[1, 2], [1, 3]], [[1, 4]])
    # User 0 asks in the visit that is trained on, too: the visit of the day before is one like any other.
    found = scores("vs-knn", task, query_of([1, 2], [1, 3], user=0))
    assert found[3] < 1e-3
    assert (found[[2, 4]] > 0.1).all()


def test_a_history_of_one_visit_is_the_visit_and_none_like_it_leaves_popularity() -> None:
    task = task_of([[1, 2]], [[2]])
    for peer in ("vs-knn", "stan"):
        assert order(scores(peer, task, query_of([7, 6])))[:2] == [2, 1]


def test_stan_prefers_neighbours_near_in_time_and_items_near_the_shared_one() -> None:
    task = task_of([[1, 2]], [[1, 3]], begins=[START, START + 100 * DAY])
    found = scores("stan", task, query_of([1], begin=START + 101 * DAY))
    assert found[3] > 2 * found[2] > 0
    near = scores("stan", task_of([[5, 1, 2, 3, 4]]), query_of([1]))
    assert near[2] == pytest.approx(near[5], rel=1e-3)
    assert near[2] > near[3] > near[4] > 0


def test_stan_is_its_paper_s_formula() -> None:
    task = task_of([[1, 3, 2]], [[2, 4, 5, 6, 7]])
    found = scores("stan", task, query_of([1, 2]), own_fading=0.5, days=3.0, step_fading=0.25)
    length = 4.0  # the mean of the two visits
    # The visit ends a minute after it begins, the first neighbour a minute later, the second three.
    first = (np.exp(-1 / (0.5 * length)) + 1) / np.sqrt(3)
    second = 1 / np.sqrt(5) * np.exp(-2 * MINUTE / DAY / 3.0)
    assert found[3] == pytest.approx(first * np.exp(-1 / (0.25 * length)), rel=1e-4)
    assert found[6] == pytest.approx(second * np.exp(-3 / (0.25 * length)), rel=1e-4)


def test_tifu_knn_fades_visits_and_their_groups() -> None:
    task = task_of([[5]], [[6]])
    settings = {"group": 2, "in_group": 0.5, "of_groups": 0.1, "own": 1.0}
    found = scores("tifu-knn", task, query_of([1], [2], [3, 3]), **settings)
    # Two groups: the newest holds visits 2 and 3, whose mean it is; the other holds visit 1 alone.
    assert found[3] == pytest.approx(1 / 2 / 2, abs=1e-5)
    assert found[2] == pytest.approx(0.5 / 2 / 2, abs=1e-5)
    assert found[1] == pytest.approx(0.1 / 2, abs=1e-5)


def test_tifu_knn_mixes_in_what_the_users_nearest_to_one_take() -> None:
    task = task_of([[1, 2]], [[1, 3]], [[6, 7]])
    found = scores("tifu-knn", task, query_of([1, 2], user=0), neighbours=1, own=0.7)
    # User 0 himself is no neighbour of his: user 1 is.
    assert found[[1, 2, 3]] == pytest.approx([1.0, 0.7, 0.3], abs=1e-5)
    assert found[6] < 1e-5


def test_who_may_not_be_learnt_from_is_not() -> None:
    whole = task_of([[1, 2]], [[1, 3]])
    task = Task(training=whole.training, users=np.array([0]), queries=[])
    for peer in peers.PEERS:
        assert scores(peer, task, query_of([1]))[3] <= 1e-9, peer


@pytest.mark.parametrize("peer", [peer for peer in peers.PEERS if peer != "ease"])
def test_a_large_catalogue_needs_no_matrix_of_it(peer: str) -> None:
    task = task_of([[1, 2, 1]], [[1, 300_000]], items=300_001)
    assert scores(peer, task, query_of([1, 2])).shape == (300_001,)


def test_rows_add_up_what_stands_in_one_place_and_turn_round() -> None:
    rows = peers.Rows.of(np.array([1, 0, 1]), np.array([2, 0, 2]), np.array([1.0, 2.0, 3.0]), (2, 3))
    assert rows.weighted(np.array([0, 1]), np.array([1.0, 10.0])).tolist() == [2, 0, 40]
    assert rows.transposed().weighted(np.array([2]), np.ones(1)).tolist() == [0, 4]
    which, columns, values = rows.gathered(np.array([1, 1, 0]))
    assert (which.tolist(), columns.tolist(), values.tolist()) == ([0, 1, 2], [2, 2, 0], [4, 4, 2])
