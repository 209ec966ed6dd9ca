"""All 79 operations: what the service model allows passes, and every fault that it forbids is refused."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from shared.aws import service_model
from shared.http import app
from tests.contracts.wire.generated_requests import faults, full, minimal
from tests.contracts.wire.served import app_of

OPERATIONS = [
    operation for service in service_model.SERVICES for operation in service_model.load_operations(service).values()
]
IDS = [operation.name for operation in OPERATIONS]


@pytest.fixture(scope="module")
def clients() -> dict[str, FlaskClient]:
    return {service: app_of(service, lambda _: {}, keys=None).test_client() for service in service_model.SERVICES}


def post(client: FlaskClient, operation: service_model.Operation, request: object) -> tuple[int, str | None, str]:
    headers = {"X-Amz-Target": f"AmazonPersonalize.{operation.name}"}
    answer = client.post(operation.path, json=request, headers=headers)
    return answer.status_code, answer.headers.get("x-amzn-ErrorType"), answer.text


def test_there_are_79_of_them() -> None:
    assert [len(service_model.load_operations(service)) for service in service_model.SERVICES] == [71, 3, 5]


@pytest.mark.parametrize("operation", OPERATIONS, ids=IDS)
@pytest.mark.parametrize("make", [minimal, full])
def test_a_valid_request_passes(clients, operation, make) -> None:
    assert post(clients[operation.service], operation, make(operation.input))[:2] == (200, None)


@pytest.mark.parametrize("operation", OPERATIONS, ids=IDS)
def test_every_fault_is_refused_under_its_name(clients, operation) -> None:
    request = full(operation.input)
    wrong = [
        (fault, answer)
        for fault in faults(operation.input)
        if (answer := post(clients[operation.service], operation, fault.applied(request)))[:2] != (400, fault.code)
    ]
    assert wrong == []


def test_the_faults_are_many() -> None:
    """The test above would pass on an empty list."""
    assert sum(1 for operation in OPERATIONS for _ in faults(operation.input)) > 3000


@pytest.mark.parametrize("operation", OPERATIONS, ids=IDS)
def test_an_operation_without_a_handler_says_so(operation) -> None:
    client = app.create_app({operation.service: {}}, keys=None).test_client()
    status, code, text = post(client, operation, minimal(operation.input))
    assert (status, code) == (400, "UnsupportedOperationException")
    assert operation.name in text
    assert "docs/operations.md" in text


def test_a_handler_for_an_operation_that_does_not_exist_is_a_mistake() -> None:
    with pytest.raises(KeyError, match="CreateEverything"):
        app.create_app({"personalize": {"CreateEverything": lambda _: {}}}, keys=None)
