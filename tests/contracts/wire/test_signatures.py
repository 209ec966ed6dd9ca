"""Signature Version 4 through real clients and sockets: what is accepted, and how the rest is refused."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
import urllib3
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from shared.aws import service_model
from tests.contracts.wire.served import KEYS, app_of

((KEY, SECRET),) = KEYS.items()
TARGET = "AmazonPersonalize.ListSchemas"


@pytest.fixture(scope="module")
def urls(serve) -> dict[str, str]:
    return {service: serve(app_of(service, lambda _: {})) for service in service_model.SERVICES}


@pytest.fixture(scope="module")
def url(urls) -> str:
    return urls["personalize"]


def signed(url: str, body: bytes = b"{}", *, secret: str = SECRET, key: str = KEY, **headers: str) -> AWSRequest:
    request = AWSRequest("POST", f"{url}/", headers={"X-Amz-Target": TARGET} | headers, data=body)
    SigV4Auth(Credentials(key, secret), "personalize", "us-east-1").add_auth(request)
    return request


def send(request: AWSRequest, body: bytes | None = None) -> tuple[int, str, str]:
    prepared = request.prepare()
    headers = {name: value for name, value in prepared.headers.items() if name.lower() != "content-length"}
    content = prepared.body if body is None else body
    answer = urllib3.request("POST", prepared.url, body=content, headers=headers, retries=False)
    refusal = answer.json() if answer.status != 200 else {"__type": "", "message": ""}
    return answer.status, refusal["__type"], refusal["message"]


CALLS = {
    "personalize": ("list_schemas", {}),
    "personalize-runtime": ("get_recommendations", {"userId": "größe"}),
    "personalize-events": ("put_events", {"trackingId": "t", "sessionId": "s", "eventList": [{}]}),
}


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "local"])
@pytest.mark.parametrize("service", service_model.SERVICES)
def test_what_boto3_signs_is_accepted(urls, client_of, service, region) -> None:
    method, request = CALLS[service]
    if service == "personalize-events":
        request = request | {"eventList": [{"eventType": "a", "sentAt": datetime.now(UTC)}]}
    answer = getattr(client_of(service, urls[service], region_name=region), method)(**request)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200


@pytest.mark.parametrize("service", service_model.SERVICES)
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"aws_secret_access_key": "wrong"}, "InvalidSignatureException"),
        ({"aws_access_key_id": "UNKNOWN"}, "UnrecognizedClientException"),
        ({"aws_access_key_id": "UNKNOWN", "aws_secret_access_key": "wrong"}, "UnrecognizedClientException"),
    ],
)
def test_other_keys_are_refused(urls, client_of, service, changes, code) -> None:
    method, request = CALLS[service]
    with pytest.raises(ClientError) as caught:
        getattr(client_of(service, urls[service], **changes), method)(**request)
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_an_unsigned_client_is_refused(url, client_of) -> None:
    from botocore import UNSIGNED
    from botocore.config import Config

    client = client_of("personalize", url, config=Config(signature_version=UNSIGNED))
    with pytest.raises(ClientError, match="Missing Authentication Token") as caught:
        client.list_schemas()
    assert caught.value.response["Error"]["Code"] == "MissingAuthenticationTokenException"


def test_the_signature_is_looked_at_before_anything_else(url, client_of) -> None:
    with pytest.raises(ClientError) as caught:
        client_of("personalize", url, aws_secret_access_key="wrong").list_schemas(maxResults="many")
    assert caught.value.response["Error"]["Code"] == "InvalidSignatureException"


def test_a_plain_signed_request_is_accepted(url) -> None:
    assert send(signed(url))[0] == 200


def test_a_session_token_that_is_signed_changes_nothing(url, client_of) -> None:
    client = client_of("personalize", url, aws_session_token="stale")
    assert client.list_schemas()["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_a_changed_body_is_refused(url) -> None:
    assert send(signed(url), b'{"maxResults":1}')[:2] == (403, "InvalidSignatureException")


def test_a_changed_body_is_refused_though_its_old_hash_is_stated(url) -> None:
    """botocore's signer takes the header's word for it; a server must not."""
    request = signed(url, **{"X-Amz-Content-SHA256": hashlib.sha256(b"{}").hexdigest()})
    assert send(request)[0] == 200
    assert send(request, b'{"maxResults":1}')[:2] == (403, "InvalidSignatureException")


@pytest.mark.parametrize("hash_", ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "", "ü"])
def test_an_unsigned_payload_is_refused(url, hash_) -> None:
    status, code, message = send(signed(url, **{"X-Amz-Content-SHA256": hash_}))
    assert (status, code) == (403, "InvalidSignatureException")
    assert "X-Amz-Content-SHA256" in message


def test_a_changed_target_is_refused(url) -> None:
    request = signed(url)
    request.headers.replace_header("X-Amz-Target", "AmazonPersonalize.ListSolutions")
    assert send(request)[:2] == (403, "InvalidSignatureException")


def test_a_target_that_was_added_unsigned_is_refused(url) -> None:
    request = AWSRequest("POST", f"{url}/", data=b"{}")
    SigV4Auth(Credentials(KEY, SECRET), "personalize", "us-east-1").add_auth(request)
    request.headers["X-Amz-Target"] = TARGET
    status, code, message = send(request)
    assert (status, code) == (403, "InvalidSignatureException")
    assert "x-amz-target" in message


def test_a_signed_call_cannot_go_to_another_host(url) -> None:
    request = signed(url)
    request.headers["Host"] = "another.example"
    assert send(request)[:2] == (403, "InvalidSignatureException")


def test_a_query_that_was_added_is_refused(url) -> None:
    request = signed(url)
    request.url += "?a=1"
    assert send(request)[:2] == (403, "InvalidSignatureException")


def test_a_query_that_was_signed_is_accepted(url) -> None:
    request = AWSRequest("POST", f"{url}/?b=2&a=%2F+x", headers={"X-Amz-Target": TARGET}, data=b"{}")
    SigV4Auth(Credentials(KEY, SECRET), "personalize", "us-east-1").add_auth(request)
    assert send(request)[0] == 200


def test_a_presigned_query_is_refused(url) -> None:
    request = AWSRequest("POST", f"{url}/", headers={"X-Amz-Target": TARGET}, data=b"{}")
    SigV4QueryAuth(Credentials(KEY, SECRET), "personalize", "us-east-1").add_auth(request)
    assert "X-Amz-Signature" in request.url
    assert send(request)[:2] == (403, "MissingAuthenticationTokenException")


@pytest.mark.parametrize(
    "header", ["User-Agent", "Expect-Not", "X-Amzn-Trace-Id", "Content-Type", "amz-sdk-request", "x-custom"]
)
def test_a_header_that_the_client_chose_to_sign_counts(url, header) -> None:
    """The JavaScript SDK signs headers that botocore's own list leaves out."""

    class SignsAll(SigV4Auth):
        def headers_to_sign(self, request):
            chosen = super().headers_to_sign(request)
            if header.lower() not in chosen:
                chosen[header.lower()] = request.headers[header]
            return chosen

    request = AWSRequest("POST", f"{url}/", headers={"X-Amz-Target": TARGET, header: "a  b"}, data=b"{}")
    SignsAll(Credentials(KEY, SECRET), "personalize", "us-east-1").add_auth(request)
    assert header.lower() in request.headers["Authorization"]
    assert send(request)[0] == 200
    request.headers.replace_header(header, "c")
    assert send(request)[:2] == (403, "InvalidSignatureException")


