"""What clients may send, byte by byte: where a request begins and ends is never in doubt."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from services.gateway.connections import get_peer
from shared.settings import Settings
from tests.conftest import until
from tests.unit.services.gateway.running import Running
from tests.unit.services.gateway.scripted_upstream import ScriptedUpstream

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    upstream = ScriptedUpstream()
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def port(upstream) -> Iterator[int]:
    url = f"http://127.0.0.1:{upstream.port}"
    limits = {"gateway_head_seconds": 0.5, "gateway_body_seconds": 0.5}
    with Running(Settings(api_url=url, runtime_url=url, events_url=url, **limits)) as port:
        yield port


@pytest.fixture(autouse=True)
def _nothing_yet(upstream) -> None:
    upstream.requests.clear()


def answers(port: int, sent: bytes, *, end: bool = False) -> list[tuple[int, bytes]]:
    """All that comes until the gateway closes: statuses and bodies."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(sent)
        if end:
            connection.shutdown(socket.SHUT_WR)
        got = b""
        while more := connection.recv(65536):
            got += more
    found = []
    while got:
        head, _, got = got.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = sum(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        found.append((int(head.split()[1]), got[:length]))
        got = got[length:]
    return found


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        HEAD + b"Content-Length: 2, 2\r\n\r\n{}",
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip, chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length: +2\r\n\r\n{}",
        HEAD + b"Content-Length: 0x2\r\n\r\n{}",
        HEAD + b"Content-Length: 1_0\r\n\r\n0123456789",
        HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n{}",
        HEAD + b"Content-Length:\r\n\r\n{}",
        HEAD + b"Content-Length : 2\r\n\r\n{}",
        HEAD + b"X-A: a\r\n b\r\n\r\n",  # obsolete folding
        HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length:\r\n 2\r\n\r\n{}",
        b"POST / HTTP/1.1\nHost: a\nContent-Length: 2\n\n{}",
        HEAD + b"X-A: a\nX-B: b\r\n\r\n",
        HEAD + b"X-A: a\r\n\n",
        HEAD + b"X-A: a\rX-B: b\r\n\r\n",
        HEAD + b"X-A: a\0b\r\n\r\n",
        HEAD + b"X-A\r\n\r\n",
        HEAD + b"X A: a\r\n\r\n",
        HEAD + b": a\r\n\r\n",
        HEAD + b"X-A: \xe4\r\nConnection: close\r\n\r\n",  # could not go on as it came
        HEAD + b"Host: b\r\n\r\n",
        b"POST / HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /?\xe4 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\r\n\r\n",
        CHUNKED + b"2\n{}\n0\n\n",
        CHUNKED + b"2;a\n{}\r\n0\r\n\r\n",
        CHUNKED + b"2 \r\n{}\r\n0\r\n\r\n",
        CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n",
        CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
        CHUNKED + b"2\r\n{}xx\r\n0\r\n\r\n",
        CHUNKED + b"ffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        CHUNKED + b"2\r\n{}\r\n0\r\nContent-Length: 10\r\n\r\n",
    ],
)
def test_what_is_not_plain_http_is_refused_and_ends_the_connection(port, upstream, sent) -> None:
    ((status, body),) = answers(port, sent + NEXT)
    assert (status, json.loads(body)["__type"]) == (400, "SerializationException")
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("sent", "got"),
    [
        (HEAD + b"Content-Length: 2\r\n\r\n{}", b"{}"),
        (CHUNKED + b"1;a=b\r\n{\r\n1\r\n}\r\n0\r\nX-T: a\r\n\r\n", b"{}"),
        (HEAD + b"Connection: host, content-length\r\nContent-Length: 2\r\n\r\n{}", b"{}"),
        (HEAD + b"Content-Length: 28\r\n\r\nPOST / HTTP/1.1\r\nHost: b\r\n\r\n", b"POST / HTTP/1.1\r\nHost: b\r\n\r\n"),
        (b"POST  /?%zz HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", b"{}"),
    ],
)
def test_one_request_is_one_request_behind_it(port, upstream, sent, got) -> None:
    """Written anew, with one length: whatever the service's parser is, it sees what this one saw."""
    assert [status for status, _ in answers(port, sent + NEXT)] == [200, 404]
    ((_, request),) = upstream.requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert body == got
    assert head.startswith((b"POST / HTTP/1.1\r\nHost: a\r\n", b"POST /?%zz HTTP/1.1\r\nHost: a\r\n"))
    assert b"content-length: %d" % len(got) in head.lower()
    assert b"transfer-encoding" not in head.lower()


