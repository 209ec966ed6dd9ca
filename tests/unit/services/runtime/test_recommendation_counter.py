"""The recommendations of a campaign are counted for the metric attribution of its group, each once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis

from services.runtime import app
from services.runtime.recommendation_counter import RecommendationCounter
from shared.http.app import Call
from shared.recipes import RECIPES
from shared.resources.metric_attribution.metrics import build_attribution_claim, find_bucket
from shared.serving.recommendation_ids import digest_endpoint, read_endpoint_digest
from shared.state.lifecycle import ACTIVE
from shared.store import Record
from shared.store.memory import MemoryStore
from tests.unit.services.runtime_world import GROUP, PREFIX, Runtime

ARN = f"{PREFIX}:metric-attribution/m"
CAMPAIGN = f"{PREFIX}:campaign/c"


def attribute(store: MemoryStore) -> None:
    record = Record(
        arn=ARN,
        kind="metric_attribution",
        status=ACTIVE,
        created=1.0,
        updated=1.0,
        claims=(build_attribution_claim(GROUP),),
    )
    store.create(record, invocation="m")


def test_every_answer_of_a_runtime_is_counted_and_named_in_its_id(tmp_path: Path) -> None:
    runtime = Runtime(tmp_path)
    attribute(runtime.store)
    handlers = app.create_handlers(runtime.serving_)

    def ask(operation: str, **request: Any) -> str:
        answer = handlers[operation](Call(operation=operation, request=request, request_id="", invocation=""))
        assert isinstance(answer, dict)
        return str(answer["recommendationId"])

    hrnn, recommender = runtime.serving(RECIPES["aws-hrnn"]), runtime.serving(RECIPES["aws-ecomm-recommended-for-you"])
    ranking = runtime.serving(RECIPES["aws-personalized-ranking"])
    ids = {
        hrnn: [ask("GetRecommendations", campaignArn=hrnn, userId="u") for _ in range(3)],
        recommender: [ask("GetRecommendations", recommenderArn=recommender, userId="u")],
        ranking: [ask("GetPersonalizedRanking", campaignArn=ranking, userId="u", inputList=["a", "b"])],
    }
    ask("GetRecommendations", campaignArn=hrnn, userId="u", numResults=0)
    for endpoint, given in ids.items():
        assert {read_endpoint_digest(each) for each in given} == {digest_endpoint(endpoint)}
    runtime.serving_.counter.send_counts(runtime.store)
    runtime.serving_.counter.send_counts(runtime.store)
    assert runtime.store.list_recommendation_totals(ARN) == {hrnn: 3, recommender: 1, ranking: 1}


def test_counts_are_by_quarter_of_an_hour_and_those_of_other_groups_are_dropped() -> None:
    store, counter = MemoryStore(), RecommendationCounter()
    now = store.now()
    counter.count_answer("another group", CAMPAIGN, now)
    counter.send_counts(store)
    attribute(store)
    for at in (now, now, now + 900):
        counter.count_answer(GROUP, CAMPAIGN, at)
    counter.count_answer("another group", CAMPAIGN, now)
    counter.send_counts(store)
    bucket = find_bucket(now)
    assert store.list_recommendations(ARN, bucket, bucket + 1800) == {
        (CAMPAIGN, bucket): 2,
        (CAMPAIGN, bucket + 900): 1,
    }


def test_counts_whose_acknowledgement_is_lost_are_sent_again_and_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    store, counter = MemoryStore(), RecommendationCounter()
    attribute(store)
    send = store.count_recommendations

    def send_and_lose(*given: Any, **more: Any) -> None:
        send(*given, **more)
        raise redis.exceptions.ConnectionError

    monkeypatch.setattr(store, "count_recommendations", send_and_lose)
    counter.count_answer(GROUP, CAMPAIGN, store.now())
    for _ in range(2):
        with pytest.raises(redis.exceptions.ConnectionError):
            counter.send_counts(store)
        counter.count_answer(GROUP, CAMPAIGN, store.now())
    monkeypatch.setattr(store, "count_recommendations", send)
    counter.send_counts(store)
    assert store.list_recommendation_totals(ARN) == {CAMPAIGN: 1}
    counter.send_counts(store)
    assert store.list_recommendation_totals(ARN) == {CAMPAIGN: 3}
