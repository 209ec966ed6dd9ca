"""AWS's protocol: who is tested, who validates, what is the input, what is to be found."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from shared.data.arrays.histories import Histories, TooLittleData
from shared.recipes import evaluation
from shared.recipes.evaluation import (
    LEAST_VALIDATION_USERS,
    Recommend,
    Split,
    compute_report,
    count_interactions,
    evaluate_recommender,
    recommend_related,
    split_validation,
)
from tests.recipes.synthetic import histories_of, walks

NDCG = "normalized_discounted_cumulative_gain_at_25"
MRR, PRECISION = "mean_reciprocal_rank_at_25", "precision_at_25"
NOBODY = np.zeros(0, np.int64)


def test_a_tenth_of_the_users_is_tested_on_and_nobody_is_in_two_parts() -> None:
    split = Split.draw(walks(users=200), seed=0)
    assert len(split.test) == 20
    assert len(split.validation) == round(evaluation.VALIDATION_SHARE * 180)
    assert sorted([*split.train, *split.validation, *split.test]) == list(range(200))
    assert all((np.diff(part) > 0).all() for part in (split.train, split.validation, split.test))


def test_the_same_seed_gives_the_same_users() -> None:
    one, again, other = (Split.draw(walks(users=200), seed) for seed in (1, 1, 2))
    for name in ("train", "validation", "test"):
        assert getattr(one, name).tolist() == getattr(again, name).tolist()
        assert getattr(one, name).tolist() != getattr(other, name).tolist()


def test_with_few_users_all_but_the_tested_are_trained_on() -> None:
    split = Split.draw(walks(users=20), seed=0)
    assert len(split.validation) == 0
    assert len(split.train) == 18
    fewest = round(LEAST_VALIDATION_USERS / evaluation.VALIDATION_SHARE)
    for users in (fewest // 2, fewest):
        train, validation = split_validation(np.arange(users), np.random.default_rng(0))
        assert len(validation) == (LEAST_VALIDATION_USERS if users == fewest else 0)
        assert sorted([*train, *validation]) == list(range(users))


def test_of_very_many_users_a_fixed_number_validates() -> None:
    _, validation = split_validation(np.arange(100_000), np.random.default_rng(0))
    assert len(validation) == evaluation.MOST_VALIDATION_USERS


def test_users_with_one_event_are_not_tested_and_excluded_users_are_nowhere() -> None:
    sequences = {f"single{n:03}": [("x", 1)] for n in range(150)}
    sequences |= {"robot": [("x", 1), ("y", 2)], "a": [("x", 1), ("y", 2)], "b": [("x", 1), ("y", 2)]}
    histories = histories_of(sequences, excluded=("robot",))
    robot = histories.user_ids.index("robot")
    for seed in range(5):
        split = Split.draw(histories, seed)
        assert {histories.user_ids[user] for user in split.test} < {"a", "b"}
        assert robot not in [*split.train, *split.validation, *split.test]
        assert len(split.validation) > 0


def test_nobody_left_to_learn_from_is_too_little_data() -> None:
    with pytest.raises(TooLittleData, match="Fewer than 2 users"):
        Split.draw(histories_of({"a": [("x", 1), ("y", 2)], "b": [("x", 1)]}), seed=0)


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
    found, _ = evaluate_recommender(recommend, histories, split)
    assert asked == [([2 * length - held_out, 3 * length - held_out], 25)]
    assert found[NDCG] == 1.0
    assert found["precision_at_5"] == pytest.approx(held_out / 5)


def test_a_perfect_answer_scores_one_and_a_wrong_one_nothing() -> None:
    histories = walks(users=20, events=40, items=50)
    split = Split.draw(histories, 0)

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

    metrics, baseline = evaluate_recommender(perfect, histories, split)
    assert metrics[NDCG] == metrics["mean_reciprocal_rank_at_25"] == 1.0
    assert 0.0 < baseline[NDCG] < 1.0
    metrics, _ = evaluate_recommender(wrong, histories, split)
    assert set(metrics.values()) == {0.0, metrics["coverage"]}


def test_an_item_of_the_input_may_be_found_again() -> None:
    histories = histories_of({"a": [("x", 1), ("y", 2)], "b": [("x", 1), ("y", 2), ("x", 3)]})
    split = Split(train=np.array([0]), validation=NOBODY, test=np.array([1]))
    metrics, _ = evaluate_recommender(lambda events, _: np.zeros((len(events), 1), np.int64), histories, split)
    assert metrics["mean_reciprocal_rank_at_25"] == 1.0


def test_the_baseline_recommends_what_the_users_not_tested_took_most() -> None:
    sequences = {f"u{n}": [("hit", 1), (f"i{n}", 2)] for n in range(9)}
    sequences["z"] = [("other", 1), ("hit", 2)]
    histories = histories_of(sequences)
    split = Split(train=np.array([0]), validation=np.arange(1, 9), test=np.array([9]))
    counts = count_interactions(histories, np.arange(9))
    assert counts[histories.item_ids.index("hit")] == 9
    assert counts[histories.item_ids.index("other")] == 0
    _, baseline = evaluate_recommender(lambda events, _: np.zeros((len(events), 1), np.int64), histories, split)
    assert baseline["mean_reciprocal_rank_at_25"] == 1.0


def test_a_catalogue_of_one_item_has_metrics() -> None:
    histories = histories_of({"a": [("x", 1), ("x", 2)], "b": [("x", 1), ("x", 2)]})
    metrics, baseline = evaluate_recommender(
        lambda events, _: np.zeros((len(events), 1), np.int64), histories, Split.draw(histories, 0)
    )
    assert metrics == baseline
    assert metrics[NDCG] == metrics["coverage"] == 1.0


# Our own report


def listing(histories: Histories, *names: str) -> Recommend:
    """Recommends these items to everybody, in this order, then the others."""
    first = [histories.item_ids.index(name) for name in names]
    all_items = np.array([*first, *np.setdiff1d(np.arange(len(histories.item_ids)), first)])
    return lambda events, count: np.tile(all_items[:count], (len(events), 1))


def reported(recommend: Recommend, histories: Histories, split: Split, newest: Any = None) -> dict[str, Any]:
    return compute_report(
        recommend, histories, split, evaluate_recommender(recommend, histories, split, newest_U=newest), newest
    )


def took(sequences: dict[str, str], *test: str) -> tuple[Histories, Split]:
    """Users and the items they took, a letter each; the others are trained on."""
    histories = histories_of(
        {user: [(item, time) for time, item in enumerate(items)] for user, items in sequences.items()}
    )
    numbers = [histories.user_ids.index(user) for user in test]
    others = np.setdiff1d(np.arange(len(sequences)), numbers)
    return histories, Split(train=others, validation=NOBODY, test=np.sort(numbers))


def test_both_views_beside_popularity_and_personal_frequency() -> None:
    """Popular are p, q, r, a, b, in this order. y took a and q and takes a again; z took b, a, a and takes p."""
    histories, split = took({"u": "pqr", "v": "pq", "w": "p", "y": "aqa", "z": "baap"}, "y", "z")
    found = reported(listing(histories, "a", "q", "p"), histories, split)
    raw, unseen = found["raw"], found["unseen"]
    # Places of a for y and of p for z, by the model, by popularity, and of q a and of a b p.
    assert raw["users"] == 2
    assert raw["model"][MRR] == round((1 + 1 / 3) / 2, 4)
    assert raw["popularity"][MRR] == (1 / 4 + 1) / 2
    assert raw["personal_frequency"] == {
        MRR: round((1 / 2 + 1 / 3) / 2, 4),
        NDCG: round((1 / np.log2(3) + 1 / np.log2(4)) / 2, 4),
        PRECISION: 0.04,
    }
    # y took nothing new; z is shown q and p by the model, and p first by the others.
    assert unseen == {
        "users": 1,
        "model": {MRR: 0.5, NDCG: round(1 / np.log2(3), 4), PRECISION: 0.04},
        "popularity": {MRR: 1.0, NDCG: 1.0, PRECISION: 0.04},
        "personal_frequency": {MRR: 1.0, NDCG: 1.0, PRECISION: 0.04},
    }


def test_the_raw_view_is_what_aws_measures() -> None:
    histories = walks(users=60)
    split = Split.draw(histories, 0)
    recommend = listing(histories, "i30", "i07")
    measured = evaluate_recommender(recommend, histories, split)
    raw = compute_report(recommend, histories, split, measured)["raw"]
    for told, metrics in zip((raw["model"], raw["popularity"]), measured, strict=True):
        assert told == {key: metrics[key] for key in (MRR, NDCG, PRECISION)}


def test_only_what_is_new_to_a_user_is_wanted_of_the_unseen() -> None:
    """Of 20 interactions two are held out: one was there before."""
    histories, split = took({"u": "cd", "z": 18 * "a" + "ba", "y": "ab"}, "z")
    unseen = reported(listing(histories, "a", "b"), histories, split)["unseen"]
    assert unseen["model"] == {MRR: 1.0, NDCG: 1.0, PRECISION: 0.04}


def test_where_nobody_takes_anything_new_there_is_no_unseen() -> None:
    histories, split = took({"u": "ab", "y": "aba", "z": "bab"}, "y", "z")
    found = reported(listing(histories, "a"), histories, split)
    assert found["unseen"] is None


@pytest.mark.parametrize("cells", [1, 100, 2**22])
def test_who_has_had_much_is_still_shown_25_that_are_new(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    """One has had 40 of 80 items, another 9: the model knows all that they take next, behind what they had."""
    monkeypatch.setattr(evaluation, "CELLS_AT_ONCE", cells)
    alphabet = [chr(ord("0") + number) for number in range(80)]
    mine = "".join(alphabet)
    histories, split = took({"u": mine, "y": mine[:9] + mine[50], "z": mine[:40] + mine[50:55]}, "y", "z")
    asked: list[int] = []

    def recommend(events: Any, count: int) -> Any:
        asked.append(count)
        wanted_last = [*range(40), *range(50, 55), *range(40, 50), *range(55, 80)]
        return np.tile(wanted_last[:count], (len(events), 1))

    unseen = reported(recommend, histories, split)["unseen"]
    assert unseen["users"] == 2
    # z is shown them first; to y 31 others are as new.
    assert unseen["model"][MRR] == 0.5
    assert asked == ([25, 25 + 40, 25 + 9] if cells < 2**22 else [25, 25 + 40])


def test_a_list_that_ends_early_finds_what_is_in_it() -> None:
    """Of 4 items z has had 2, and what is related to one of these is never itself."""
    histories, split = took({"u": "abcd", "z": "abc", "y": "dc"}, "z")
    recommend = partial(recommend_related, lambda item: -np.abs(np.arange(4, dtype=np.float32) - item), histories)
    assert reported(recommend, histories, split)["unseen"]["model"] == {MRR: 1.0, NDCG: 1.0, PRECISION: 0.04}


def test_the_views_are_of_the_events_that_are_new_where_a_model_is_updated() -> None:
    """Of 20 interactions two would be held out; the newest alone is new, and b is had before it."""
    histories, split = took({"u": "cd", "y": 18 * "a" + "bc"}, "y")
    newest = np.array([0, 1])
    unseen = reported(listing(histories, "b", "c"), histories, split, newest)["unseen"]
    assert unseen["model"][MRR] == 1.0
