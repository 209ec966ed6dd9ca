"""The supervisor keeps small processes of our own running, against real signals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.cli.errors import NotReady
from services.cli.local import supervisor as supervising
from services.cli.local.supervisor import FOUNDATION_SECONDS, TERM_SECONDS, ChildSpec, Supervisor
from tests.conftest import until

ROOT = Path(__file__).parents[4]
SLEEPER = "import time; time.sleep(3600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(3600)"


def child(name: str, program: str, **more: object) -> ChildSpec:
    given = {"environment": dict(os.environ), "ready": lambda _pid: True, **more}
    return ChildSpec(name=name, command=(sys.executable, "-c", program), **given)  # type: ignore[arg-type]


def alive(pid: int) -> bool:
    """Neither gone nor a zombie that nobody has waited for yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # gone before, or while, it was read
        return False


Start = Callable[..., Supervisor]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def start(tmp_path: Path, said: list[str]) -> Iterator[Start]:
    started: list[Supervisor] = []

    def start(*children: ChildSpec, foundation: ChildSpec | None = None) -> Supervisor:
        supervisor = Supervisor(children, logs=tmp_path / "logs", say=said.append, foundation=foundation)
        supervisor.__enter__()
        started.append(supervisor)
        assert supervisor.wait_until_ready(20, stopping=threading.Event())
        return supervisor

    yield start
    for supervisor in started:
        supervisor.stop()


def test_it_works(start: Start) -> None:
    supervisor = start(child("one", SLEEPER), child("two", SLEEPER))
    pids = supervisor.pids
    assert all(alive(pid) for pid in pids.values())
    supervisor.stop()
    assert not any(alive(pid) for pid in pids.values())


def test_what_is_killed_is_started_again_and_said(start: Start, said: list[str]) -> None:
    supervisor = start(child("one", SLEEPER))
    killed = supervisor.pids["one"]
    os.kill(killed, signal.SIGKILL)
    until(lambda: supervisor.pids.get("one", killed) != killed)
    assert said == ["one was ended by SIGKILL; starting it again"]


