"""Further processes of a running local system, by the same command lines: what scales out is the process."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.waiting import answers_ping, wait_until
from services.cli.local.processes import BY_NAME


@dataclass(frozen=True)
class Further:
    """One HTTP process beside those that the system started; nobody starts it again."""

    url: str
    process: subprocess.Popen[bytes]

    @property
    def pids(self) -> list[int]:
        """Of gunicorn, and of its worker."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [self.process.pid, *map(int, children.read_text().split())]

    def kill(self) -> None:
        """At once, with all that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def redis_url(folder: Path) -> str:
    """Of the server that a system with this data dir has started."""
    lines = (folder / "redis" / "redis.conf").read_text().splitlines()
    conf = dict(line.split(" ", 1) for line in lines if " " in line)
    return f"redis://:{conf['requirepass']}@127.0.0.1:{conf['port']}/0"


def start(name: str, folder: Path, client: Mapping[str, str]) -> Further:
    """A process of that name ("runtime") of the system with this data dir, on a port of its own.

    ``client`` holds the keys under the names that AWS's tools know.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    environment = {
        **os.environ,
        "FORETASTE_DATA_DIR": str(folder),
        "FORETASTE_REDIS_URL": redis_url(folder),
        "FORETASTE_ACCESS_KEY_ID": client["AWS_ACCESS_KEY_ID"],
        "FORETASTE_SECRET_ACCESS_KEY": client["AWS_SECRET_ACCESS_KEY"],
        "FORETASTE_BIND": address,
    }
    log = (folder / "logs" / f"{name}-{address.rpartition(':')[2]}.log").open("wb")
    command = [sys.executable, "-m", *BY_NAME[name].command]
    with log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    return Further(f"http://{address}", process)


def wait_for_process(further: Further, seconds: float = 60.0) -> None:
    """Return when it answers. Raises TimeoutError if it ended, or after so many seconds."""
    wait_until(lambda: further.process.poll() is not None or answers_ping(further.url), further.url, seconds)
    if further.process.returncode is not None:
        raise TimeoutError(f"{further.process.args!r} has ended with {further.process.returncode}")


@contextlib.contextmanager
def beside(folder: Path, client: Mapping[str, str], *names: str) -> Iterator[list[Further]]:
    """One process of each of these names, all answering; they are ended with the block."""
    started: list[Further] = []
    try:
        started += [start(name, folder, client) for name in names]
        for one in started:
            wait_for_process(one)
        yield started
    finally:
        for one in started:
            one.kill()
