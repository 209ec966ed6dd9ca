"""Requests for help with a batch job: as many as there are free shards and idle workers."""

from __future__ import annotations

from typing import Any

import pytest
import redis
import redis.exceptions

from shared.jobs.celery_app import MessageQueue, create_celery_app
from shared.settings import Settings
from shared.state.messages import HelpBatchJob, RunBatchInference
from shared.store.memory import MemoryStore
from workers.inference import help_requests
from workers.inference.help_requests import HelpRequests

ARN = "arn:aws:personalize:us-east-1:000000000000:batch-inference-job/j"


@pytest.fixture
def queue(redis_server: str) -> MessageQueue:
    redis.Redis.from_url(redis_server).flushall()
    return MessageQueue(create_celery_app(Settings(redis_url=redis_server)))


@pytest.fixture
def store() -> MemoryStore:
    """Three inference workers are alive, one of which asks."""
    store = MemoryStore()
    for name in ("inference@a:1", "inference@a:2", "inference@b:1", "training@a:3"):
        store.send_heartbeat(name, 60)
    return store


def requests(store: Any, redis_server: str) -> HelpRequests:
    return HelpRequests(ARN, store, Settings(redis_url=redis_server))


@pytest.mark.parametrize(("free", "sent"), [(0, 0), (1, 1), (2, 2), (9, 2)])
def test_each_other_worker_is_asked_once_for_a_free_shard(
    store: MemoryStore, queue: MessageQueue, redis_server: str, free: int, sent: int
) -> None:
    asking = requests(store, redis_server)
    asking.request_help(free)
    asking.request_help(free)  # so soon that it is not asked again
    assert queue.count_waiting("inference") == sent


def test_nobody_is_asked_while_messages_wait_and_again_after_a_while(
    store: MemoryStore, queue: MessageQueue, redis_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(help_requests, "EVERY", 0.0)
    for _ in range(2):
        queue.send(RunBatchInference(arn=ARN))
    asking = requests(store, redis_server)
    asking.request_help(9)
    assert queue.count_waiting("inference") == 2
    redis.Redis.from_url(redis_server).flushall()
    asking.request_help(9)
    assert queue.count_waiting("inference") == 2
    assert HelpBatchJob(arn=ARN).get_queue_name() == "inference"


def test_a_worker_alone_asks_nobody(queue: MessageQueue, redis_server: str) -> None:
    store = MemoryStore()
    store.send_heartbeat("inference@a:1", 60)
    requests(store, redis_server).request_help(9)
    assert queue.count_waiting("inference") == 0


def test_an_outage_of_redis_costs_the_help_alone(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    requests(store, "redis://127.0.0.1:1/0").request_help(9)

    def fail() -> list[str]:
        raise redis.exceptions.ConnectionError("away")

    monkeypatch.setattr(store, "list_live_processes", fail)
    requests(store, "redis://127.0.0.1:1/0").request_help(9)
