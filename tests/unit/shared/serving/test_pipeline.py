"""The lists of answers: the best items that are allowed, and rankings of given ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.recipes import RECIPES
from shared.recipes.distribution import NEVER
from shared.recipes.scoring_api import ExplainedScores, Query
from shared.serving.candidate_mask import CandidateSelection
from shared.serving.pipeline import (
    build_rows,
    find_best_allowed,
    list_actions,
    list_items,
    list_ranking,
    mask_items,
    rank_given_items,
    rank_items,
    recommend_actions,
    recommend_items,
)
from tests.unit.services.runtime_world import Runtime
from tests.unit.shared.serving.filter_world import ACTIONS, DRAMA, RANKING, UP


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30), st.integers(0, 40))
def test_the_best_items_come_first_and_ties_by_id(scores: list[float], wanted: int) -> None:
    ids = [f"i{number:02}" for number in range(len(scores))]
    array = np.array(scores, np.float32)
    listed = build_rows(ids.__getitem__, array, find_best_allowed(array, wanted, None), shows_scores=True)
    assert len(listed) == min(wanted, len(scores))
    order = sorted(zip((-score for score in scores), ids, strict=True))
    assert [row["itemId"] for row in listed] == [item for _, item in order[:wanted]]
    assert [row["score"] for row in listed] == pytest.approx([-score for score, _ in order[:wanted]], abs=1e-7)
    hidden = build_rows(ids.__getitem__, array, find_best_allowed(array, wanted, None), shows_scores=False)
    assert hidden == [{"itemId": row["itemId"]} for row in listed]


def test_what_is_never_shown_leaves_room_for_nothing() -> None:
    scores = np.array([0.5, NEVER, 0.5, 0.0], np.float32)
    assert find_best_allowed(scores, 3, None).tolist() == find_best_allowed(scores, 9, None).tolist() == [0, 2, 3]


def test_what_is_not_allowed_is_not_shown_and_ties_stay_by_id() -> None:
    scores = np.array([0.2, 0.5, NEVER, 0.2, 0.1], np.float32)
    assert find_best_allowed(scores, 2, np.array([True, False, True, True, True])).tolist() == [0, 3]
    assert find_best_allowed(scores, 9, np.array([True, False, True, True, True])).tolist() == [0, 3, 4]
    assert find_best_allowed(scores, 9, np.array([False, False, True, False, False])).tolist() == []
    assert find_best_allowed(scores, 0, np.ones(5, np.bool_)).tolist() == []


@pytest.mark.parametrize("share", [0.9, 0.2, 0.01, 0.0])
def test_of_many_items_the_best_that_are_allowed_are_found(share: float) -> None:
    rng = np.random.default_rng(5)
    scores = rng.integers(0, 5_000, 10_000).astype(np.float32)  # many are equal
    scores[rng.random(10_000) < 0.1] = NEVER
    allowed = rng.random(10_000) < share
    order = [item for item in np.argsort(-scores, kind="stable").tolist() if allowed[item] and scores[item] >= 0]
    for wanted in (0, 1, 25, 500):
        assert find_best_allowed(scores, wanted, allowed).tolist() == order[:wanted]


def test_a_ranking_is_a_softmax_over_the_given_items_with_the_unknown_behind() -> None:
    scores = np.array([0.2, 0.5, 0.1, 0.2], np.float32)
    assert rank_given_items("abcd", scores, ["?", "c", "d", "c", "a", "0", "?"]) == [
        {"itemId": "a", "score": 0.4},
        {"itemId": "d", "score": 0.4},
        {"itemId": "c", "score": 0.2},
        {"itemId": "?"},
        {"itemId": "0"},
    ]
    assert rank_given_items("abcd", scores, ["e"]) == [{"itemId": "e"}]
    assert rank_given_items("abcd", scores, []) == []
    assert [row["score"] for row in rank_given_items("ab", np.zeros(2, np.float32), ["b", "a"])] == [0.5, 0.5]


# Scores that a batch job has computed for many users


@pytest.mark.parametrize("expression", [None, DRAMA, 'EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("*")'])
def test_a_row_of_the_scores_of_many_users_is_listed_as_a_request_is(runtime: Runtime, expression: str | None) -> None:
    filters = {"filterArn": runtime.filter(expression)} if expression else {}
    queries = [Query(now=1.0, user_id=user) for user in ("u", "v", "w")]
    models = {recipe: runtime.model(recipe) for recipe in (UP, RANKING, ACTIONS)}
    all_scores = np.stack([models[UP].score_items(query) for query in queries])
    for query, scores in zip(queries, all_scores, strict=True):
        found = ExplainedScores(scores, scores, popular=False)
        selections = {
            recipe: CandidateSelection(runtime.filters, model, {"userId": query.user_id, **filters})
            for recipe, model in models.items()
            if recipe is not ACTIONS or not filters
        }
        items = list_items(models[UP], found, mask_items(selections[UP]), 3)
        assert items == recommend_items(models[UP], query, selections[UP], 3) != []
        given = ["?", "c", "a"]
        ranking = list_ranking(models[RANKING], found, given, selections[RANKING].filter_items(given))
        assert ranking == rank_items(models[RANKING], query, selections[RANKING], given)
        if ACTIONS in selections:
            actions = list_actions(models[ACTIONS], scores, None, 2)
            assert actions == recommend_actions(models[ACTIONS], query, selections[ACTIONS], 2) != []


def test_a_list_holds_the_scores_of_the_model(runtime: Runtime) -> None:
    model = runtime.model(RECIPES["aws-hrnn"])
    rows = recommend_items(model, Query(now=1.0), CandidateSelection(runtime.filters, model, {}), 2)
    assert rows == [{"itemId": "a", "score": 0.3}, {"itemId": "b", "score": 0.25}]
