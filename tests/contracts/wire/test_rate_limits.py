"""Rate limits, as boto3 meets them: it waits and tries again, and its user sees nothing of it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from botocore.config import Config
from botocore.exceptions import ClientError
from flask import Flask

from shared.aws import service_model
from shared.http import app
from shared.http.rate_limits import create_throttle, find_rate_group
from shared.settings import Settings, SettingsError
from tests.conftest import free_port
from tests.contracts.wire.served import KEYS

ARN = "arn:aws:personalize:us-east-1:000000000000:dataset/g/USERS"
CALLS: dict[str, Callable[[Any], Any]] = {
    "personalize": lambda client: client.list_recipes(),
    "personalize-runtime": lambda client: client.get_recommendations(userId="u"),
    "personalize-events": lambda client: client.put_users(datasetArn=ARN, users=[{"userId": "u"}]),
}
RATES = ("rate_limit_control", "rate_limit_runtime", "rate_limit_events", "rate_limit_records")


@pytest.fixture
def redis_url(redis_server: str) -> str:
    redis.Redis.from_url(redis_server).flushall()
    return redis_server


def limited(service: str, redis_url: str, **rates: str) -> Flask:
    held = create_throttle(Settings(redis_url=redis_url, **rates))
    handlers = dict.fromkeys(
        service_model.load_operations(service), lambda call: {"recipes": []} if service == "personalize" else {}
    )
    return app.create_app({service: handlers}, keys=KEYS, throttle=held)


def all_limited(service: str, redis_url: str, rate: str) -> Flask:
    return limited(service, redis_url, **dict.fromkeys(RATES, rate))


@pytest.mark.parametrize(
    ("service", "status"), [("personalize", 400), ("personalize-runtime", 429), ("personalize-events", 429)]
)
def test_one_call_too_many_is_refused(serve, client_of, redis_url: str, service: str, status: int) -> None:
    client = client_of(service, serve(all_limited(service, redis_url, "2/hour")))
    for _ in range(2):
        CALLS[service](client)
    with pytest.raises(ClientError, match=r"Rate exceeded: .* at 2/hour") as caught:
        CALLS[service](client)
    assert caught.value.response["Error"]["Code"] == "ThrottlingException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


@pytest.mark.parametrize(
    ("service", "mode"), [*zip(service_model.SERVICES, ["legacy", "standard", "standard"], strict=True)]
)
def test_boto3_tries_again_and_gets_through(serve, client_of, redis_url: str, service: str, mode: str) -> None:
    config = Config(retries={"mode": mode, "total_max_attempts": 10})
    client = client_of(service, serve(all_limited(service, redis_url, "2/second")), config=config)
    answers = (CALLS[service](client)["ResponseMetadata"] for _ in range(20))
    tried_again = next(answer for answer in answers if answer["RetryAttempts"])
    assert tried_again["HTTPStatusCode"] == 200


def test_processes_count_together_and_access_keys_apart(serve, client_of, redis_url: str) -> None:
    servers = [serve(limited("personalize", redis_url, rate_limit_control="1/hour")) for _ in range(2)]
    client_of("personalize", servers[0]).list_recipes()
    with pytest.raises(ClientError, match="Rate exceeded"):
        client_of("personalize", servers[1]).list_recipes()
    held = create_throttle(Settings(redis_url=redis_url, rate_limit_control="1/hour"))
    assert held is not None
    held("SOMEBODYELSE", service_model.load_operations("personalize")["ListRecipes"])


def test_a_group_does_not_use_up_what_is_anothers(serve, client_of, redis_url: str) -> None:
    rates = {"rate_limit_events": "1/hour", "rate_limit_records": "2/hour"}
    client = client_of("personalize-events", serve(limited("personalize-events", redis_url, **rates)))
    for _ in range(2):
        CALLS["personalize-events"](client)
    client.put_events(trackingId="t", sessionId="s", eventList=[{"eventType": "a", "sentAt": 1}])
    with pytest.raises(ClientError, match="at 2/hour"):
        CALLS["personalize-events"](client)


def test_a_stranger_uses_nothing_up(serve, client_of, redis_url: str) -> None:
    url = serve(limited("personalize", redis_url, rate_limit_control="1/hour"))
    with pytest.raises(ClientError, match="InvalidSignature"):
        client_of("personalize", url, aws_secret_access_key="wrong").list_recipes()
    client_of("personalize", url).list_recipes()


def test_without_redis_calls_pass_at_once(serve, client_of) -> None:
    gone = f"redis://127.0.0.1:{free_port()}/0"
    client = client_of("personalize", serve(limited("personalize", gone, rate_limit_control="1/hour")))
    began = time.monotonic()
    assert [client.list_recipes()["recipes"] for _ in range(3)] == [[], [], []]
    assert time.monotonic() - began < 5


def test_a_redis_that_hangs_holds_nobody_up(serve, client_of) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        client = client_of("personalize", serve(limited("personalize", url, rate_limit_control="1/hour")))
        began = time.monotonic()
        assert client.list_recipes()["recipes"] == []
        assert time.monotonic() - began < 5


def test_no_more_pass_than_may_when_many_call_at_once(redis_url: str) -> None:
    held = create_throttle(Settings(redis_url=redis_url, rate_limit_runtime="20/hour; 1000/day"))
    assert held is not None
    operation = service_model.load_operations("personalize-runtime")["GetRecommendations"]
    passed: list[int] = []

    def call() -> None:
        for _ in range(10):
            try:
                held("KEY", operation)
            except app.errors.Throttled:
                continue
            passed.append(1)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(passed) == 20


def test_nothing_is_limited_unless_asked_for() -> None:
    assert create_throttle(Settings()) is None
    assert create_throttle(Settings(rate_limit_control="")) is None


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("rate", ["many", "5/fortnight", "-1/second"])
def test_a_rate_that_is_none_is_refused_by_its_setting(name: str, rate: str) -> None:
    with pytest.raises(SettingsError, match=f"FORETASTE_{name.upper()}={rate} is no rate"):
        create_throttle(Settings(**{name: rate}))


@pytest.mark.parametrize(
    ("service", "operation", "expected"),
    [
        ("personalize", "CreateCampaign", "control"),
        (service_model.OWN_SERVICE, "ListTrials", "control"),
        ("personalize-runtime", "GetPersonalizedRanking", "runtime"),
        ("personalize-events", "PutEvents", "events"),
        ("personalize-events", "PutActionInteractions", "events"),
        ("personalize-events", "PutItems", "records"),
        ("personalize-events", "PutActions", "records"),
    ],
)
def test_an_operation_counts_to_its_group(service: str, operation: str, expected: str) -> None:
    assert find_rate_group(service_model.load_operations(service)[operation]) == expected
