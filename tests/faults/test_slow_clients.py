"""Clients that say nothing, or half of it, or a byte now and then: the calls of others are answered meanwhile.

The gateway as it is run, before a service in gunicorn; the clients are bare sockets.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import urllib3

from services.cli.local.processes import BY_NAME, GUNICORN
from tests.conftest import ROOT, until

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
#: Half requests, of which a byte more may come now and then: heads without an end, and bodies.
HALVES = (
    HEAD + b"X-Half",
    HEAD + b"X-Half: of it",
    HEAD + b"Content-Length: 900\r\n\r\n{",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n384\r\n",
)
SOON = 5.0


@dataclass(frozen=True)
class Front:
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self, sent: bytes = b"") -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=SOON)
        connection.sendall(sent)
        return connection

    def status(self, method: str = "GET", path: str = "/recommendations", body: bytes = b"") -> int:
        return urllib3.request(method, self.url + path, body=body, timeout=SOON, retries=False).status


def started(stack: ExitStack, folder: Path, command: tuple[str, ...], settings: Mapping[str, str]) -> Front:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "FORETASTE_DATA_DIR": str(folder)}
    environment |= {"FORETASTE_BIND": f"127.0.0.1:{port}", **settings}
    process = subprocess.Popen([sys.executable, "-m", *command], env=environment, cwd=folder)
    stack.callback(process.wait, 20)
    stack.callback(process.send_signal, signal.SIGTERM)
    return Front(port, process)


def is_up(front: Front) -> bool:
    try:
        return front.status(path="/ping") == 200
    except urllib3.exceptions.HTTPError:
        return False


@pytest.fixture(scope="module")
def front_with(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Front]]:
    """A gateway with these settings, before one service that stands for all three."""
    folder = tmp_path_factory.mktemp("slow")
    with ExitStack() as stack:
        echo = (*GUNICORN, "tests.contracts.wire.served:echo('personalize-runtime')")
        service = started(stack, folder, echo, {"FORETASTE_THREADS": "2"})
        urls = {f"FORETASTE_{name}_URL": service.url for name in ("API", "RUNTIME", "EVENTS")}

        def start(**settings: str) -> Front:
            front = started(stack, folder, BY_NAME["gateway"].command, {**urls, **settings})
            until(lambda: is_up(front), 30, "the gateway")
            return front

        yield start


@pytest.fixture(scope="module")
def front(front_with) -> Front:
    return front_with()


@contextmanager
def trickling(connections: list[socket.socket]) -> Iterator[None]:
    """A byte on each of them, again and again."""
    over = threading.Event()

    def trickle() -> None:
        while not over.wait(0.25):
            for connection in connections:
                try:
                    connection.send(b"x")
                except OSError:
                    continue

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def closed(connection: socket.socket) -> bool:
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def test_hundreds_of_idle_and_slow_connections_stop_nobody(front: Front) -> None:
    with ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(front.connect())
        slow = [stack.enter_context(front.connect(HALVES[number % 4])) for number in range(60)]
        with trickling(slow):
            for _ in range(20):
                assert front.status() == 405
            assert front.status(path="/ping") == 200
            assert front.status(path="/readyz") == 200


def test_a_thousand_bodies_to_unknown_paths_make_no_call_fail(front: Front) -> None:
    """Of plain clients, without an invocation id, which nobody may try again for."""
    statuses: list[int] = []

    def send_bodies() -> None:
        statuses.extend(front.status("POST", "/nothing", b"x" * (1000 * number)) for number in range(100))

    senders = [threading.Thread(target=send_bodies) for _ in range(4)]
    for sender in senders:
        sender.start()
    pool = urllib3.PoolManager(timeout=SOON, retries=False)
    answers = [pool.request("POST", f"{front.url}/recommendations", body=b"{}").status for _ in range(200)]
    for sender in senders:
        sender.join()
    assert set(statuses) == {404}
    assert set(answers) == {403}  # not signed, as the service finds


@pytest.fixture(scope="module")
def impatient(front_with) -> Front:
    return front_with(
        FORETASTE_GATEWAY_HEAD_SECONDS="1",
        FORETASTE_GATEWAY_BODY_SECONDS="1.5",
        FORETASTE_GATEWAY_IDLE_SECONDS="2",
        FORETASTE_GATEWAY_CONNECTIONS="50",
        FORETASTE_GATEWAY_CONNECTIONS_PER_PEER="40",
        FORETASTE_GATEWAY_BODIES_MB="2",
    )


def test_a_byte_now_and_then_prolongs_nothing(impatient: Front) -> None:
    slow = [impatient.connect(half) for half in HALVES]
    idle = impatient.connect()
    with trickling(slow):
        for connection in slow:
            assert b" 408 " in connection.recv(65536).partition(b"\r\n")[0]
    assert closed(idle)


def test_who_has_waited_longest_makes_room(impatient: Front) -> None:
    """And not one that is being answered, or that came later."""
    connections = [impatient.connect() for _ in range(30)]
    connections += [impatient.connect(HEAD) for _ in range(30)]
    assert impatient.status() == 405
    for connection in connections[:21]:
        connection.settimeout(SOON)
        assert closed(connection)
    connections[-1].sendall(b"Content-Length: 0\r\n\r\n")
    assert connections[-1].recv(65536).startswith(b"HTTP/1.1 ")


def test_bodies_that_do_not_end_leave_memory_for_those_that_do(impatient: Front) -> None:
    almost = HEAD + b"Content-Length: 1000000\r\n\r\n" + b"x" * 900_000
    slow = [impatient.connect(almost) for _ in range(4)]
    # One of the others may be read so late that it takes the room of this one, which an SDK would send again.
    until(lambda: impatient.status("POST", "/recommendations", b"x" * 900_000) == 403, 10)
    for connection in slow:
        connection.settimeout(0.1)
    assert sum(closed(connection) for connection in slow) >= 3


def test_what_is_under_way_is_answered_when_the_gateway_is_told_to_end(front_with) -> None:
    front = front_with()
    kept, half = front.connect(HEAD + b"Content-Length: 0\r\n\r\n"), front.connect(HEAD)
    assert kept.recv(65536).startswith(b"HTTP/1.1 ")
    front.process.terminate()
    time.sleep(0.3)
    half.sendall(b"Content-Length: 0\r\n\r\n")
    kept.sendall(HEAD + b"Content-Length: 0\r\n\r\n")
    for connection in (half, kept):
        answer = connection.recv(65536)
        assert b"\r\nConnection: close\r\n" in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["__type"] != "ServiceUnavailable"
    assert front.process.wait(10) == 0
