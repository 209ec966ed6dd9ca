"""Upstreams that follow a script, and the response that a test gets through the gateway."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from dataclasses import dataclass
from http.client import HTTPMessage

from tests.conftest import until

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@dataclass(frozen=True)
class GatewayAnswer:
    """The response that a client of the gateway got."""

    status_code: int
    data: bytes
    headers: HTTPMessage


class ScriptedUpstream:
    """A server that answers each request with the next line of its script; a line may be bytes or None to hang up."""

    def __init__(self, port: int = 0) -> None:
        self.script: list[bytes | None] = []
        self.requests: list[tuple[int, bytes]] = []
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", port), reuse_port=False)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept_connections, daemon=True).start()

    def _accept_connections(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(
                target=self._answer_requests, args=(len(self._connections), connection), daemon=True
            ).start()

    def _answer_requests(self, number: int, connection: socket.socket) -> None:
        while (request := _receive_request(connection)) is not None:
            self.requests.append((number, request))
            line = self.script.pop(0) if self.script else OK
            if line:
                connection.sendall(line)
            if line is None or b"content-length: 9" in line.lower():  # more was promised than comes
                break
        _close_socket(connection)

    def hang_up(self) -> None:
        for connection in self._connections:
            _close_socket(connection)

    def close(self) -> None:
        _close_socket(self._listener)


def _close_socket(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side, or the other thread, was first
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def _receive_request(connection: socket.socket) -> bytes | None:
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            chunk = connection.recv(65536)
        except OSError:
            return None
        if not chunk:
            return None
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while len(body) < sum(lengths):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def assert_refused(answer: GatewayAnswer, code: str, status: int) -> dict[str, str]:
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (status, code)
    assert len(answer.headers["x-amzn-RequestId"]) == 36
    content = json.loads(answer.data)
    assert content["__type"] == code
    return content


def wait_until_refused(port: int) -> None:
    def is_refused() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            return True
        return False

    until(is_refused, 5, f"port {port} to close")