@pytest.mark.parametrize("to", [b"websocket", b"h2c"])
def test_nobody_is_upgraded(port, upstream, to) -> None:
    sent = HEAD + b"Connection: upgrade\r\nUpgrade: " + to + b"\r\nContent-Length: 2\r\n\r\n{}"
    assert [status for status, _ in answers(port, sent + NEXT)] == [200]
    assert [request[-6:] for _, request in upstream.requests] == [b"\r\n\r\n{}"]


def test_who_asks_whether_to_send_a_body_is_told(port, upstream) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
    assert b"expect" not in upstream.requests[0][1].lower()


@pytest.mark.parametrize(
    ("target", "length", "status"), [(b"/nothing", 2, 404), (b"/", 2_000_000, 413), (b"/events", 9_000_000_000, 413)]
)
def test_a_body_that_is_not_wanted_is_not_asked_for(port, upstream, target, length, status) -> None:
    head = b"POST %s HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (target, length)
    assert [status for status, _ in answers(port, head)] == [status]
    assert upstream.requests == []


@pytest.mark.parametrize("length", [0, 70_000, 1_500_000])
def test_after_a_body_to_an_unknown_path_the_next_call_is_answered(port, upstream, length) -> None:
    sent = b"POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length + b"x" * length
    assert [status for status, _ in answers(port, sent + HEAD + b"Connection: close\r\n\r\n")] == [404, 200]


def test_a_client_that_ends_its_half_is_answered(port) -> None:
    assert [status for status, _ in answers(port, HEAD + b"Content-Length: 2\r\n\r\n{}", end=True)] == [200]


def test_a_body_that_ends_early_is_refused(port, upstream) -> None:
    ((status, body),) = answers(port, HEAD + b"Content-Length: 9\r\n\r\n{}", end=True)
    assert (status, json.loads(body)["__type"]) == (400, "SerializationException")
    assert upstream.requests == []


@pytest.mark.parametrize(
    "sent", [b"P", b"POST / HTTP/1.1\r\nHost", HEAD + b"Content-Length: 9\r\n\r\n{}", CHUNKED + b"2\r\n{"]
)
def test_what_does_not_come_in_time_is_refused(port, upstream, sent) -> None:
    ((status, body),) = answers(port, sent)
    assert (status, json.loads(body)["__type"]) == (408, "RequestTimeoutException")
    assert upstream.requests == []


def test_where_all_are_being_answered_who_comes_last_is_refused(upstream) -> None:
    url = f"http://127.0.0.1:{upstream.port}"
    upstream.script = [b""]  # it says nothing
    settings = Settings(api_url=url, runtime_url=url, events_url=url, gateway_connections=1)
    with Running(settings) as port, socket.create_connection(("127.0.0.1", port)) as first:
        first.sendall(HEAD + b"\r\n")
        until(lambda: upstream.requests, 5)
        ((status, body),) = answers(port, b"")
    assert (status, json.loads(body)["__type"]) == (503, "ServiceUnavailable")


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        (("192.0.2.1", 5), "192.0.2.1"),
        (("::ffff:192.0.2.1", 5, 0, 0), "192.0.2.1"),
        (("2001:db8:0:1:a::b", 5, 0, 0), "2001:db8:0:1::"),
        (("fe80::1%eth0", 5, 0, 2), "fe80::"),
        ("", ""),
        (None, ""),
    ],
)
def test_whose_connection_it_is(address, peer) -> None:
    assert get_peer(address) == peer


def test_a_head_of_many_large_headers_is_refused(port) -> None:
    many = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 8000) for number in range(60))
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(HEAD)
        for start in range(0, len(many), 50_000):
            try:
                connection.sendall(many[start : start + 50_000])
            except OSError:
                break
        try:
            got = connection.recv(65536)
        except ConnectionResetError:  # what was on its way when it was refused
            return
    assert got.startswith(b"HTTP/1.1 431 ")
