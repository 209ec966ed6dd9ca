"""Whatever is thrown at a service, it answers in AWS's form: JSON, with a code, a message and a request id."""

from __future__ import annotations

import json
import socket

import pytest
from botocore.exceptions import ClientError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.http import request_body
from tests.contracts.wire.served import app_of

APPS = {
    "personalize": app_of("personalize", lambda _: {}, keys=None),
    "personalize-events": app_of("personalize-events", lambda _: {}, keys=None),
}
TARGET = {"X-Amz-Target": "AmazonPersonalize.CreateSolution"}
ARN = "arn:aws:personalize:us-east-1:000000000000:dataset-group/a"


def send(service: str, method: str, path: str, **request) -> tuple[int, str]:
    answer = APPS[service].test_client().open(path, method=method, **request)
    assert answer.headers["Content-Type"] in ("application/x-amz-json-1.1", "application/json")
    assert len(answer.headers["x-amzn-RequestId"]) == 36
    if answer.status_code == 200:
        return 200, ""
    if method != "HEAD":
        content = json.loads(answer.data)
        assert set(content) == {"__type", "message"}
        assert content["message"]
        assert content["__type"] == answer.headers["x-amzn-ErrorType"]
    return answer.status_code, answer.headers["x-amzn-ErrorType"]


@pytest.mark.parametrize(
    ("service", "method", "path", "status"),
    [
        ("personalize", "GET", "/", 405),
        ("personalize", "HEAD", "/", 405),
        ("personalize", "PUT", "/", 405),
        ("personalize", "OPTIONS", "/", 405),
        ("personalize", "DELETE", "/", 405),
        ("personalize", "POST", "/ping", 405),
        ("personalize", "POST", "/events", 404),
        ("personalize", "GET", "/favicon.ico", 404),
        ("personalize", "POST", "/%00", 404),
        ("personalize", "POST", "/../../etc/passwd", 404),
        ("personalize", "POST", "/%ff%fe", 404),
        ("personalize-events", "GET", "/events", 405),
        ("personalize-events", "POST", "/", 404),
        ("personalize-events", "POST", "/events/", 404),
        ("personalize-events", "POST", "/items//", 404),
        ("personalize-events", "POST", "/Events", 404),
    ],
)
def test_what_is_not_there_is_an_unknown_operation(service, method, path, status) -> None:
    assert send(service, method, path) == (status, "UnknownOperationException")


def test_a_wrong_method_says_which_is_right() -> None:
    assert APPS["personalize"].test_client().get("/").headers["Allow"] == "POST"


@pytest.mark.parametrize(
    "target",
    [
        "",
        "CreateSolution",
        "AmazonPersonalize.createSolution",
        "AmazonPersonalize.PutEvents",
        "AmazonPersonalize.CreateSolution.",
        "AmazonPersonalize.__class__",
        "DynamoDB_20120810.ListTables",
        "x" * 4000,
    ],
)
def test_a_wrong_target_is_an_unknown_operation(target) -> None:
    headers = {"X-Amz-Target": target}
    assert send("personalize", "POST", "/", headers=headers) == (400, "UnknownOperationException")


def test_without_a_target_it_is_an_unknown_operation() -> None:
    assert send("personalize", "POST", "/", data=b"{}") == (400, "UnknownOperationException")


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"{",
        b"{}{}",
        b"[]",
        b'"a"',
        b"null",
        b"1",
        b" ",
        b"\x00",
        b"\xff\xfe{\x00}\x00",
        b'{"name":"\xff"}',
        b'{"name":"\xed\xa0\x80"}',
        b'{"name":"\\ud800"}',
        b'{"name":"a\x00b"}',
        b'{"name":NaN}',
        b'{"name":Infinity}',
        b'{"name":1e999}',
        b'{"name":' + b"9" * 5000 + b"}",
        b"\xef\xbb\xbf{}",
        b"{'name':'a'}",
        b'{"name":"a",}',
        b'{"name":' + b"[" * 100_000,
        b'{"name":' + b"[" * 1000 + b"]" * 1000 + b"}",
        b'{"x":' * 2000 + b"1" + b"}" * 2000,
        b'{"name":"a","name":5,"datasetGroupArn":"x"}',
    ],
)
def test_a_body_that_is_no_request_is_a_serialization_error(body) -> None:
    assert send("personalize", "POST", "/", headers=TARGET, data=body) == (400, "SerializationException")


