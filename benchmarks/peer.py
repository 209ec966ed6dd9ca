"""What a benchmark of the services compares with: the same gunicorn and gateway, before an application of its own."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

from benchmarks.waiting import wait_until_answering
from services.cli.local.processes import BY_NAME, GUNICORN


@contextlib.contextmanager
def peer(application: str, services: Sequence[str], client: Mapping[str, str]) -> Iterator[str]:
    """The URL of a gateway before a process for each of ``services`` (botocore's names).

    ``application`` is for gunicorn; it finds the service that it is to be in BENCHMARK_SERVICE.
    """
    urls = {service: f"http://127.0.0.1:{_free_port()}" for service in services}
    front, anything = f"http://127.0.0.1:{_free_port()}", next(iter(urls.values()))
    common = {
        **os.environ,
        "FORETASTE_ACCESS_KEY_ID": client["AWS_ACCESS_KEY_ID"],
        "FORETASTE_SECRET_ACCESS_KEY": client["AWS_SECRET_ACCESS_KEY"],
        "FORETASTE_API_URL": urls.get("personalize", anything),
        "FORETASTE_RUNTIME_URL": urls.get("personalize-runtime", anything),
        "FORETASTE_EVENTS_URL": urls.get("personalize-events", anything),
    }
    starts = [
        *(((*GUNICORN, application), url, service) for service, url in urls.items()),
        (BY_NAME["gateway"].command, front, ""),
    ]
    with contextlib.ExitStack() as stack:
        for arguments, url, service in starts:
            environment = {**common, "FORETASTE_BIND": url.removeprefix("http://"), "BENCHMARK_SERVICE": service}
            command = [sys.executable, "-m", *arguments]
            process = stack.enter_context(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL))
            stack.callback(process.terminate)
        wait_until_answering(front)
        yield front


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
