"""A load: signed requests over kept-alive connections from this process, timed one by one.

Requests are signed before the clock starts: what is measured is the server, not botocore's signer. One thread sends
them all and waits for the answers: several would wait for each other. And the same load without a server.
"""

from __future__ import annotations

import gc
import selectors
import socket
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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


def signed(url: str, path: str, body: Mapping[str, Any], keys: Mapping[str, str]) -> bytes:
    """A request as it goes over the wire."""
    payload = orjson.dumps(body)
    headers = {"Content-Type": "application/json", "Host": urlsplit(url).netloc, "Content-Length": str(len(payload))}
    request = AWSRequest("POST", url + path, data=payload, headers=headers)
    credentials = Credentials(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"])
    SigV4Auth(credentials, "personalize", keys["AWS_REGION"]).add_auth(request)
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in request.headers.items()), "", ""]
    return "\r\n".join(lines).encode() + payload


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
    every = [
        _Connection(url, [signed(url, path, body(number * requests + n), keys) for n in range(requests)])
        for number in range(connections)
        for url in [urls[number % len(urls)]]
    ]
    milliseconds: list[float] = []
    with _uncollected(), selectors.SelectSelector() as selector:  # whose time-outs are not rounded to milliseconds
        for one in every:
            selector.register(one.socket, selectors.EVENT_READ, one)
        began = time.perf_counter()
        while len(milliseconds) < connections * requests:
            soonest = float("inf")
            for number, one in enumerate(every):
                if one.waits or one.sent == requests:
                    continue
                now = time.perf_counter()
                due = now if rate is None else began + (one.sent * connections + number) / rate
                if due <= now:
                    one.send(due)
                else:
                    soonest = min(soonest, due)
            left = None if soonest == float("inf") else max(0.0, soonest - time.perf_counter())
            for key, _ in selector.select(left):
                if (since := key.data.receive()) is not None:
                    milliseconds.append((time.perf_counter() - since) * 1e3)
        seconds = time.perf_counter() - began
    for one in every:
        one.socket.close()
    return _ranked(milliseconds, seconds)


def alone(each: float, load: float, seconds: float) -> Measured:
    """Plain Python in place of a server, here: pieces of work of ``each`` milliseconds, each of them due at its time.

    Together they are the share ``load`` of the time. What their percentiles have above ``each`` the machine has made.
    """

    def work() -> None:
        seen = {}
        for number in range(steps):
            seen[number & 63] = (number, str(number & 255))

    # Over some 0.2 s: a machine's slow spells are shorter.
    steps = 1000
    steps = round(steps * each / usual(work, 3000))
    apart = usual(work, max(9, round(200 / each))) / 1e3 / load
    milliseconds: list[float] = []
    with _uncollected():
        due = began = time.perf_counter()
        for _ in range(round(seconds / apart)):
            due += apart
            time.sleep(max(0.0, due - time.perf_counter()))
            work()
            milliseconds.append((time.perf_counter() - due) * 1e3)
        spent = time.perf_counter() - began
    return _ranked(milliseconds, spent)


def usual(work: Callable[[], object], times: int = 9) -> float:
    """Milliseconds, the median of so many times."""
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent) * 1e3


@contextmanager
def _uncollected() -> Iterator[None]:
    # The signed requests are thousands of objects: to look through them takes 10 to 20 ms, which would be the p99.
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def _ranked(milliseconds: Sequence[float], seconds: float) -> Measured:
    ranked = sorted(milliseconds)
    return Measured(len(ranked) / seconds, ranked[len(ranked) // 2], ranked[int(len(ranked) * 0.99)], len(ranked))


class _Connection:
    def __init__(self, url: str, ready: Sequence[bytes]) -> None:
        self.sent = 0
        self.waits = False
        self._ready = ready
        self._since = 0.0
        self._got = b""
        self.socket = socket.create_connection((urlsplit(url).hostname, urlsplit(url).port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, since: float) -> None:
        """The next request, which is timed from ``since``."""
        self._since, self.waits = since, True
        self.socket.sendall(self._ready[self.sent])
        self.sent += 1

    def receive(self) -> float | None:
        """Since when the request is timed that has its whole answer now; None: there is more to come."""
        more = self.socket.recv(65536)
        self._got += more
        head, _, said = self._got.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if not more or (length and not head.startswith(b"HTTP/1.1 200")):
            raise RuntimeError(f"the answer was {self._got[:500]!r}")
        if not length or len(said) < int(length):
            return None
        self._got, self.waits = b"", False
        return self._since
