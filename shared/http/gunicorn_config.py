"""Gunicorn's configuration for all HTTP processes: ``gunicorn --config python:shared.http.gunicorn_config``.

There is one worker process with threads (the gateway's has an event loop); to scale out, run more processes. The
address is FORETASTE_BIND; ``fd://N`` is a listening socket that a supervisor holds, so that clients wait while this
process is replaced.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from shared import settings

_settings = settings.load()

bind = _settings.bind
worker_class = "shared.http.gunicorn_worker.ThreadedWorker"
workers = 1
threads = _settings.threads
keepalive = 75
graceful_timeout = 8
timeout = 60
control_socket_disable = True
loglevel = "warning"
forwarded_allow_ips = ""
limit_request_line = 4094
limit_request_fields = 64


def _choose_parser(least: tuple[int, ...] = (0, 6, 14)) -> str:
    """Return ``fast`` if gunicorn[fast] is installed in version ``least`` or later, else ``python``.

    gunicorn would accept older versions, which parse a request line with two spaces differently from gunicorn.
    """
    try:
        found = tuple(int(part) for part in version("gunicorn_h1c").split("."))
    except (PackageNotFoundError, ValueError):
        return "python"
    return "fast" if found >= least else "python"


http_parser = _choose_parser()
