"""AWS's protocol: who is tested, what is the input, what is to be found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shared.data.histories import TooLittleData
from shared.recipes.evaluation import Split, evaluate, popularity
from tests.recipes.synthetic import histories_of, walks


def unwatched() -> None:
    pass


def test_a_tenth_of_the_users_is_tested_on_and_nobody_is_in_both() -> None:
    split = Split.of(walks(users=60), seed=0)
    assert len(split.test) == 6
    assert sorted([*split.train, *split.test]) == list(range(60))


def test_the_same_seed_gives_the_same_users() -> None:
    histories = walks()
    assert Split.of(histories, 1).test.tolist() == Split.of(histories, 1).test.tolist()
    assert Split.of(histories, 1).test.tolist() != Split.of(histories, 2).test.tolist()


def test_users_with_one_event_are_not_tested_and_excluded_users_are_in_neither() -> None:
    sequences = {f"single{n}": [("x", 1)] for n in range(50)}
    sequences |= {"robot": [("x", 1), ("y", 2)], "a": [("x", 1), ("y", 2)], "b": [("x", 1), ("y", 2)]}
    histories = histories_of(sequences, excluded=("robot",))
    for seed in range(5):
        split = Split.of(histories, seed)
        assert {histories.user_ids[user] for user in split.test} < {"a", "b"}
        assert histories.user_ids.index("robot") not in split.train


def test_nobody_left_to_learn_from_is_too_little_data() -> None:
    with pytest.raises(TooLittleData, match="Fewer than 2 users"):
        Split.of(histories_of({"a": [("x", 1), ("y", 2)], "b": [("x", 1)]}), seed=0)


@pytest.mark.parametrize(("length", "held_out"), [(2, 1), (9, 1), (10, 1), (11, 2), (20, 2), (21, 3)])
def test_the_newest_tenth_rounded_up_is_held_out(length: int, held_out: int) -> None:
    sequence = [(f"i{number:02}", 100 * number) for number in range(length)]
    histories = histories_of({"a": sequence, "b": sequence})
    asked: list[tuple[list[int], list[int], float]] = []

    def score(items: Any, timestamps: Any, now: float) -> Any:
        asked.append((items.tolist(), timestamps.tolist(), now))
        return np.zeros(length)

    split = Split(train=np.array([0]), test=np.array([1]))
    evaluate(score, histories, split, unwatched)
    kept = length - held_out
    assert asked == [(list(range(kept)), [100 * number for number in range(kept)], 100.0 * kept)]


def test_a_perfect_answer_scores_one_and_a_wrong_one_nothing() -> None:
    histories = walks(users=20, events=40, items=50)
    split = Split.of(histories, 0)
    users = iter(split.test)

    def perfect(*_: Any) -> Any:
        user = next(users)
        newest = histories.items[histories.offsets[user + 1] - 4 : histories.offsets[user + 1]]
        return np.isin(np.arange(50), newest).astype(float)

    metrics, baseline = evaluate(perfect, histories, split, unwatched)
    assert metrics["normalized_discounted_cumulative_gain_at_25"] == 1.0
    assert metrics["mean_reciprocal_rank_at_25"] == 1.0
    assert 0.0 < baseline["normalized_discounted_cumulative_gain_at_25"] < 1.0


def test_the_baseline_recommends_what_the_training_users_took_most() -> None:
    sequences = {f"u{n}": [("hit", 1), (f"i{n}", 2)] for n in range(9)}
    sequences["z"] = [("other", 1), ("hit", 2)]
    histories = histories_of(sequences)
    split = Split(train=np.arange(9), test=np.array([9]))
    counts = popularity(histories, split.train)
    assert counts[histories.item_ids.index("hit")] == 9
    assert counts[histories.item_ids.index("other")] == 0
    _, baseline = evaluate(lambda *_: counts * 0.0, histories, split, unwatched)
    assert baseline["mean_reciprocal_rank_at_25"] == 1.0


def test_each_user_may_stop_it() -> None:
    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        evaluate(lambda *_: np.zeros(50), walks(), Split.of(walks(), 0), stop)