@pytest.mark.parametrize(
    ("minutes", "words"),
    [(-5.5, "Signature expired"), (-60 * 24, "Signature expired"), (5.5, "Signature not yet current")],
)
def test_a_clock_that_is_off_is_told_the_servers_time(url, monkeypatch, minutes, words) -> None:
    now = datetime.now(UTC)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: now + timedelta(minutes=minutes))
    status, code, message = send(signed(url))
    assert (status, code) == (403, "InvalidSignatureException")
    assert words in message
    assert f"{now:%Y%m%dT%H%M}" in message
    assert "5 min." in message


@pytest.mark.parametrize("minutes", [-4.5, 4.5])
def test_a_clock_that_is_nearly_right_is_accepted(url, monkeypatch, minutes) -> None:
    now = datetime.now(UTC)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: now + timedelta(minutes=minutes))
    assert send(signed(url))[0] == 200


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", "IncompleteSignatureException"),
        ("AWS4-HMAC-SHA256 ", "Bearer ", "IncompleteSignatureException"),
        ("Credential=", "Who=", "IncompleteSignatureException"),
        ("SignedHeaders=", "Headers=", "IncompleteSignatureException"),
        ("Signature=", "Signature=zz", "IncompleteSignatureException"),
        ("Signature=", "Signatur=", "IncompleteSignatureException"),
        ("/aws4_request", "", "IncompleteSignatureException"),
        (f"{KEY}/", "/", "IncompleteSignatureException"),
        ("/us-east-1/", "/US EAST/", "IncompleteSignatureException"),
        ("/us-east-1/", "/us-east-2/", "InvalidSignatureException"),
        ("/personalize/", "/s3/", "InvalidSignatureException"),
        (f"{KEY}/20", f"{KEY}/19", "InvalidSignatureException"),
        ("SignedHeaders=host;", "SignedHeaders=", "InvalidSignatureException"),
        ("SignedHeaders=host;", "SignedHeaders=host;absent;", "InvalidSignatureException"),
    ],
)
def test_a_garbled_authorization_is_refused(url, old, new, code) -> None:
    request = signed(url)
    authorization = request.headers["Authorization"]
    assert old in authorization
    request.headers.replace_header("Authorization", authorization.replace(old, new, 1))
    status, answered, message = send(request)
    assert (status, answered) == (403, code)
    assert message


@pytest.mark.parametrize("authorization", ["AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 ,,,===", "x" * 7000, "\xff\xfe"])
def test_noise_for_an_authorization_is_refused(url, authorization) -> None:
    answer = urllib3.request("POST", url, headers={"Authorization": authorization, "X-Amz-Target": TARGET})
    assert answer.status == 403
    assert answer.json()["__type"] == "IncompleteSignatureException"


@pytest.mark.parametrize("date", [None, "", "now", "2026-01-01T00:00:00Z", "20261341T000000Z", "ü"])
def test_a_date_that_is_none_is_refused(url, date) -> None:
    request = signed(url)
    del request.headers["X-Amz-Date"]
    if date is not None:
        request.headers["X-Amz-Date"] = date
    assert send(request)[:2] == (403, "IncompleteSignatureException")


def test_pings_need_no_signature(url) -> None:
    answer = urllib3.request("GET", f"{url}/ping")
    assert (answer.status, answer.json()) == (200, {"service": "personalize"})


def test_without_keys_everyone_is_let_in(serve, client_of) -> None:
    client = client_of("personalize", serve(app_of("personalize", lambda _: {}, keys=None)))
    assert client.list_schemas()["ResponseMetadata"]["HTTPStatusCode"] == 200
