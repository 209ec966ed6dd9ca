"""Checks one process, for the health checks of containers: ``python -m services.cli.health <process>``.

``<process>`` is the URL of an HTTP process, or the name of a Celery process, which keeps a heartbeat in the store.
Exits with 0 or 1, and prints the problem.
"""

from __future__ import annotations

import socket
import sys
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from shared.store import Leases


def send_ping(url: str, seconds: float) -> HTTPResponse | None:
    """The answer to GET /ping on this server (plain HTTP, through no proxy), or None when there is none in time."""
    address = urlsplit(url)
    connection = HTTPConnection(address.hostname or "", address.port or 80, timeout=seconds)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse()
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


def answers_ping(url: str, seconds: float) -> bool:
    """Whether the process behind the URL is well: its /ping is answered with 200 in time."""
    answer = send_ping(url, seconds)
    return answer is not None and answer.status == 200


def has_heartbeat(store: Leases, name: str, *, pid: int | None = None) -> bool:
    """Whether the Celery process ``name`` of this machine (with that process id) has said that it lives."""
    prefix = f"{name}@{socket.gethostname()}:"
    beating = (process for process in store.list_live_processes() if process.startswith(prefix))
    return any(pid is None or process == f"{prefix}{pid}" for process in beating)


def main() -> int:
    what = sys.argv[1]
    well = answers_ping(what, 5.0) if what.startswith("http:") else _is_worker_well(what)
    if not well:
        sys.stderr.write(f"{what} does not answer\n")
    return 0 if well else 1


def _is_worker_well(name: str) -> bool:
    # Only here: the check of an HTTP process runs every few seconds and should not pay for these imports.
    import redis

    from shared import settings
    from shared.store.redis import RedisStore

    try:
        return has_heartbeat(RedisStore(settings.load().redis_url), name)
    except redis.RedisError:
        return False


if __name__ == "__main__":
    sys.exit(main())
