"""What Prometheus is told of the state in Redis."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import redis
from prometheus_client.core import CollectorRegistry

from services.api.store_metrics import QUEUES, StoreMetrics
from shared.jobs import celery_app
from shared.settings import Settings
from shared.state import messages
from shared.state.lifecycle import CREATE_PENDING
from shared.store import Store
from shared.store.memory import MemoryStore
from shared.store.redis import RedisStore
from shared.store.redis_probe import RedisProbe
from tests.conftest import free_port
from tests.unit.services.attribution_world import ARN, CAMPAIGN, AttributionWorld, metric
from tests.unit.shared.resources.standing import Standing


@pytest.fixture
def probe(redis_server: str) -> RedisProbe:
    return RedisProbe(redis_server)


def told(store: Store, probe: RedisProbe) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(StoreMetrics(store, len, probe))
    return registry


def test_an_empty_store_is_told_in_zeros(probe: RedisProbe) -> None:
    registry = told(MemoryStore(), probe)
    assert registry.get_sample_value("foretaste_redis_up") == 1
    assert registry.get_sample_value("foretaste_outbox_notes") == 0
    assert registry.get_sample_value("foretaste_moving_resources", {"kind": "solution_version"}) == 0
    assert registry.get_sample_value("foretaste_moving_resources", {"kind": "schema"}) is None


@pytest.mark.parametrize("name", QUEUES)
def test_every_queue_has_its_depth(probe: RedisProbe, name: str) -> None:
    assert told(MemoryStore(), probe).get_sample_value("foretaste_queue_depth", {"queue": name}) == len(name)


def test_what_waits_and_what_moves_is_counted(standing: Standing, probe: RedisProbe) -> None:
    campaign = standing.campaign(standing.version(standing.solution()), status=CREATE_PENDING)
    standing.store.add_to_outbox(celery_app.build_outbox_entry(messages.Remove(arn=campaign)))
    registry = told(standing.store, probe)
    assert registry.get_sample_value("foretaste_outbox_notes") == 1
    assert registry.get_sample_value("foretaste_moving_resources", {"kind": "campaign"}) == 1
    assert registry.get_sample_value("foretaste_model_age_seconds", {"arn": campaign}) is None, "it does not answer yet"


def test_the_age_of_a_model_is_that_of_its_version(standing: Standing, probe: RedisProbe) -> None:
    campaign = standing.campaign(standing.version(standing.solution(), at=time.time() - 3600))
    age = told(standing.store, probe).get_sample_value("foretaste_model_age_seconds", {"arn": campaign})
    assert age == pytest.approx(3600, abs=5)


def test_nothing_is_told_of_a_redis_that_does_not_answer(standing: Standing) -> None:
    began = time.monotonic()
    registry = told(standing.store, RedisProbe(f"redis://127.0.0.1:{free_port()}/0"))
    assert registry.get_sample_value("foretaste_redis_up") == 0
    assert registry.get_sample_value("foretaste_outbox_notes") is None
    assert time.monotonic() - began < 5


def test_it_is_so_in_redis(redis_server: str, probe: RedisProbe) -> None:
    redis.Redis.from_url(redis_server).flushall()
    waiting = celery_app.MessageQueue(celery_app.create_celery_app(Settings(redis_url=redis_server)))
    waiting.send(messages.Remove(arn="arn:aws:personalize:us-east-1:000000000000:schema/a"))
    registry = CollectorRegistry()
    registry.register(StoreMetrics(RedisStore(redis_server), waiting.count_waiting, probe))
    depths = {name: registry.get_sample_value("foretaste_queue_depth", {"queue": name}) for name in QUEUES}
    assert depths == dict.fromkeys(QUEUES, 0) | {messages.Remove.get_queue_name(): 1}
    assert (registry.get_sample_value("foretaste_state_bytes") or 0) > 100_000


def test_the_totals_of_metric_attributions_are_told_by_source(tmp_path: Path, probe: RedisProbe) -> None:
    world = AttributionWorld(tmp_path)
    world.attribute(metric("seconds", "SUM(Interactions.SECONDS)"), metric("old"))
    world.send(source="mail", properties={"seconds": 1.5})
    world.send(source="mail", properties={"seconds": -4})
    world.send(source="mail", sentAt=world.at - 15 * 24 * 3600, properties={"seconds": 9})
    world.sum_up()
    world("UpdateMetricAttribution", metricAttributionArn=ARN, removeMetrics=["old"])
    world.settle()
    world.store.count_recommendations(ARN, {(CAMPAIGN, 900): 2, (CAMPAIGN, 1800): 1}, invocation="1")
    registry = told(world.store, probe)
    labels = {"arn": ARN, "metric": "seconds", "event_type": "Click", "source": "mail"}
    assert registry.get_sample_value("foretaste_attributed_value", labels) == -2.5
    assert registry.get_sample_value("foretaste_attributed_events_total", labels) == 2
    assert registry.get_sample_value("foretaste_attributed_events_total", {**labels, "metric": "old"}) is None
    given = {"arn": ARN, "source": CAMPAIGN}
    assert registry.get_sample_value("foretaste_attributed_recommendations_total", given) == 3
