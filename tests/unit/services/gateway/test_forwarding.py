"""The requests that the gateway forwards and refuses, and how it changes them and their answers."""

from __future__ import annotations

import pytest

from tests.unit.services.gateway.scripted_upstream import assert_refused


@pytest.mark.parametrize(
    ("target", "service"),
    [
        ("/", "api"),
        ("/recommendations", "runtime"),
        ("/recommendations?a=1", "runtime"),
        ("/personalize-ranking", "runtime"),
        ("/action-recommendations", "runtime"),
        ("/events", "events"),
        ("/items", "events"),
        ("/users", "events"),
        ("/actions", "events"),
        ("/action-interactions", "events"),
    ],
)
def test_the_path_decides(call, upstreams, target, service) -> None:
    assert call(target=target).status_code == 200
    assert [name for name, upstream in upstreams.items() if upstream.requests] == [service]


@pytest.mark.parametrize(
    "target",
    ["/anything", "/events/", "//events", "/%65vents", "/./events", "/Events", "/a%20b/../events", "/events;a"],
)
def test_an_unknown_path_is_refused_here(call, upstreams, target) -> None:
    content = assert_refused(call(target=target, data=b"x" * 2_000_000), "UnknownOperationException", 404)
    assert content["message"] == f"There is no operation at POST {target}."
    assert [upstream.requests for upstream in upstreams.values()] == [[], [], []]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_the_method_and_the_raw_target_pass(call, upstreams, method) -> None:
    call(method, "/?a=%20b/../c%2Fd&x=%e4&y+z=%C3%BC:@!$'()*,;&&=")
    ((_, request),) = upstreams["api"].requests
    assert request.startswith(f"{method} /?a=%20b/../c%2Fd&x=%e4&y+z=%C3%BC:@!$'()*,;&&= HTTP/1.1\r\n".encode())


def test_the_answer_to_head_has_no_body(call, upstreams) -> None:
    upstreams["api"].script = [b"HTTP/1.1 405 No\r\nContent-Length: 77\r\n\r\n"]
    answer = call("HEAD")
    assert (answer.status_code, answer.data, answer.headers["Content-Length"]) == (405, b"", "77")


def test_headers_and_body_pass_as_they_came(call, upstreams) -> None:
    sent = {
        "Host": "personalize.example:8000",
        "Authorization": "AWS4-HMAC-SHA256 Credential=…".encode().decode("latin-1"),
        "X-Amz-Target": "AmazonPersonalize.ListSchemas",
        "Content-Type": "application/x-amz-json-1.1",
        "User-Agent": "Boto3/1",
    }
    call(headers=sent, data=b'{"a":"\xff"}')
    ((_, request),) = upstreams["api"].requests
    head, _, body = request.partition(b"\r\n\r\n")
    for name, value in sent.items():
        assert f"{name}: {value}".encode("latin-1") in head
    assert body == b'{"a":"\xff"}'


def test_nothing_is_added_and_hop_by_hop_headers_stay_behind(call, upstreams) -> None:
    call(
        headers={
            "Connection": "keep-alive, X-Secret",
            "Keep-Alive": "timeout=5",
            "X-Secret": "1",
            "TE": "trailers",
            "Upgrade": "h2c",
            "Expect": "100-continue",
            "Proxy-Authorization": "Basic a",
            "X-Kept": "1",
        }
    )
    ((_, request),) = upstreams["api"].requests
    names = {line.partition(b":")[0].lower() for line in request.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]}
    assert names == {b"host", b"x-kept", b"content-length"}


def test_a_chunked_body_goes_on_with_its_length(call, upstreams) -> None:
    call(data=iter([b"{}" * 2500, b"{}" * 2500]))
    ((_, request),) = upstreams["api"].requests
    assert b"content-length: 10000" in request.lower()
    assert b"chunked" not in request.lower()
    assert request.endswith(b"{}" * 5000)


def test_the_answer_passes_as_it_came(call, upstreams) -> None:
    upstreams["api"].script = [
        b"HTTP/1.1 409 Whatever\r\nServer: inner\r\nDate: never\r\nConnection: keep-alive\r\nX-A: 1\r\nX-A: 2\r\n"
        b"Content-Type: a/b\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
    ]
    answer = call()
    assert (answer.status_code, answer.data) == (409, b"abc")
    assert answer.headers.get_all("X-A") == ["1", "2"]
    assert set(answer.headers.keys()) == {
        "X-A",
        *("Content-Type", "Content-Encoding", "Content-Length"),
        "Date",
        "Server",
    }
    assert (answer.headers.get_all("Server"), "never" in answer.headers.get_all("Date")) == (["foretaste"], False)


def test_connections_are_kept(call, upstreams) -> None:
    for _ in range(5):
        call()
    assert {number for number, _ in upstreams["api"].requests} == {1}


def test_a_body_that_is_too_large_is_refused_here(call, upstreams) -> None:
    assert_refused(call(data=b"x" * 5_000_000), "RequestEntityTooLargeException", 413)
    assert upstreams["api"].requests == []


@pytest.mark.parametrize("target", ["http://elsewhere.example/", "http://elsewhere.example/events"])
def test_a_target_that_is_no_path_is_refused(call, upstreams, target) -> None:
    assert_refused(call(target=target), "UnknownOperationException", 400)
    assert upstreams["api"].requests == []


def test_the_form_of_a_refusal_is_the_services_own(call) -> None:
    assert call(data=b"x" * 2_000_000).headers["Content-Type"] == "application/x-amz-json-1.1"
    assert call(target="/events", data=b"x" * 2_000_000).headers["Content-Type"] == "application/json"
