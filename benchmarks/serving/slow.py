"""``python -m benchmarks.serving.slow URL IDLE SLOW``: so many connections that say nothing, or a byte a second.

Of the slow ones every other sends a head without an end, and the rest bodies. One that is closed is opened again. Says
how many are open, once a second, and ends with its standard input.
"""

from __future__ import annotations

import selectors
import socket
import sys
import time
from contextlib import suppress
from urllib.parse import urlsplit

from shared.system.open_files import raise_file_limit

HEADS = b"POST /recommendations HTTP/1.1\r\nHost: a\r\nX-Slow: "
BODIES = b"POST /recommendations HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"


def main() -> None:
    url, idle, slow = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    at = (urlsplit(url).hostname or "", urlsplit(url).port or 80)
    raise_file_limit(idle + slow + 64)
    first = [*([b""] * idle), *((HEADS, BODIES)[number % 2] for number in range(slow))]
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ, None)
        every = [_opened(at, said) for said in first]
        for number, connection in enumerate(every):
            selector.register(connection, selectors.EVENT_READ, number)
        while True:
            print(len(every), flush=True)
            for tenth in range(10):
                for connection in every[idle + tenth :: 10]:
                    _send(connection, b"x")
                until = time.monotonic() + 0.1
                while (left := until - time.monotonic()) > 0:
                    for key, _ in selector.select(left):
                        if key.data is None:
                            return
                        selector.unregister(every[key.data])
                        every[key.data].close()
                        every[key.data] = _opened(at, first[key.data])
                        selector.register(every[key.data], selectors.EVENT_READ, key.data)


def _opened(at: tuple[str, int], said: bytes) -> socket.socket:
    connection = socket.create_connection(at)
    _send(connection, said)
    return connection


def _send(connection: socket.socket, said: bytes) -> None:
    with suppress(OSError):  # it was closed, and will be opened again
        connection.sendall(said)


if __name__ == "__main__":
    main()
