"""boto3 through the gateway to the services, each in a gunicorn process as they are run."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path

import pytest
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from services.cli.local.processes import BY_NAME, GUNICORN
from tests.conftest import until
from tests.contracts.wire.served import KEYS

ROOT = Path(__file__).parents[3]
ARN = "arn:aws:personalize:us-east-1:000000000000:dataset/a/USERS"
NAMES = {"personalize": "api", "personalize-runtime": "runtime", "personalize-events": "events"}


class Processes:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ports = {name: _free_port() for name in (*NAMES.values(), "gateway")}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *arguments: str) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "FORETASTE_DATA_DIR": str(self._folder),
            "FORETASTE_BIND": f"127.0.0.1:{self.ports[name]}",
        } | {f"FORETASTE_{n.upper()}_URL": f"http://127.0.0.1:{self.ports[n]}" for n in NAMES.values()}
        command = [sys.executable, "-m", *arguments]
        self._running[name] = subprocess.Popen(
            command, env=environment, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def start_service(self, service: str) -> None:
        self.start(NAMES[service], *GUNICORN, f"tests.contracts.wire.served:echo('{service}')")

    def kill(self, service: str) -> None:
        process = self._running[NAMES[service]]
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for pid in (process.pid, *map(int, children)):
            os.kill(pid, signal.SIGKILL)
        process.wait(10)

    def stop(self) -> None:
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            process.wait(20)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['gateway']}"

    def wait(self) -> None:
        def answers() -> bool:
            try:
                return urllib3.request("GET", f"{self.url}/ping", retries=False).status == 200
            except urllib3.exceptions.HTTPError:
                return False

        until(answers, 30, "the gateway")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def processes(tmp_path_factory) -> Iterator[Processes]:
    processes = Processes(tmp_path_factory.mktemp("gateway"))
    try:
        for service in NAMES:
            processes.start_service(service)
        processes.start("gateway", *BY_NAME["gateway"].command)
        processes.wait()
        yield processes
    finally:
        processes.stop()


@pytest.fixture
def clients(processes, client_of) -> dict:
    return {service: client_of(service, processes.url) for service in NAMES}


def test_all_three_services_are_reached_with_their_signatures(clients) -> None:
    assert clients["personalize"].create_schema(name="a", schema="{}")["schemaArn"] == "a"
    assert clients["personalize-runtime"].get_recommendations(userId="größe")["recommendationId"] == "größe"
    event = {"eventType": "a", "sentAt": 1}
    answer = clients["personalize-events"].put_events(trackingId="t", sessionId="s", eventList=[event])
    assert answer["ResponseMetadata"]["HTTPHeaders"]["content-length"] == "0"


def test_errors_pass_with_their_form(clients, client_of, processes) -> None:
    with pytest.raises(ClientError, match="1 validation error detected"):
        clients["personalize"].create_schema(name="a b", schema="{}")
    wrong = client_of("personalize-runtime", processes.url, aws_secret_access_key="wrong")
    with pytest.raises(ClientError) as caught:
        wrong.get_recommendations()
    assert caught.value.response["Error"]["Code"] == "InvalidSignatureException"


@pytest.mark.parametrize("path", ["/", "/nothing", "/recommendations", "/events"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_what_is_not_there_is_answered_in_awss_form(processes, path, method) -> None:
    answer = urllib3.request(method, processes.url + path, retries=False)
    assert answer.status == (404 if path == "/nothing" else 405)
    assert answer.headers["x-amzn-ErrorType"] == "UnknownOperationException"
    assert "json" in answer.headers["Content-Type"]
    assert len(answer.headers.getlist("Date")) == 1
    assert (answer.data == b"") == (method == "HEAD")


@pytest.mark.parametrize("service", NAMES)
def test_five_megabytes_are_refused_and_heard(clients, service) -> None:
    calls = {
        "personalize": lambda c: c.create_schema(name="a", schema="x" * 5_000_000),
        "personalize-runtime": lambda c: c.get_recommendations(userId="x" * 5_000_000),
        "personalize-events": lambda c: c.put_events(trackingId="x" * 5_000_000),
    }
    with pytest.raises(ClientError) as caught:
        calls[service](clients[service])
    assert caught.value.response["Error"]["Code"] == "RequestEntityTooLargeException"


def test_a_chunked_body_arrives_whole(processes) -> None:
    """The signature covers the body, so a call that is accepted had all of it."""
    body = b'{"userId":"' + b"u" * 200 + b'"}'
    request = AWSRequest("POST", f"{processes.url}/recommendations", data=body)
    SigV4Auth(Credentials(*next(iter(KEYS.items()))), "personalize", "us-east-1").add_auth(request)
    chunks = iter([body[:50], body[50:]])
    answer = urllib3.request("POST", request.url, body=chunks, headers=dict(request.headers.items()), retries=False)
    assert answer.json() == {"recommendationId": "u" * 200}


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x16\x03\x01 nonsense\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (b"POST /" + b"x" * 5000 + b" HTTP/1.1\r\n\r\n", 414),
    ],
)
def test_what_is_not_http_is_refused_without_html(processes, request_, status) -> None:
    with socket.create_connection(("127.0.0.1", processes.ports["gateway"]), timeout=10) as connection:
        connection.sendall(request_)
        answer = HTTPResponse(connection)
        answer.begin()
        assert answer.status == status
        assert answer.headers["x-amzn-ErrorType"] == "SerializationException"
        assert json.loads(answer.read())["__type"] == "SerializationException"


@pytest.mark.parametrize("name", ["metrics", "healthz", "readyz"])
@pytest.mark.parametrize(
    "spelling", ["/{}", "//{}", "///{}", "/%{:x}{}", "/{}#a", "/{}?a#b", "/{}/", "/./{}", "/%2F{}", "/{}%3F", "//a/{}"]
)
def test_nothing_that_a_service_says_of_itself_is_seen_outside(processes, name, spelling) -> None:
    target = spelling.format(ord(name[0]), name[1:]) if ":x" in spelling else spelling.format(name)
    with socket.create_connection(("127.0.0.1", processes.ports["gateway"]), timeout=10) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        answer = HTTPResponse(connection)
        answer.begin()
        said = answer.read()
    assert b"foretaste_" not in said
    if answer.status == 200:
        assert json.loads(said)["service"] == "gateway"
    else:
        assert json.loads(said)["__type"] == "UnknownOperationException"


def test_a_service_answers_its_own_neighbours(processes) -> None:
    url = f"http://127.0.0.1:{processes.ports['api']}"
    assert b"foretaste_requests_total" in urllib3.request("GET", f"{url}/metrics", retries=False).data


@pytest.mark.parametrize("name", NAMES.values())
@pytest.mark.parametrize("path", ["/nothing", "/ping", "/healthz"])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_body_that_nobody_wants_leaves_a_service_its_connection(processes, name, path, method) -> None:
    """The gateway and others keep connections open to a service: the next call is not to meet one that closes."""
    with socket.create_connection(("127.0.0.1", processes.ports[name]), timeout=10) as connection:
        for chunk in (b"Content-Length: 300000\r\n\r\n" + b"x" * 300_000, b"\r\n"):
            connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: a\r\n".encode() + chunk)
            answer = HTTPResponse(connection, method=method)
            answer.begin()
            assert answer.read()
            assert not answer.will_close


def test_a_slow_body_does_not_stop_others(processes, clients) -> None:
    with socket.create_connection(("127.0.0.1", processes.ports["gateway"])) as slow:
        slow.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
        assert clients["personalize"].list_schemas()["schemas"] == []


@pytest.mark.parametrize("service", NAMES)
def test_a_service_that_is_killed_and_started_again_is_not_felt(processes, client_of, service) -> None:
    """Calls of plain clients, which try again as SDKs do, go on meanwhile: not one of them fails."""
    client = client_of(service, processes.url, config=Config())
    calls = {
        "personalize": lambda c: c.list_schemas(),
        "personalize-runtime": lambda c: c.get_recommendations(userId="a"),
        "personalize-events": lambda c: c.put_users(datasetArn=ARN, users=[{"userId": "a"}]),
    }
    statuses: list[int] = []
    over = threading.Event()

    def keep_calling() -> None:
        while not over.is_set():
            try:
                statuses.append(calls[service](client)["ResponseMetadata"]["HTTPStatusCode"])
            except ClientError as error:
                statuses.append(error.response["ResponseMetadata"]["HTTPStatusCode"])

    callers = [threading.Thread(target=keep_calling) for _ in range(3)]
    for caller in callers:
        caller.start()
    until(lambda: len(statuses) > 10)
    processes.kill(service)
    processes.start_service(service)
    before = len(statuses)
    until(lambda: len(statuses) > before + 10)
    over.set()
    for caller in callers:
        caller.join(20)
        assert not caller.is_alive()
    assert set(statuses) == {200}