def test_what_hangs_is_killed_and_started_again_and_said(
    start: Start, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped process has not ended: only its missing sign of life tells."""
    monkeypatch.setattr(supervising, "SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(supervising, "LOOK_SECONDS", 0.05)
    hung: list[int] = []
    supervised = start(
        child("one", SLEEPER, is_alive=lambda pid: pid not in hung),
        child("two", SLEEPER, is_alive=lambda pid: None if hung else True),
        child("three", SLEEPER),
    )
    before = supervised.pids
    os.kill(before["one"], signal.SIGSTOP)
    hung.append(before["one"])
    until(lambda: supervised.pids.get("one", before["one"]) != before["one"])
    assert said == ["one has given no sign of life for 0 s", "one was ended by SIGKILL; starting it again"]
    assert {name: supervised.pids[name] for name in ("two", "three")} == {
        name: before[name] for name in ("two", "three")
    }


def test_a_short_silence_ends_nothing(start: Start, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervising, "SILENCE_SECONDS", 30.0)
    monkeypatch.setattr(supervising, "LOOK_SECONDS", 0.01)
    asked: list[int] = []

    def is_alive(pid: int) -> bool:
        asked.append(pid)
        return len(asked) % 3 == 0

    supervised = start(child("one", SLEEPER, is_alive=is_alive))
    before = supervised.pids
    until(lambda: len(asked) > 20)
    assert (supervised.pids, said) == (before, [])


def test_what_a_killed_process_has_started_goes_with_it(start: Start, tmp_path: Path) -> None:
    note = tmp_path / "grandchild"
    program = (
        "import subprocess, sys, pathlib, time; "
        f"p = subprocess.Popen([sys.executable, '-c', {SLEEPER!r}]); "
        f"pathlib.Path({str(note)!r}).write_text(str(p.pid)); time.sleep(3600)"
    )
    supervisor = start(child("parent", program))
    grandchild = int(until(lambda: note.exists() and note.read_text()))
    os.kill(supervisor.pids["parent"], signal.SIGKILL)
    until(lambda: not alive(grandchild))


def test_what_keeps_ending_is_started_more_and_more_slowly(start: Start, said: list[str]) -> None:
    start(child("broken", "raise SystemExit(3)"))
    until(lambda: len(said) >= 4)
    assert said[0] == "broken ended with status 3; starting it again"
    assert "broken ended with status 3, 2 times in a row; starting it again in 0.5 s" in said[1]
    assert "3 times in a row; starting it again in 1 s" in said[2]
    assert "broken.log" in said[3]


def test_a_command_that_does_not_exist_is_said_too(tmp_path: Path, said: list[str]) -> None:
    missing = ChildSpec(name="none", command=("/no/such/command",), environment={}, ready=lambda _pid: False)
    with Supervisor([missing], logs=tmp_path, say=said.append) as supervisor:
        until(lambda: len(said) >= 2)
        with pytest.raises(NotReady, match="none"):
            supervisor.wait_until_ready(0.2, stopping=threading.Event())


def test_a_stop_takes_less_than_ten_seconds_whatever_it_meets() -> None:
    assert TERM_SECONDS + FOUNDATION_SECONDS < 9.5


def test_what_ignores_sigterm_is_killed_when_its_time_is_over(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.cli.local.supervisor.TERM_SECONDS", 0.5)
    monkeypatch.setattr("services.cli.local.supervisor.FOUNDATION_SECONDS", 0.3)

    def deaf(name: str) -> ChildSpec:
        log = tmp_path / "logs" / f"{name}.log"
        return child(name, STUBBORN, ready=lambda _pid: log.exists() and bool(log.read_text()))

    supervisor = start(deaf("stubborn"), foundation=deaf("founding"))
    pids = supervisor.pids
    began = time.monotonic()
    supervisor.stop()
    assert 0.8 <= time.monotonic() - began < 3
    assert not any(alive(pid) for pid in pids.values())


def test_a_stop_does_not_wait_for_what_is_not_ready_yet(tmp_path: Path, said: list[str]) -> None:
    slow = child("slow", SLEEPER, ready=lambda _pid: False)
    stopping = threading.Event()
    with Supervisor([slow], logs=tmp_path, say=said.append) as supervisor:
        until(lambda: supervisor.pids)
        threading.Timer(0.2, stopping.set).start()
        assert not supervisor.wait_until_ready(60, stopping=stopping)
        pid = supervisor.pids["slow"]
    assert not alive(pid)


def test_the_foundation_comes_first_and_goes_last(start: Start, tmp_path: Path) -> None:
    order = tmp_path / "order"
    program = (
        "import signal, sys, time\n"
        "def write(word):\n    open({order!r}, 'a').write(word + ' ')\n"
        "def end(*_):\n    write('-{name}'); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end); write('+{name}'); time.sleep(3600)"
    )
    founding = child(
        "founding",
        program.format(order=str(order), name="founding"),
        ready=lambda _pid: order.exists() and "+founding" in order.read_text(),
    )
    other = child(
        "other",
        program.format(order=str(order), name="other"),
        ready=lambda _pid: order.exists() and "+other" in order.read_text(),
    )
    start(other, foundation=founding).stop()
    assert order.read_text().split() == ["+founding", "+other", "-other", "-founding"]


def test_a_held_socket_refuses_nobody_while_its_process_is_replaced(start: Start) -> None:
    program = (
        "import socket, sys\n"
        "listener = socket.socket(fileno=int(sys.argv[1]))\n"
        "while True:\n    connection, _ = listener.accept(); connection.sendall(b'x'); connection.close()"
    )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = child("server", program, descriptors=(listener.fileno(),))
        supervisor = start(
            ChildSpec(**{**vars(server), "command": (*server.command, str(listener.fileno()))})  # type: ignore[arg-type]
        )
        for _ in range(3):
            killed = until(lambda: supervisor.pids.get("server"))
            os.kill(killed, signal.SIGKILL)
            until(lambda killed=killed: not alive(killed))
            with socket.create_connection(listener.getsockname(), timeout=10) as client:
                assert client.recv(1) == b"x"


def test_nothing_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    program = f"""
import sys, threading, time
from pathlib import Path
from tests.unit.services.cli.test_supervisor import SLEEPER, child
from services.cli.local.supervisor import Supervisor
with Supervisor([child("one", SLEEPER), child("two", SLEEPER)], logs=Path({str(tmp_path)!r}), say=print) as running:
    running.wait_until_ready(20, stopping=threading.Event())
    print(*running.pids.values(), flush=True)
    time.sleep(3600)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.kill()
    until(lambda: not any(alive(pid) for pid in pids), 5)


def test_a_grown_log_is_put_aside(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.cli.local.supervisor.LOG_BYTES", 4)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "one.log").write_text("long enough")
    start(child("one", SLEEPER))
    assert (tmp_path / "logs" / "one.log.1").read_text() == "long enough"
