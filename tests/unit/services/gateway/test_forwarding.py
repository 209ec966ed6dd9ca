"""What passes through the gateway, and what it does when an upstream fails, with upstreams that follow a script."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage

import pytest
from aiohttp import ClientTimeout
from prometheus_client import REGISTRY

from services.gateway import upstreams as to_services
from shared.settings import Settings
from tests.unit.services.gateway.running import Running

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
ONCE = {"amz-sdk-invocation-id": "7a2f"}


@dataclass(frozen=True)
class Answered:
    status_code: int
    data: bytes
    headers: HTTPMessage


class Upstream:
    """A server that answers each request with the next line of its script; a line may be bytes or None to hang up."""

    def __init__(self, port: int = 0) -> None:
        self.script: list[bytes | None] = []
        self.requests: list[tuple[int, bytes]] = []
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", port), reuse_port=False)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(len(self._connections), connection), daemon=True).start()

    def _serve(self, number: int, connection: socket.socket) -> None:
        while (request := _received(connection)) is not None:
            self.requests.append((number, request))
            line = self.script.pop(0) if self.script else OK
            if line:
                connection.sendall(line)
            if line is None or b"content-length: 9" in line.lower():  # more was promised than comes
                break
        _hang_up(connection)

    def hang_up(self) -> None:
        for connection in self._connections:
            _hang_up(connection)

    def close(self) -> None:
        _hang_up(self._listener)


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side, or the other thread, was first
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def _received(connection: socket.socket) -> bytes | None:
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            chunk = connection.recv(65536)
        except OSError:
            return None
        if not chunk:
            return None
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while len(body) < sum(lengths):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def upstreams() -> Iterator[dict[str, Upstream]]:
    started = {name: Upstream() for name in ("api", "runtime", "events")}
    yield started
    for upstream in started.values():
        upstream.close()


@pytest.fixture
def settings(upstreams) -> Settings:
    urls = {f"{name}_url": f"http://127.0.0.1:{upstream.port}" for name, upstream in upstreams.items()}
    return Settings(**urls, gateway_calls=2, gateway_waiting=1)


@pytest.fixture
def call(settings) -> Iterator[Callable[..., Answered]]:
    with Running(settings) as port:

        def send(
            method: str = "POST",
            target: str = "/",
            headers: Mapping[str, str] | None = None,
            data: bytes | Iterator[bytes] | None = None,
        ) -> Answered:
            connection = HTTPConnection("127.0.0.1", port, timeout=20)
            given = dict(headers or {})
            connection.putrequest(method, target, skip_accept_encoding=True, skip_host="Host" in given)
            chunked = data is not None and not isinstance(data, bytes)
            given |= {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(data or b""))}
            for name, value in given.items():
                connection.putheader(name, value)
            connection.endheaders(data, encode_chunked=chunked)
            answer = connection.getresponse()
            said = Answered(answer.status, answer.read(), answer.headers)
            connection.close()
            return said

        yield send


def refused(answer: Answered, code: str, status: int) -> dict[str, str]:
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (status, code)
    assert len(answer.headers["x-amzn-RequestId"]) == 36
    content = json.loads(answer.data)
    assert content["__type"] == code
    return content


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
    content = refused(call(target=target, data=b"x" * 2_000_000), "UnknownOperationException", 404)
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
    refused(call(data=b"x" * 5_000_000), "RequestEntityTooLargeException", 413)
    assert upstreams["api"].requests == []


@pytest.mark.parametrize("target", ["http://elsewhere.example/", "http://elsewhere.example/events"])
def test_a_target_that_is_no_path_is_refused(call, upstreams, target) -> None:
    refused(call(target=target), "UnknownOperationException", 400)
    assert upstreams["api"].requests == []


def test_the_form_of_a_refusal_is_the_services_own(call) -> None:
    assert call(data=b"x" * 2_000_000).headers["Content-Type"] == "application/x-amz-json-1.1"
    assert call(target="/events", data=b"x" * 2_000_000).headers["Content-Type"] == "application/json"


def test_a_kept_connection_that_was_closed_is_not_felt(call, upstreams) -> None:
    call()
    upstreams["api"].hang_up()
    assert call().status_code == 200


def test_a_connection_closed_on_arrival_is_tried_again_on_a_new_one(call, upstreams) -> None:
    call()
    upstreams["api"].script = [None]
    assert call(headers=ONCE, data=b'{"a":1}').status_code == 200
    (_, (first, before), (second, again)) = upstreams["api"].requests
    assert before == again.replace(b"Connection: close\r\n", b"")
    assert first != second


def test_it_is_tried_again_once(call, upstreams) -> None:
    upstreams["api"].script = [None, None, OK]
    refused(call(headers=ONCE), "ServiceUnavailable", 503)
    assert len(upstreams["api"].requests) == 2


def test_a_call_without_an_invocation_id_is_not_sent_twice(call, upstreams) -> None:
    upstreams["api"].script = [None, OK]
    refused(call(), "ServiceUnavailable", 503)
    assert len(upstreams["api"].requests) == 1


def test_an_answer_that_breaks_off_is_refused_and_not_sent_again(call, upstreams) -> None:
    upstreams["api"].script = [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"]
    refused(call(headers=ONCE), "ServiceUnavailable", 503)
    assert len(upstreams["api"].requests) == 1


def test_a_silent_upstream_is_given_up(call, upstreams, monkeypatch) -> None:
    monkeypatch.setattr(to_services, "TIMEOUT", ClientTimeout(sock_connect=1, sock_read=0.1))
    upstreams["api"].script = [b""]
    refused(call(headers=ONCE), "ServiceUnavailable", 503)


def test_a_call_waits_for_an_upstream_that_is_being_restarted(call, upstreams) -> None:
    port = upstreams["api"].port
    upstreams["api"].close()
    _until_refused(port)
    answers: list[int] = []
    caller = threading.Thread(target=lambda: answers.append(call().status_code), daemon=True)
    caller.start()
    caller.join(0.3)
    assert answers == []
    upstreams["api"] = Upstream(port)
    caller.join(10)
    assert answers == [200]


def test_a_call_does_not_wait_for_ever(call, upstreams, monkeypatch) -> None:
    monkeypatch.setattr(to_services, "WAIT_SECONDS", 0.2)
    upstreams["runtime"].close()
    _until_refused(upstreams["runtime"].port)
    content = refused(call(target="/recommendations"), "ServiceUnavailable", 503)
    assert "personalize-runtime" in content["message"]


def test_so_many_wait_and_no_more(call, upstreams, monkeypatch) -> None:
    """Two calls wait for the runtime and a third for its turn, the fourth is refused, and the API is still reached."""
    monkeypatch.setattr(to_services, "WAIT_SECONDS", 3.0)
    upstreams["runtime"].close()
    _until_refused(upstreams["runtime"].port)
    answers: list[tuple[float, int]] = []

    def ask() -> None:
        started = time.monotonic()
        status = call(target="/recommendations").status_code
        answers.append((time.monotonic() - started, status))

    callers = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
    for caller in callers:
        caller.start()
    assert call().status_code == 200
    for caller in callers:
        caller.join(10)
    assert sorted(seconds > 2 for seconds, _ in answers) == [False, True, True, True]
    assert {status for _, status in answers} == {503}


def test_ping_tells_of_all_upstreams(call, upstreams) -> None:
    answer = call("GET", "/ping")
    assert answer.status_code == 200
    assert json.loads(answer.data) == {
        "service": "gateway",
        "upstreams": {"personalize": True, "personalize-runtime": True, "personalize-events": True},
    }
    upstreams["events"].close()
    upstreams["events"].hang_up()
    _until_refused(upstreams["events"].port)
    answer = call("GET", "/ping")
    assert answer.status_code == 503
    assert json.loads(answer.data)["upstreams"] == {
        "personalize": True,
        "personalize-runtime": True,
        "personalize-events": False,
    }


@pytest.mark.parametrize("target", ["/metrics", "/metrics?a", "/metrics#a", "/metrics?a#b", "/metrics#a?b"])
def test_nobody_sees_metrics_through_the_gateway(call, upstreams, target) -> None:
    refused(call("GET", target), "UnknownOperationException", 404)
    assert [upstream.requests for upstream in upstreams.values()] == [[], [], []]


@pytest.mark.parametrize("target", ["/healthz", "/readyz", "/readyz?a"])
def test_the_gateway_speaks_of_its_own_health(call, upstreams, target) -> None:
    assert json.loads(call("GET", target).data)["service"] == "gateway"
    asked = [request for upstream in upstreams.values() for _, request in upstream.requests]
    assert all(request.startswith(b"GET /ping ") for request in asked)


def test_it_is_ready_when_its_upstreams_are(call, upstreams) -> None:
    assert (call("GET", "/healthz").status_code, call("GET", "/readyz").status_code) == (200, 200)
    upstreams["events"].close()
    upstreams["events"].hang_up()
    _until_refused(upstreams["events"].port)
    assert (call("GET", "/healthz").status_code, call("GET", "/readyz").status_code) == (200, 503)


def test_its_answers_are_counted_by_service(call) -> None:
    labels = {"service": "personalize-events", "status": "200"}
    before = REGISTRY.get_sample_value("foretaste_gateway_requests_total", labels) or 0.0
    call(target="/events")
    call("GET", "/readyz")
    assert REGISTRY.get_sample_value("foretaste_gateway_requests_total", labels) == before + 1


def test_a_fault_of_its_own_is_no_html(call, monkeypatch) -> None:
    monkeypatch.setattr(to_services.Upstream, "_send_once", lambda *_: 1 / 0)
    assert "division" not in refused(call(), "InternalFailure", 500)["message"]


def _until_refused(port: int) -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            return
    raise AssertionError(f"port {port} is still open")
