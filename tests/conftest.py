"""What all tests may ask for: a real Redis-compatible server, and a whole running system with its boto3 clients."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import boto3
import pytest
import redis
from botocore.config import Config

from services.cli.client import connect
from services.cli.data import demo_catalogue
from services.cli.local.embedded_redis import find_binary

T = TypeVar("T")
ROOT = Path(__file__).parent.parent
REAL_DATA = Path(os.environ.get("FORETASTE_TEST_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with interactions.csv: MovieLens 100k where it is at hand, else the demo's made-up films."""
    real = REAL_DATA / "ml-100k"
    if real.is_dir() or "FORETASTE_TEST_DATA" in os.environ:
        return real
    made = tmp_path_factory.mktemp("films")
    demo_catalogue.write_demo_data(made)
    return made


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What tests have said of themselves, by ``record_property("told", ...)``."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":
                for name, told in report.user_properties:
                    if name == "told":
                        terminalreporter.write_line(told)


def until(look: Callable[[], T | None], seconds: float = 90.0, what: str = "") -> T:
    """What ``look`` finds, as soon as it finds something; an AssertionError after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {what or look}"
        time.sleep(0.05)


def gone(pid: int) -> bool:
    """Ended, whether or not somebody has asked for its exit status yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server of the tests' own."""
    folder = tmp_path_factory.mktemp("redis")
    port = free_port()
    command = [str(find_binary()), "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", ""]
    url = f"redis://127.0.0.1:{port}/0"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        until(lambda: _answers(url), what="the Redis-compatible server")
        yield url
        server.terminate()


def _answers(url: str) -> bool:
    try:
        return bool(redis.Redis.from_url(url).ping())
    except redis.exceptions.ConnectionError:
        return False


@dataclass
class System:
    """A running ``foretaste up``, with plain boto3 clients of its three services."""

    folder: Path
    process: subprocess.Popen[str]
    environment: dict[str, str]
    output: list[str] = field(default_factory=list)

    def client(self, service: str, **more: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.environment["AWS_ENDPOINT_URL_" + service.upper().replace("-", "_")],
            region_name=self.environment["AWS_REGION"],
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            config=Config(retries={"mode": "standard", "max_attempts": 6}, **more),
        )

    @property
    def personalize(self) -> Any:
        return self.client("personalize")

    @property
    def runtime(self) -> Any:
        return self.client("personalize-runtime")

    @property
    def events(self) -> Any:
        return self.client("personalize-events")

    @property
    def foretaste(self) -> Any:
        """A client of foretaste's own operations."""
        return connect(self.environment).foretaste

    def log(self, name: str) -> str:
        return (self.folder / "logs" / f"{name}.log").read_text(errors="replace")


def start_system(folder: Path, *options: str, cwd: Path = ROOT, **environment: str) -> System:
    """``foretaste up`` on a folder, started in ``cwd``, ready."""
    program = str(Path(sys.executable).with_name("foretaste"))
    command = [program, "up", "--data-dir", str(folder), "--port", "0", *options]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        cwd=cwd,
        # Tests that wait for deletions need not wait for clients to see them.
        env={**os.environ, "FORETASTE_DELETION_SECONDS": "0", **environment},
        start_new_session=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"foretaste up ended with {process.wait()}"
    return System(folder=folder, process=process, environment=client_environment(folder), output=[line])


def client_environment(folder: Path) -> dict[str, str]:
    exports = [line.removeprefix("export ") for line in (folder / "client.env").read_text().splitlines()]
    pairs = [line.split("=", 1) for line in exports if "=" in line and not line.startswith("#")]
    return {name: shlex.split(value)[0] for name, value in pairs}


def stop_system(system: System, seconds: float = 12.0) -> int:
    system.process.send_signal(signal.SIGTERM)
    return system.process.wait(timeout=seconds)


def processes(system: System, part: str = "") -> list[int]:
    """The processes that this system has started, with theirs, whose command line holds ``part``."""
    parents: dict[int, int] = {}
    commands: dict[int, bytes] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            # The parent is the second field behind the name, which stands in brackets and may hold anything.
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            commands[int(entry.name)] = (entry / "cmdline").read_bytes()
        except OSError:
            continue

    def ours(pid: int) -> bool:
        parent = parents.get(pid, 0)
        return parent == system.process.pid or (parent > 1 and ours(parent))

    return [pid for pid, command in commands.items() if command and part.encode() in command and ours(pid)]


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One system for all tests that only use it; tests that break things start their own."""
    running = start_system(tmp_path_factory.mktemp("system"))
    yield running
    stop_system(running)
