"""AWS's protocol: who is tested, who validates, what is the input, what is to be found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shared.data.histories import TooLittleData
from shared.recipes import evaluation
from shared.recipes.evaluation import LEAST_VALIDATION_USERS, Split, evaluate, popularity, without_validation
from tests.recipes.synthetic import histories_of, walks

NDCG = "normalized_discounted_cumulative_gain_at_25"
NOBODY = np.zeros(0, np.int64)


def test_a_tenth_of_the_users_is_tested_on_and_nobody_is_in_two_parts() -> None:
    split = Split.of(walks(users=200), seed=0)
    assert len(split.test) == 20
    assert len(split.validation) == round(evaluation.VALIDATION_SHARE * 180)
    assert sorted([*split.train, *split.validation, *split.test]) == list(range(200))
    assert all((np.diff(part) > 0).all() for part in (split.train, split.validation, split.test))


def test_the_same_seed_gives_the_same_users() -> None:
    one, again, other = (Split.of(walks(users=200), seed) for seed in (1, 1, 2))
    for name in ("train", "validation", "test"):
        assert getattr(one, name).tolist() == getattr(again, name).tolist()
        assert getattr(one, name).tolist() != getattr(other, name).tolist()


def test_with_few_users_all_but_the_tested_are_trained_on() -> None:
    split = Split.of(walks(users=20), seed=0)
    assert len(split.validation) == 0
    assert len(split.train) == 18
    fewest = round(LEAST_VALIDATION_USERS / evaluation.VALIDATION_SHARE)
    for users in (fewest // 2, fewest):
        train, validation = without_validation(np.arange(users), np.random.default_rng(0))
        assert len(validation) == (LEAST_VALIDATION_USERS if users == fewest else 0)
        assert sorted([*train, *validation]) == list(range(users))


def test_of_very_many_users_a_fixed_number_validates() -> None:
    _, validation = without_validation(np.arange(100_000), np.random.default_rng(0))
    assert len(validation) == evaluation.MOST_VALIDATION_USERS


def test_users_with_one_event_are_not_tested_and_excluded_users_are_nowhere() -> None:
    sequences = {f"single{n:03}": [("x", 1)] for n in range(150)}
    sequences |= {"robot": [("x", 1), ("y", 2)], "a": [("x", 1), ("y", 2)], "b": [("x", 1), ("y", 2)]}
    histories = histories_of(sequences, excluded=("robot",))
    robot = histories.user_ids.index("robot")
    for seed in range(5):
        split = Split.of(histories, seed)
        assert {histories.user_ids[user] for user in split.test} < {"a", "b"}
        assert robot not in [*split.train, *split.validation, *split.test]
        assert len(split.validation) > 0


def test_nobody_left_to_learn_from_is_too_little_data() -> None:
    with pytest.raises(TooLittleData, match="Fewer than 2 users"):
        Split.of(histories_of({"a": [("x", 1), ("y", 2)], "b": [("x", 1)]}), seed=0)


@pytest.mark.parametrize(("length", "held_out"), [(2, 1), (9, 1), (10, 1), (11, 2), (20, 2), (21, 3)])
def test_the_newest_tenth_rounded_up_is_held_out(length: int, held_out: int) -> None:
    """The model is asked once, for the user of the first event held out, at its moment."""
    sequence = [(f"i{number:02}", 100 * number) for number in range(length)]
    histories = histories_of({"a": sequence, "b": sequence, "c": sequence})
    asked: list[tuple[list[int], int]] = []

    def recommend(events: Any, count: int) -> Any:
        asked.append((events.tolist(), count))
        newest = np.arange(length - held_out, length)
        return np.tile(newest, (len(events), 1))

    split = Split(train=np.array([0]), validation=NOBODY, test=np.array([1, 2]))
    found, _ = evaluate(recommend, histories, split)
    assert asked == [([2 * length - held_out, 3 * length - held_out], 25)]
    assert found[NDCG] == 1.0
    assert found["precision_at_5"] == pytest.approx(held_out / 5)


def test_a_perfect_answer_scores_one_and_a_wrong_one_nothing() -> None:
    histories = walks(users=20, events=40, items=50)
    split = Split.of(histories, 0)

    def perfect(events: Any, count: int) -> Any:
        rows = []
        for event in events:
            end = histories.offsets[np.searchsorted(histories.offsets, event, side="right")]
            held_out = np.unique(histories.items[event:end])
            rows.append([*held_out, *np.setdiff1d(np.arange(50), held_out)][:count])
        return np.array(rows)

    def wrong(events: Any, count: int) -> Any:
        rows = []
        for event in events:
            end = histories.offsets[np.searchsorted(histories.offsets, event, side="right")]
            rows.append(np.setdiff1d(np.arange(50), histories.items[event:end])[:count])
        return np.array(rows)

    metrics, baseline = evaluate(perfect, histories, split)
    assert metrics[NDCG] == metrics["mean_reciprocal_rank_at_25"] == 1.0
    assert 0.0 < baseline[NDCG] < 1.0
    metrics, _ = evaluate(wrong, histories, split)
    assert set(metrics.values()) == {0.0, metrics["coverage"]}


def test_an_item_of_the_input_may_be_found_again() -> None:
    histories = histories_of({"a": [("x", 1), ("y", 2)], "b": [("x", 1), ("y", 2), ("x", 3)]})
    split = Split(train=np.array([0]), validation=NOBODY, test=np.array([1]))
    metrics, _ = evaluate(lambda events, _: np.zeros((len(events), 1), np.int64), histories, split)
    assert metrics["mean_reciprocal_rank_at_25"] == 1.0


def test_the_baseline_recommends_what_the_users_not_tested_took_most() -> None:
    sequences = {f"u{n}": [("hit", 1), (f"i{n}", 2)] for n in range(9)}
    sequences["z"] = [("other", 1), ("hit", 2)]
    histories = histories_of(sequences)
    split = Split(train=np.array([0]), validation=np.arange(1, 9), test=np.array([9]))
    counts = popularity(histories, np.arange(9))
    assert counts[histories.item_ids.index("hit")] == 9
    assert counts[histories.item_ids.index("other")] == 0
    _, baseline = evaluate(lambda events, _: np.zeros((len(events), 1), np.int64), histories, split)
    assert baseline["mean_reciprocal_rank_at_25"] == 1.0


def test_a_catalogue_of_one_item_has_metrics() -> None:
    histories = histories_of({"a": [("x", 1), ("x", 2)], "b": [("x", 1), ("x", 2)]})
    metrics, baseline = evaluate(
        lambda events, _: np.zeros((len(events), 1), np.int64), histories, Split.of(histories, 0)
    )
    assert metrics == baseline
    assert metrics[NDCG] == metrics["coverage"] == 1.0