def test_of_a_key_that_comes_twice_the_last_counts() -> None:
    seen = []
    app = app_of("personalize", lambda call: seen.append(call.request), keys=None)
    headers = {"X-Amz-Target": "AmazonPersonalize.DescribeDatasetGroup"}
    body = f'{{"datasetGroupArn":5,"datasetGroupArn":"{ARN}"}}'
    assert app.test_client().post("/", data=body, headers=headers).status_code == 200
    assert seen == [{"datasetGroupArn": ARN}]


def test_an_unknown_member_may_be_deep_and_changes_nothing() -> None:
    body = b'{"name":"a","datasetGroupArn":"%s","x":%s1%s}' % (ARN.encode(), b"[" * 900, b"]" * 900)
    assert send("personalize", "POST", "/", headers=TARGET, data=body) == (200, "")


def test_nul_in_a_text_is_refused() -> None:
    body = b'{"trackingId":"t","sessionId":"a\\u0000b","eventList":[{"eventType":"a","sentAt":1}]}'
    assert send("personalize-events", "POST", "/events", data=body) == (400, "ValidationException")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
MEMBERS = ["name", "datasetGroupArn", "solutionConfig", "tags", "performHPO", "hpoConfig", "autoTrainingConfig"]
named = st.recursive(
    json_values,
    lambda inner: st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=5) | st.lists(inner, max_size=3),
    max_leaves=10,
)


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_bytes_never_make_a_500(body) -> None:
    assert send("personalize", "POST", "/", headers=TARGET, data=body)[0] == 400


@given(named)
@example({"name": "a", "datasetGroupArn": "x" * 10_000, "tags": [{"tagKey": "\ud800"}]})
@settings(max_examples=300, deadline=None)
def test_json_never_makes_a_500(value) -> None:
    body = json.dumps(value).encode()
    assert send("personalize", "POST", "/", headers=TARGET, data=body)[0] in (200, 400)
    assert send("personalize-events", "POST", "/events", data=body)[0] == 400


@given(st.dictionaries(st.sampled_from(["eventList", "sentAt", "eventValue", "impression"]), json_values))
@settings(max_examples=200, deadline=None)
def test_events_of_any_kind_never_make_a_500(event) -> None:
    body = json.dumps({"trackingId": "t", "sessionId": "s", "eventList": [event]}).encode()
    assert send("personalize-events", "POST", "/events", data=body)[0] == 400


@pytest.mark.parametrize("size", [request_body.MAX_BODY_BYTES + 1, 5_000_000])
def test_a_body_that_is_too_large_is_answered(serve, client_of, size) -> None:
    """The client must be able to finish sending before it hears: else it sees a broken connection."""
    client = client_of("personalize", serve(app_of("personalize", lambda _: {})))
    with pytest.raises(ClientError) as caught:
        client.create_schema(name="a", schema="x" * size)
    assert caught.value.response["Error"]["Code"] == "RequestEntityTooLargeException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413


def test_a_body_within_the_limit_is_read_whole() -> None:
    """Ten items of 32,000 characters is the largest request that is valid."""
    items = [{"itemId": "a", "properties": "x" * 32_000} for _ in range(10)]
    body = json.dumps({"datasetArn": ARN, "items": items})
    assert send("personalize-events", "POST", "/items", data=body) == (200, "")


def test_a_chunked_body_that_is_too_large_is_answered(serve) -> None:
    host, port = serve(app_of("personalize", lambda _: {}, keys=None)).removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(20):
            connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        connection.sendall(b"0\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"RequestEntityTooLargeException" in answer
