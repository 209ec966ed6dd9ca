"""The processes that are measured: a Redis-compatible server, and gunicorn with one application or another."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.waiting import wait_until, wait_until_answering
from services.cli.local.embedded_redis import find_binary, find_free_port, is_answering, sync_in_background
from services.cli.local.processes import GUNICORN

KEYS = {"AWS_ACCESS_KEY_ID": "FTBENCHMARK", "AWS_SECRET_ACCESS_KEY": "benchmark", "AWS_REGION": "us-east-1"}


@dataclass(frozen=True)
class World:
    redis_url: str
    data_dir: Path

    @contextlib.contextmanager
    def serving(self, application: str, count: int = 1, **environment: str) -> Iterator[list[Server]]:
        """So many processes with this application, each of which has answered."""
        with contextlib.ExitStack() as stack:
            servers = [self._start(stack, application, environment) for _ in range(count)]
            for server in servers:
                wait_until_answering(server.url)
            yield servers

    @contextlib.contextmanager
    def gateway(self, runtime: str, tree: Path) -> Iterator[Server]:
        """That of this tree, or of another commit's, before the runtime at this URL, which stands for all services."""
        said = "from services.cli.local.processes import BY_NAME; print(*BY_NAME['gateway'].command, sep='\\n')"
        environment = {f"FORETASTE_{name}_URL": runtime for name in ("API", "RUNTIME", "EVENTS")}
        environment["PYTHONPATH"] = str(tree)
        asked = subprocess.run(
            [sys.executable, "-c", said], cwd=tree, env={**os.environ, **environment}, check=True, capture_output=True
        )
        with contextlib.ExitStack() as stack:
            server = self._run(stack, asked.stdout.decode().split("\n")[:-1], environment, tree)
            wait_until_answering(server.url)
            yield server

    def _start(self, stack: contextlib.ExitStack, application: str, environment: Mapping[str, str]) -> Server:
        return self._run(stack, (*GUNICORN, application), environment)

    def _run(
        self,
        stack: contextlib.ExitStack,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        folder: Path | None = None,
    ) -> Server:
        bind = f"127.0.0.1:{find_free_port()}"
        told = {
            **os.environ,
            "FORETASTE_REDIS_URL": self.redis_url,
            "FORETASTE_DATA_DIR": str(self.data_dir),
            "FORETASTE_ACCESS_KEY_ID": KEYS["AWS_ACCESS_KEY_ID"],
            "FORETASTE_SECRET_ACCESS_KEY": KEYS["AWS_SECRET_ACCESS_KEY"],
            "FORETASTE_BIND": bind,
            **environment,
        }
        command = [sys.executable, "-m", *arguments]
        process = stack.enter_context(subprocess.Popen(command, env=told, stderr=subprocess.DEVNULL, cwd=folder))
        stack.callback(process.terminate)
        return Server(f"http://{bind}", process.pid)


@dataclass(frozen=True)
class Server:
    url: str
    pid: int

    @property
    def _worker(self) -> Path:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return Path("/proc") / children[0]

    def cpu_seconds(self) -> float:
        """That its worker has used so far."""
        fields = (self._worker / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def megabytes(self, kind: str) -> float:
        """Of its worker, by smaps: "Rss", or "Pss", where what is shared counts in parts that add up to 1."""
        lines = (self._worker / "smaps_rollup").read_text().splitlines()
        [kilobytes] = [line.split()[1] for line in lines if line.startswith(f"{kind}:")]
        return int(kilobytes) / 1024


@contextlib.contextmanager
def world(folder: Path) -> Iterator[World]:
    """Redis keeps what it is told as ``foretaste up`` has it kept: in an append-only file, synced each second."""
    port = find_free_port()
    url = f"redis://127.0.0.1:{port}/0"
    command = [str(find_binary()), "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", ""]
    command += ["--appendonly", "yes", "--appendfsync", "no"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server, sync_in_background(folder, say=print):
        try:
            wait_until(lambda: is_answering(url), url)
            yield World(url, folder / "data")
        finally:
            server.terminate()
