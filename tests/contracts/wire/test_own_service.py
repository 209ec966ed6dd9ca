"""foretaste's own service beside AWS's control plane: two services at one address, told apart by X-Amz-Target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import botocore.session
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from flask.testing import FlaskClient

from shared.aws import errors, service_model
from shared.http import app as web
from tests.contracts.wire.generated_requests import faults, full
from tests.contracts.wire.served import KEYS

ARN = "arn:aws:personalize:us-east-1:000000000000:solution/a/0a1b2c3d"
TRIAL = {"trialArn": f"{ARN}/000", "number": 0, "curve": [{"epoch": 1, "gain": 0.1, "seconds": 2.5}]}


def list_trials(call: web.Call) -> dict[str, Any]:
    if call.request["solutionVersionArn"] != ARN:
        raise errors.ResourceNotFound("No such version.")
    return {"trials": [TRIAL]}


def app(keys: Any = KEYS) -> Any:
    handlers = {
        "personalize": {"ListSchemas": lambda _: {"schemas": []}},
        service_model.OWN_SERVICE: {"ListTrials": list_trials},
    }
    return web.create_app(handlers, keys=keys)


@pytest.fixture(scope="module")
def url(serve) -> str:
    return serve(app())


@pytest.fixture(scope="module")
def unsigned() -> Iterator[FlaskClient]:
    with app(keys=None).test_client() as client:
        yield client


def client(url: str, **changes: Any) -> Any:
    """What anybody may do with botocore and the model's folder."""
    core = botocore.session.Session()
    core.get_component("data_loader").search_paths.append(str(service_model.MODELS))
    ((key, secret),) = KEYS.items()
    settings = {"region_name": "us-east-1", "aws_access_key_id": key, "aws_secret_access_key": secret}
    return boto3.Session(botocore_session=core).client(
        service_model.OWN_SERVICE, endpoint_url=url, **settings | changes
    )


def test_a_client_with_the_model_calls_it(url) -> None:
    assert client(url).list_trials(solutionVersionArn=ARN)["trials"] == [TRIAL]


def test_its_errors_are_caught_by_their_names(url) -> None:
    ours = client(url)
    with pytest.raises(ours.exceptions.ResourceNotFoundException, match="No such version"):
        ours.list_trials(solutionVersionArn=f"{ARN}0")


def test_awss_operations_are_answered_beside_it(url, client_of) -> None:
    assert client_of("personalize", url).list_schemas()["schemas"] == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"config": Config(signature_version=UNSIGNED)}, "MissingAuthenticationTokenException"),
        ({"aws_secret_access_key": "wrong"}, "InvalidSignatureException"),
    ],
)
def test_it_stands_behind_the_same_signature(url, changes, code) -> None:
    with pytest.raises(ClientError) as caught:
        client(url, **changes).list_trials(solutionVersionArn=ARN)
    assert caught.value.response["Error"]["Code"] == code


def sent(unsigned: FlaskClient, target: str, body: Any = None) -> tuple[int, str | None, str]:
    answer = unsigned.post("/", json={} if body is None else body, headers={"X-Amz-Target": target})
    assert answer.headers["Content-Type"] == "application/x-amz-json-1.1"
    return answer.status_code, answer.headers.get("x-amzn-ErrorType"), answer.text


@pytest.mark.parametrize(
    ("target", "right"),
    [
        ("Foretaste.ListSchemas", "foretaste: Foretaste."),
        ("Foretaste", "foretaste: Foretaste."),
        ("AmazonPersonalize.ListTrials", "personalize: AmazonPersonalize."),
        ("foretaste.ListTrials", "personalize: AmazonPersonalize."),
        ("", "personalize: AmazonPersonalize."),
    ],
)
def test_a_target_of_neither_is_told_what_is_right(unsigned, target, right) -> None:
    status, code, text = sent(unsigned, target)
    assert (status, code) == (400, "UnknownOperationException")
    assert f"X-Amz-Target must name an operation of {right}<operation>." in text


def test_it_is_checked_by_its_model(unsigned) -> None:
    shape = service_model.load_operations(service_model.OWN_SERVICE)["ListTrials"].input
    wrong = [(fault.code, fault.applied(full(shape))) for fault in faults(shape)]
    assert len(wrong) > 3
    for code, request in wrong:
        assert sent(unsigned, "Foretaste.ListTrials", request)[:2] == (400, code)
