"""What a handler gets when a real client sends."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.aws import service_model
from tests.contracts.wire.served import app_of

ARN = "arn:aws:personalize:us-east-1:000000000000:schema/a"


@pytest.fixture(scope="module")
def calls() -> list:
    return []


@pytest.fixture(scope="module")
def clients(serve, client_of, calls):
    def handler(call):
        calls.append(call)

    return {service: client_of(service, serve(app_of(service, handler))) for service in service_model.SERVICES}


def test_a_nested_request_arrives_whole(clients, calls) -> None:
    request = {
        "name": "a",
        "datasetGroupArn": ARN,
        "solutionConfig": {
            "algorithmHyperParameters": {"hidden_dimension": "43"},
            "hpoConfig": {
                "algorithmHyperParameterRanges": {
                    "continuousHyperParameterRanges": [{"name": "a", "minValue": 0.1, "maxValue": 1}]
                }
            },
        },
        "tags": [{"tagKey": "Größe", "tagValue": ""}],
    }
    clients["personalize"].create_solution(**request)
    assert calls[-1].operation == "CreateSolution"
    assert calls[-1].request == request


def test_times_are_epoch_seconds(clients, calls) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    event = {"eventType": "watch", "sentAt": at, "properties": '{"a": 1}'}
    clients["personalize-events"].put_events(trackingId="t", sessionId="s", eventList=[event])
    (sent,) = calls[-1].request["eventList"]
    assert sent["sentAt"] == at.timestamp()
    assert isinstance(sent["properties"], str)


def test_a_request_without_members_is_empty(clients, calls) -> None:
    clients["personalize"].list_schemas()
    assert calls[-1].request == {}


@pytest.mark.parametrize("body", [b"", b"{}", b'{"nextToken":null,"futureMember":{"a":[1]}}'])
def test_null_and_unknown_members_are_absent(body) -> None:
    seen = []
    app = app_of("personalize", lambda call: seen.append(call.request), keys=None)
    headers = {"X-Amz-Target": "AmazonPersonalize.ListSchemas"}
    assert app.test_client().post("/", data=body, headers=headers).status_code == 200
    assert seen == [{}]


@pytest.mark.parametrize("sent", [None, "", "a b", "x" * 65, "a/b", "ü"])
def test_an_invocation_id_that_is_none_gets_a_fresh_one(sent) -> None:
    seen = []
    app = app_of("personalize", lambda call: seen.append(call.invocation), keys=None)
    headers = {"X-Amz-Target": "AmazonPersonalize.ListSchemas"} | (
        {"amz-sdk-invocation-id": sent} if sent is not None else {}
    )
    for _ in range(2):
        assert app.test_client().post("/", headers=headers).status_code == 200
    assert len({*seen}) == 2
    assert all(invocation.startswith("unsigned/") for invocation in seen)
