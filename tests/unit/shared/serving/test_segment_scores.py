"""The best users of each segment: in order, filtered, bounded, and the same after a crash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.recipes.scoring_api import Past
from shared.serving import segment_scores
from shared.serving.segment_scores import Segment, SegmentScores, find_best
from shared.serving.segment_users import SegmentUsers
from tests.unit.shared.serving.segment_world import LastItemScorer, write_events

ITEMS = "abcd"
NAMES = [f"u{number:03}" for number in range(100)]


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SegmentScores]:
    """100 users, of whom user n has taken item n modulo 4 last; shards of 16 users."""
    monkeypatch.setattr(segment_scores, "MOST_USERS", 16)
    events = write_events(tmp_path, [])
    (tmp_path / "scores").mkdir()

    def build_scores(segments: list[Segment], wanted: int = 1000, **changes: Any) -> SegmentScores:
        scorer = LastItemScorer(ITEMS, {name: [Past(ITEMS[number % 4], 1)] for number, name in enumerate(NAMES)})
        users = SegmentUsers(scorer, events, replaced=False)
        return SegmentScores(
            **{
                "folder": tmp_path / "scores",
                "scorer": scorer,
                "users": users,
                "segments": segments,
                "wanted": wanted,
                "now": 5.0,
                "block_users": 5,
                **changes,
            }
        )

    return build_scores


def items(*places: int) -> Segment:
    return Segment(places=np.array(places))


def ignore(_users: int) -> None:
    return


def test_users_come_by_falling_probability_and_then_by_id(build: Callable[..., SegmentScores]) -> None:
    scores = build([items(1), items(2, 3)])
    scores.compute_scores(ignore)
    of_b = [number for number in range(100) if number % 4 == 1]
    assert scores.find_users(0).tolist() == of_b + [number for number in range(100) if number not in of_b]
    assert scores.find_users(1)[:50].tolist() == [number for number in range(100) if number % 4 in (2, 3)]
    assert {query.now for query in scores.scorer.asked} == {5.0}  # type: ignore[attr-defined]


@pytest.mark.parametrize("wanted", [1, 3, 16, 30, 99])
def test_fewer_users_are_the_first_of_all(build: Callable[..., SegmentScores], wanted: int) -> None:
    scores = build([items(1)], wanted)
    scores.compute_scores(ignore)
    whole = [number for number in range(100) if number % 4 == 1] + [n for n in range(100) if n % 4 != 1]
    assert scores.find_users(0).tolist() == whole[:wanted]


def test_only_users_that_the_filter_lets_through_are_listed(build: Callable[..., SegmentScores]) -> None:
    allowed = np.zeros(100, np.bool_)
    allowed[[0, 1, 37, 98]] = True
    scores = build([Segment(places=np.array([1]), allowed=np.packbits(allowed)), items(1)], 3)
    scores.compute_scores(ignore)
    assert scores.find_users(0).tolist() == [1, 37, 0]
    assert scores.find_users(1).tolist() == [1, 5, 9]


def test_a_segment_that_no_user_may_be_in_is_empty(build: Callable[..., SegmentScores]) -> None:
    scores = build([Segment(places=np.array([1]), allowed=np.packbits(np.zeros(100, np.bool_)))])
    scores.compute_scores(ignore)
    assert scores.find_users(0).tolist() == []


def test_a_second_attempt_scores_the_missing_shards_alone(build: Callable[..., SegmentScores]) -> None:
    class Killed(Exception):
        pass

    def stop_at_50(users: int) -> None:
        if users >= 50:
            raise Killed

    first = build([items(1), items(0, 2)])
    with pytest.raises(Killed):
        first.compute_scores(stop_at_50)
    assert sorted(int(path.name) for path in first.folder.iterdir()) == [0, 1, 2]
    second = build([items(1), items(0, 2)])
    counted: list[int] = []
    second.compute_scores(counted.append)
    assert [query.user_id for query in second.scorer.asked] == NAMES[48:]  # type: ignore[attr-defined]
    assert counted[:3] == [16, 32, 48]
    assert counted[-1] == 100
    assert second.find_users(0).tolist()[:3] == [1, 5, 9]


def test_many_segments_make_shards_of_fewer_users(
    build: Callable[..., SegmentScores], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_scores, "MOST_SCORES", 16)
    assert build([items(1)]).count_shards() == 7
    assert build([items(1), items(2)]).count_shards() == 13


def test_without_segments_no_user_is_scored(build: Callable[..., SegmentScores]) -> None:
    scores = build([])
    scores.compute_scores(ignore)
    assert scores.count_shards() == 0
    assert scores.scorer.asked == []  # type: ignore[attr-defined]


def test_the_best_are_those_of_a_whole_sort() -> None:
    rng = np.random.default_rng(0)
    for count in (0, 1, 7, 50):
        scores = rng.integers(0, 5, count).astype(np.float32)
        whole = sorted(range(count), key=lambda place: (-scores[place], place))
        for wanted in (1, 3, 50, 60):
            assert find_best(scores, wanted).tolist() == whole[:wanted]
