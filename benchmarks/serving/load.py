"""A load: signed requests over kept-alive connections from this process, timed one by one.

Requests are signed before the clock starts: what is measured is the server, not botocore's signer.
"""

from __future__ import annotations

import gc
import http.client
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


@dataclass(frozen=True)
class Measured:
    """Requests per second, and the 50th and 99th percentile of their milliseconds."""

    rate: float
    p50: float
    p99: float
    count: int


def signed(url: str, path: str, body: Mapping[str, Any], keys: Mapping[str, str]) -> tuple[bytes, dict[str, str]]:
    payload = orjson.dumps(body)
    headers = {"Content-Type": "application/json", "Host": urlsplit(url).netloc}
    request = AWSRequest("POST", url + path, data=payload, headers=headers)
    credentials = Credentials(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"])
    SigV4Auth(credentials, "personalize", keys["AWS_REGION"]).add_auth(request)
    return payload, dict(request.headers.items())


def measure(
    urls: Sequence[str],
    path: str,
    body: Callable[[int], Mapping[str, Any]],
    keys: Mapping[str, str],
    *,
    connections: int,
    requests: int,
    rate: float | None = None,
) -> Measured:
    """Send ``requests`` requests over each of ``connections`` connections at once, which take the servers in turn.

    Without a ``rate`` each follows on the answer before. With one (requests/s over all connections) each is sent at
    its time, and what it waits for a connection counts as well. Any status but 200 ends it.
    """
    milliseconds: list[float] = []
    start = threading.Barrier(connections + 1, action=_leave_garbage)

    def send(number: int) -> None:
        url = urls[number % len(urls)]
        ready = [signed(url, path, body(number * requests + n), keys) for n in range(requests)]
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        connection.connect()
        start.wait()
        first = time.perf_counter()
        for place, (payload, headers) in enumerate(ready):
            began = time.perf_counter()
            if rate is not None:
                due = first + (place * connections + number) / rate
                time.sleep(max(0.0, due - began))
                began = due
            connection.request("POST", path, payload, headers)
            answer = connection.getresponse()
            said = answer.read()
            milliseconds.append((time.perf_counter() - began) * 1e3)
            if answer.status != 200:
                raise RuntimeError(f"{path} answered {answer.status}: {said[:300]!r}")

    threads = [threading.Thread(target=send, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    gc.enable()
    gc.unfreeze()
    if len(milliseconds) != connections * requests:
        raise RuntimeError(f"only {len(milliseconds)} of {connections * requests} requests were answered")
    ranked = sorted(milliseconds)
    return Measured(len(ranked) / seconds, ranked[len(ranked) // 2], ranked[int(len(ranked) * 0.99)], len(ranked))


def _leave_garbage() -> None:
    """The signed requests are thousands of objects: to look through them takes 10 to 20 ms, which would be the p99."""
    gc.collect()
    gc.freeze()
    gc.disable()
