"""gunicorn's worker with Leader/Followers threads, in a process of its own: a request that waits or breaks off does not
hold up the rest."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import urllib3

from tests.conftest import until
from tests.heaps import GLIBC

ROOT = Path(__file__).parents[3]
SOON = 10.0
THREADS = 4


class Server:
    def __init__(self, folder: Path, *, leader_followers: bool = True) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = int(listener.getsockname()[1])
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "FORETASTE_DATA_DIR": str(folder),
            "FORETASTE_BIND": f"127.0.0.1:{self.port}",
            "FORETASTE_THREADS": str(THREADS),
        }
        command = [sys.executable, "-m", "gunicorn", "--config", "python:shared.http.gunicorn_config"]
        command += [f"tests.contracts.wire.leader_followers_app:create_app(leader_followers={leader_followers})"]
        self.process = subprocess.Popen(command, env=environment, cwd=folder)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=SOON)

    def is_listening(self) -> bool:
        try:
            self.connect().close()
        except OSError:
            return False
        return True


@contextmanager
def serving(folder: Path, *, leader_followers: bool = True) -> Iterator[Server]:
    server = Server(folder, leader_followers=leader_followers)
    try:
        until(server.is_listening, 30, "gunicorn")
        yield server
    finally:
        server.process.send_signal(signal.SIGQUIT)
        server.process.wait(20)


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("leader-followers")) as server:
        yield server


def said(server: Server, path: str = "/", body: bytes = b"") -> str:
    url = f"http://127.0.0.1:{server.port}{path}"
    answer = urllib3.request("POST", url, body=body, timeout=SOON, retries=False)
    assert answer.status == 200
    return answer.data.decode()


@pytest.fixture
def beside() -> Iterator[Callable[..., object]]:
    with ThreadPoolExecutor(16) as pool:
        yield pool.submit


def test_requests_over_many_connections_are_answered_by_one_thread_each_for_itself(server: Server, beside) -> None:
    found = [beside(said, server, "/", f"{number}".encode()) for number in range(200)]
    threads, bodies = zip(*(one.result(SOON).split() for one in found), strict=True)
    assert bodies == tuple(str(number) for number in range(200))
    # But for what a busy machine lets take long.
    assert Counter(threads).most_common(1)[0][1] > 100


def test_what_steps_aside_and_what_takes_long_stop_nobody(server: Server, beside) -> None:
    began = time.monotonic()
    slow = [beside(said, server, "/aside?1.5"), beside(said, server, "/long?1.5")]
    time.sleep(0.3)
    for number in range(20):
        assert said(server, "/", b"%d" % number).split()[1] == str(number)
    assert time.monotonic() - began < 1.4
    assert len({one.result(SOON) for one in slow}) == 2


def test_what_computes_is_answered_beside_others_that_wait_and_each_for_itself(server: Server, beside) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: said(server, "/computes?0.002", b"%d" % number).split(), range(400)))
    assert [number for _, number in found] == [str(number) for number in range(400)]
    assert len({thread for thread, _ in found}) > 1


def test_what_computes_for_long_stops_nobody_however_many_do(server: Server, beside) -> None:
    slow = [beside(said, server, "/computes?1.5") for _ in range(THREADS - 1)]
    time.sleep(0.6)
    began = time.monotonic()
    for number in range(20):
        assert said(server, "/", b"%d" % number).split()[1] == str(number)
    assert time.monotonic() - began < 0.8
    assert len({one.result(SOON) for one in slow}) == THREADS - 1


def test_more_that_take_long_than_there_are_threads_are_all_answered(server: Server, beside) -> None:
    found = [beside(said, server, f"/{path}?0.3", b"x") for path in ("long", "aside") * THREADS]
    assert all(one.result(SOON).endswith("x") for one in found)


@pytest.mark.skipif(not GLIBC, reason="it is glibc that gives each thread a heap")
def test_all_threads_take_their_memory_from_one_heap(server: Server, beside) -> None:
    found = [beside(said, server, "/aside?0.3", b"x" * 100_000) for _ in range(THREADS)]
    assert len({one.result(SOON).split()[0] for one in found}) > 1
    assert said(server, "/heaps").split() == ["1"]


def test_who_says_nothing_or_half_of_it_stops_nobody(server: Server) -> None:
    silent = [server.connect() for _ in range(3 * THREADS)]
    halves = [server.connect() for _ in range(THREADS - 1)]
    for half in halves:
        half.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Le")
    time.sleep(0.1)
    began = time.monotonic()
    assert said(server, "/", b"meanwhile").endswith("meanwhile")
    assert time.monotonic() - began < 3.0
    for half in halves:
        half.sendall(b"ngth: 1\r\nConnection: close\r\n\r\nh")
        assert half.makefile("rb").read().endswith(b" h")
    for one in silent + halves:
        one.close()


def test_who_asks_to_close_and_does_not_stops_nobody(server: Server) -> None:
    staying = [server.connect() for _ in range(5)]
    began = time.monotonic()
    for one in staying:
        one.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\na")
        assert one.makefile("rb").read().endswith(b" a")
        assert said(server, "/", b"other").endswith("other")
    assert time.monotonic() - began < 1.5
    # What it still says is read, and it is gone when its time is over.
    end = time.monotonic() + SOON
    with pytest.raises((BrokenPipeError, ConnectionResetError)):  # noqa: PT012 -- at which of these is not told
        while time.monotonic() < end:
            staying[0].sendall(b"more")
            time.sleep(0.05)


def test_an_answer_leaves_whole_or_not_at_all(server: Server) -> None:
    """In one piece each: boto3 takes a head alone, of a process that was killed behind it, for an empty answer."""
    with server.connect() as one:
        for number in range(300):
            one.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n%03d" % number)
            head, _, body = one.recv(65536).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK")
            assert body.endswith(b" %03d" % number)


def test_what_has_no_body_is_answered_too(server: Server) -> None:
    with server.connect() as one:
        one.sendall(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert one.recv(65536).startswith(b"HTTP/1.1 200 OK")
        one.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
        assert one.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        one.sendall(b"x")
        assert one.recv(65536).endswith(b" x")


def test_requests_sent_in_one_go_are_answered_in_their_order(server: Server) -> None:
    many = 700
    with server.connect() as one:
        requests = (
            f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {len(str(n))}\r\n\r\n{n}".encode() for n in range(many)
        )
        one.sendall(b"".join(requests))
        answers = b""
        while answers.count(b"HTTP/1.1 200") < many or not answers.endswith(str(many - 1).encode()):
            got = one.recv(65536)
            assert got, "the connection was closed"
            answers += got
    bodies = [answer.split()[-1] for answer in answers.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [str(n).encode() for n in range(many)]


def test_what_it_has_begun_is_answered_when_it_is_told_to_end(tmp_path: Path, beside) -> None:
    with serving(tmp_path) as server:
        found = [beside(said, server, path, b"last") for path in ("/long?0.8", "/aside?0.8")]
        time.sleep(0.3)
        server.process.terminate()
        assert all(one.result(SOON).endswith("last") for one in found)


@pytest.fixture(scope="module")
def side_by_side(tmp_path_factory) -> Iterator[Server]:
    """The same application, whose requests are answered side by side."""
    with serving(tmp_path_factory.mktemp("side-by-side"), leader_followers=False) as server:
        yield server


@pytest.mark.parametrize("how", ["server", "side_by_side"])
def test_how_a_process_is_can_be_asked_while_all_its_threads_are_at_work(request, beside, how) -> None:
    server = request.getfixturevalue(how)
    slow = [beside(said, server, "/aside?1.5", b"x") for _ in range(THREADS + 1)]
    time.sleep(0.3)
    for path in ("/ping", "/readyz"):
        answer = urllib3.request("GET", f"http://127.0.0.1:{server.port}{path}", timeout=SOON, retries=False)
        assert answer.data.startswith(b"health")
    assert all(one.result(SOON).endswith("x") for one in slow)


def test_connections_that_say_nothing_take_no_threads(side_by_side: Server) -> None:
    silent = [side_by_side.connect() for _ in range(3 * THREADS)]
    time.sleep(0.1)
    began = time.monotonic()
    assert said(side_by_side, "/", b"meanwhile").endswith("meanwhile")
    assert time.monotonic() - began < 3.0
    assert len(silent) == 3 * THREADS
