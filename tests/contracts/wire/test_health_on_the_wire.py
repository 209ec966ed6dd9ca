"""What is counted and logged of requests, and what an HTTP process answers beside its operations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from flask.testing import FlaskClient
from prometheus_client import REGISTRY
from werkzeug.test import TestResponse

from shared.aws import errors, service_model
from shared.http import app
from shared.observability.health import HEALTH_PATHS, HealthEndpoints

ARN = "arn:aws:personalize:us-east-1:000000000000"


def answering(call: app.Call) -> dict[str, Any]:
    structlog.get_logger().info("at work")
    if call.operation.startswith("Delete"):
        raise errors.ResourceInUse("Not now.")
    return {"campaignArn": f"{ARN}:campaign/made"} if call.operation == "CreateCampaign" else {}


@pytest.fixture
def well() -> dict[str, bool]:
    return {"redis": True}


@pytest.fixture
def client(well: dict[str, bool]) -> FlaskClient:
    offered = {"personalize": dict.fromkeys(service_model.load_operations("personalize"), answering)}
    health = HealthEndpoints("api", ready={"redis": lambda: well["redis"]})
    return app.create_app(offered, keys=None, health=health).test_client()


@pytest.fixture
def runtime() -> FlaskClient:
    offered = {"personalize-runtime": dict.fromkeys(service_model.load_operations("personalize-runtime"), answering)}
    return app.create_app(offered, keys=None).test_client()


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as entries:
        yield entries


def call(client: FlaskClient, operation: str, headers: dict[str, str] | None = None, **members: Any) -> TestResponse:
    target = {"X-Amz-Target": f"AmazonPersonalize.{operation}"}
    return client.post("/", json=members, headers=target | (headers or {}))


def counted(operation: str, status: int = 200, error: str = "", service: str = "personalize") -> float:
    labels = {"service": service, "operation": operation, "status": str(status), "error": error}
    return REGISTRY.get_sample_value("foretaste_requests_total", labels) or 0.0


def test_it_lives_and_is_ready(client: FlaskClient, well: dict[str, bool]) -> None:
    assert (client.get("/healthz").status_code, client.get("/readyz").status_code) == (200, 200)
    well["redis"] = False
    assert (client.get("/healthz").status_code, client.get("/readyz").status_code) == (200, 503)
    assert client.get("/readyz").json == {"service": "api", "checks": {"redis": False}}


def test_prometheus_is_answered_in_its_own_form(client: FlaskClient) -> None:
    call(client, "ListSchemas")
    answer = client.get("/metrics")
    assert answer.content_type.startswith("text/plain; version=0.0.4")
    assert (
        b'foretaste_requests_total{error="",operation="ListSchemas",service="personalize",status="200"}' in answer.data
    )


@pytest.mark.parametrize("path", HEALTH_PATHS)
def test_an_app_without_checks_of_its_own_answers_too(runtime: FlaskClient, path: str) -> None:
    assert runtime.get(path).status_code == 200
    refused = runtime.post(path)
    assert (refused.status_code, refused.headers["x-amzn-ErrorType"]) == (405, "UnknownOperationException")


def test_a_request_is_counted_by_how_it_was_answered(client: FlaskClient) -> None:
    before = counted("DeleteSchema", 400, "ResourceInUseException"), counted("ListRecipes")
    call(client, "DeleteSchema", schemaArn=f"{ARN}:schema/a")
    call(client, "ListRecipes")
    assert (counted("DeleteSchema", 400, "ResourceInUseException"), counted("ListRecipes")) == (
        before[0] + 1,
        before[1] + 1,
    )
    seconds = {"service": "personalize", "operation": "ListRecipes"}
    assert (REGISTRY.get_sample_value("foretaste_request_seconds_count", seconds) or 0) >= 1


def test_what_a_client_makes_up_is_no_label(client: FlaskClient) -> None:
    before = counted("unknown", 400, "UnknownOperationException"), counted("unknown", 404, "UnknownOperationException")
    call(client, "MakeMeRich")
    client.post("/made/up")
    assert (
        counted("unknown", 400, "UnknownOperationException"),
        counted("unknown", 404, "UnknownOperationException"),
    ) == (before[0] + 1, before[1] + 1)
    assert b"MakeMeRich" not in client.get("/metrics").data


@pytest.mark.parametrize("path", ["/ping", *HEALTH_PATHS])
def test_who_looks_every_few_seconds_is_not_logged(client: FlaskClient, logged: list[Any], path: str) -> None:
    client.get(path)
    assert logged == []


def test_a_log_line_says_who_asked_what_about_which_resource(client: FlaskClient, logged: list[Any]) -> None:
    sent = {"amz-sdk-request": "attempt=2; max=5"}
    answer = call(client, "DeleteSchema", sent, schemaArn=f"{ARN}:schema/a")
    at_work, request = logged
    assert at_work["request_id"] == request["request_id"] == answer.headers["x-amzn-RequestId"]
    told = {name: request[name] for name in ("access_key", "operation", "arn", "attempt", "status", "error")}
    assert told == {
        "access_key": "unsigned",
        "operation": "DeleteSchema",
        "arn": f"{ARN}:schema/a",
        "attempt": 2,
        "status": 400,
        "error": "ResourceInUseException",
    }


@pytest.mark.parametrize(
    ("operation", "members", "arn"),
    [
        ("ListSchemas", {}, None),
        ("DescribeCampaign", {"campaignArn": f"{ARN}:campaign/a"}, f"{ARN}:campaign/a"),
        # What is made says more than what it is made of.
        ("CreateCampaign", {"name": "made", "solutionVersionArn": f"{ARN}:solution/s/1"}, f"{ARN}:campaign/made"),
        ("DescribeFilter", {"filterArn": f"{ARN}:filter/a"}, f"{ARN}:filter/a"),
        ("CreateDatasetGroup", {"name": "a", "roleArn": "arn:aws:iam::000000000000:role/a"}, None),
    ],
)
def test_the_arn_is_that_of_what_the_call_is_about(
    client: FlaskClient, logged: list[Any], operation: str, members: dict[str, Any], arn: str | None
) -> None:
    assert call(client, operation, **members).status_code == 200
    assert logged[-1]["arn"] == arn
    assert logged[-1]["attempt"] is None


@pytest.mark.parametrize("member", ["campaignArn", "recommenderArn"])
def test_a_recommendation_is_about_what_gives_it(runtime: FlaskClient, logged: list[Any], member: str) -> None:
    members = {"filterArn": f"{ARN}:filter/f", member: f"{ARN}:campaign/a", "userId": "u"}
    assert runtime.post("/recommendations", data=json.dumps(members)).status_code == 200
    assert logged[-1]["arn"] == f"{ARN}:campaign/a"
