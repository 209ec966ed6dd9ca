"""Next-Best-Action: which actions are targets, what may be shown, how it is measured, and the HRNN behind it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from shared.data.arrays.histories import Histories, TooLittleData
from shared.recipes import RECIPES
from shared.recipes.distribution import NEVER, hide_items
from shared.recipes.evaluation import Split
from shared.recipes.next_best_action.evaluation import evaluate_actions, find_queries
from shared.recipes.next_best_action.rules import ActionRules
from shared.recipes.next_best_action.scoring import Scorer
from shared.recipes.next_best_action.training import find_targets
from shared.recipes.scoring_api import Past, Query
from tests.recipes.runs import planned, train
from tests.recipes.synthetic import histories_of, training_data

RECIPE = RECIPES["aws-next-best-action"]
DAY = 86_400
TYPES = ["not taken", "taken", "viewed"]
NOT, TAKEN, VIEWED = range(3)


def typed(sequences: dict[str, list[tuple[str, int]]], types: dict[str, list[int]]) -> Histories:
    """Actions and days; the types of each user's interactions."""
    histories = histories_of({user: [(id_, day * DAY) for id_, day in rows] for user, rows in sequences.items()})
    flat = [type_ for user in sorted(sequences) for type_ in types[user]]
    return replace(histories, event_types=np.array(flat, np.int16), event_type_names=TYPES)


def habits(users: int = 30, days: int = 10) -> Histories:
    """Everybody takes the actions in turn, after having viewed one at random; days apart as the user is fond of."""
    rng = np.random.default_rng(0)
    sequences, types = {}, {}
    for user in range(users):
        start, gap = rng.integers(5), 1 + (user % 2) * 9
        rows = [
            [(f"a{rng.integers(5)}", 2 * day * gap), (f"a{(start + day) % 5}", (2 * day + 1) * gap)]
            for day in range(days)
        ]
        sequences[f"u{user:02}"] = [row for pair in rows for row in pair]
        types[f"u{user:02}"] = [VIEWED, TAKEN] * days
    return typed(sequences, types)


def test_it_is_declared_as_aws_does() -> None:
    assert RECIPE.resolve_parameters(None) == {"action_optimization_period": "14"}
    assert (RECIPE.recipe_type, RECIPE.feature_transformation_arn) == ("PERSONALIZED_ACTIONS", None)
    assert RECIPE.default_parameters == {"action_optimization_period": "14"}
    for value in ("6", "29"):
        with pytest.raises(ValueError, match=r"must lie in \[7, 28\]"):
            RECIPE.resolve_parameters({"featureTransformationParameters": {"action_optimization_period": value}})


def test_actions_taken_within_the_period_are_the_targets() -> None:
    data = typed(
        {"u": [("a", 0), ("b", 1), ("a", 2), ("c", 9), ("c", 30)], "v": [("a", 300), ("b", 307)]},
        {"u": [VIEWED, TAKEN, NOT, TAKEN, TAKEN], "v": [TAKEN, TAKEN]},
    )
    assert find_targets(data, 7 * DAY).tolist() == [False, True, False, True, False, True, True]
    assert find_targets(data, 28 * DAY).tolist() == [False, True, False, True, True, True, True]


def test_without_an_action_taken_there_is_nothing_to_learn() -> None:
    viewed = typed({"u": [("a", 0), ("b", 20)]}, {"u": [VIEWED, VIEWED]})
    with pytest.raises(TooLittleData, match=r"No action was taken within 7 days .* raise action_optimization_period"):
        find_targets(viewed, 7 * DAY)
    with pytest.raises(TooLittleData, match="of event type Taken"):
        find_targets(replace(viewed, event_type_names=["not taken", "took", "viewed"]), 7 * DAY)


def test_only_what_was_taken_within_the_period_is_asked_for() -> None:
    data = typed(
        {"u": [("a", 0), *((f"b{n % 4}", n) for n in range(1, 12)), ("x", 11), ("c", 40)], "v": [("a", 0), ("a", 1)]},
        {"u": [TAKEN] * 12 + [VIEWED, TAKEN], "v": [TAKEN, VIEWED]},
    )
    targets_E = find_targets(data, 28 * DAY) | (data.event_types == TAKEN)
    users = np.arange(2)
    # Twelve count behind the first of "u"; the newest two are to be found, and "v" took nothing after its first.
    for days, found in ((28, ["b3"]), (29, ["b3", "c"])):
        events_Q, wanted = find_queries(data, users, targets_E, days * DAY)
        assert events_Q.tolist() == [11]
        assert [[data.item_ids[item] for item in items] for items in wanted] == [found]


