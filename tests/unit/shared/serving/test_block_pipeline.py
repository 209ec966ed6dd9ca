"""A block of queries is answered as each of them is alone, and one that cannot be answered does not affect the rest."""

from __future__ import annotations

import pytest

from shared.aws.errors import InvalidInput
from shared.recipes.scoring_api import Query
from shared.serving.block_pipeline import choose_block_size, rank_block, recommend_actions_block, recommend_block
from shared.serving.candidate_mask import CandidateSelection
from shared.serving.pipeline import rank_items, recommend_actions, recommend_items
from tests.unit.services.runtime_world import Runtime
from tests.unit.shared.serving.filter_world import ACTIONS, RANKING, UP

USERS = ("u", "v", "stranger")


def test_scorers_without_blocks_are_asked_one_by_one(runtime: Runtime) -> None:
    queries = [Query(now=1.0, user_id=user) for user in USERS]
    model = runtime.model(UP)
    selections = [CandidateSelection(runtime.filters, model, {"userId": query.user_id}) for query in queries]
    assert recommend_block(model, queries, selections, 2) == [
        recommend_items(model, query, selection, 2) for query, selection in zip(queries, selections, strict=True)
    ]
    model = runtime.model(RANKING)
    given = [["c", "?", "a"], ["b"], ["a", "b"]]
    assert rank_block(model, queries, selections, given) == [
        rank_items(model, query, selection, items)
        for query, selection, items in zip(queries, selections, given, strict=True)
    ]
    model = runtime.model(ACTIONS)
    assert recommend_actions_block(model, queries, selections, 2) == [
        recommend_actions(model, query, selection, 2) for query, selection in zip(queries, selections, strict=True)
    ]


def test_a_query_that_cannot_be_answered_has_an_error_and_the_rest_their_lists(runtime: Runtime) -> None:
    filter_arn = runtime.filter('EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("*")')
    model = runtime.model(UP)
    queries = [Query(now=1.0, user_id=user) for user in USERS]
    requests = [{"userId": user, "filterArn": filter_arn} for user in ("u", "", "stranger")]
    selections = [CandidateSelection(runtime.filters, model, request) for request in requests]
    first, refused, last = recommend_block(model, queries, selections, 2)
    assert first == recommend_items(model, queries[0], selections[0], 2)
    assert last == recommend_items(model, queries[2], selections[2], 2)
    assert isinstance(refused, InvalidInput)
    with pytest.raises(InvalidInput, match="userId is required by the filter") as alone:
        recommend_items(model, queries[1], selections[1], 2)
    assert refused.message == alone.value.message


def test_a_block_fits_its_memory(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    model = runtime.model(UP)
    assert choose_block_size(model, 1) == 512
    monkeypatch.setattr(model, "count_block_bytes", lambda _query: 2**18)
    assert choose_block_size(model, 1) == 4
    assert choose_block_size(model, 64) == 256
    monkeypatch.setattr(model, "count_block_bytes", lambda _query: 2**30)
    assert choose_block_size(model, 1) == 1