def test_metrics_are_by_action_and_without_anybody_to_ask_none() -> None:
    data = habits()
    targets_E = find_targets(data, 28 * DAY)
    split = Split.draw(data, 0)

    def knows(events_Q: np.ndarray, count: int) -> np.ndarray:
        taken_Q = data.items[events_Q]
        return (taken_Q[:, None] + np.arange(count)) % 5

    found, popular = evaluate_actions(knows, data, split, targets_E, DAY)
    assert found["recall_at_5"] == popular["recall_at_5"] == found["normalized_discounted_cumulative_gain_at_5"] == 1
    assert popular["normalized_discounted_cumulative_gain_at_5"] < 1
    assert found.keys() == popular.keys() >= {"coverage", "precision_at_5", "precision_at_10", "precision_at_25"}
    assert "mean_reciprocal_rank_at_25" not in found
    nobody, _ = evaluate_actions(knows, data, replace(split, test=split.test[:0]), targets_E, DAY)
    assert set(nobody.values()) == {0.0}


def test_what_expired_or_was_just_taken_is_hidden_and_the_others_share_the_rest() -> None:
    data = replace(
        training_data(histories_of({"u": [("a", 0), ("b", 0), ("c", 0), ("d", 0)]})),
        item_expires=np.array([-1, 100, 300, -1]),
        item_repeats=np.array([np.nan, np.nan, 1, 2]),
    )
    rules = ActionRules.from_data(data)
    assert rules.find_hidden(100, []).tolist() == [False, True, False, False]
    just = [(0, 200.0), (2, 200.0), (3, 200.0)]
    assert rules.find_hidden(250, just).tolist() == [False, True, True, True]
    assert rules.find_hidden(200 + DAY, just).tolist() == [False, True, True, True]  # c has expired
    assert rules.find_hidden(200 + 2 * DAY, just).tolist() == [False, True, True, False]
    scores = np.array([0.5, 0.25, 0.25, 0.0], np.float32)
    for hidden, left in (
        ([True, False, False, False], [NEVER, 0.5, 0.5, 0.0]),
        ([True, True, True, False], [NEVER, NEVER, NEVER, 1.0]),
        ([True] * 4, [NEVER] * 4),
        ([False] * 4, scores.tolist()),
    ):
        assert hide_items(scores.copy(), np.array(hidden)).tolist() == left


def test_the_period_decides_what_is_learnt_and_the_rules_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned(monkeypatch, epochs=1)
    data = replace(training_data(habits()), item_expires=np.array([-1, 1000, -1, -1, -1]))
    shares = []
    for days in ("7", "28"):
        trained, artifact = train(tmp_path / days, data, RECIPE, parameters={"action_optimization_period": days})
        assert trained.metrics["recall_at_25"] == 1
        shares.append(np.load(artifact / "popularity.npy"))
        assert orjson.loads((artifact / "model.json").read_bytes())["parameters"]["action_optimization_period"] == days
    assert not np.allclose(*shares)
    scorer = Scorer.load(artifact)
    stranger, known = (scorer.scores(Query(now=2000, history=history)) for history in ([], [Past("a0", 500, "taken")]))
    assert stranger[1] == known[1] == NEVER
    assert known[known >= 0].sum() == pytest.approx(1, abs=1e-5)
    assert not np.allclose(stranger, known)
    assert scorer.scores(Query(now=999))[1] > 0


def test_what_was_viewed_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned(monkeypatch, epochs=1)
    scorer = Scorer.load(train(tmp_path, training_data(habits()), RECIPE)[1])
    viewed, taken = (
        scorer.scores(Query(now=2000, history=[Past("a0", 500, event_type)])) for event_type in ("viewed", "taken")
    )
    assert not np.allclose(viewed, taken)
