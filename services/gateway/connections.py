"""The connections of clients, with limits of time, number and memory.

A connection has one of four states. It is *idle* until the first byte of a request arrives. Then the client sends the
*head* and the *body*, each within a limit of time that further bytes do not extend. While the whole request is being
*answered*, the time limits are those of the upstream. In the first three states a connection costs a few kilobytes, but
no thread and no connection to a service.

A connection that exceeds its time is closed with 408, which the SDKs retry; an idle one is closed without a response.
To make room, a connection is closed with 503, or without a response if it is idle:

* If a peer opens more connections than it may have, its connection that has waited longest for a whole request is
  closed; if all peers together have too many, the one of all that has waited longest. A client that keeps connections
  open between its calls loses the oldest one, and opens another.
* If all bodies together take more memory than they may, the oldest incomplete one is closed.
* If every connection is being answered, the new one is refused.

A peer is an IPv4 address, or the first 64 bits of an IPv6 address.
"""

from __future__ import annotations

import asyncio
import heapq
import ipaddress
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Any, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import StreamReader

from services.gateway.responses import build_error_response
from shared.aws.errors import PersonalizeError, RequestTimeout, Serialization, ServiceUnavailable
from shared.http.bare_response import build_bare_response, set_status
from shared.observability import metrics

RequestCallback = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

LINE = 4094  # bytes of a request line
FIELD = 8190  # bytes of one header
FIELDS = 64  # headers
HEAD = 64 * 1024  # bytes of all of them
AHEAD = 64 * 1024  # bytes that a client may send before its running call is answered


class ConnectionState(Enum):
    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    ANSWERED = "answered"


_TOO_LATE: Mapping[ConnectionState, str | None] = {
    ConnectionState.IDLE: None,
    ConnectionState.HEAD: "The head of the request took too long.",
    ConnectionState.BODY: "The body of the request took too long.",
}


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """Seconds in each state but ANSWERED, connections of one peer and of all, and bytes of all bodies together."""

    seconds: Mapping[ConnectionState, float]
    per_peer: int
    in_all: int
    body_bytes: int


class ConnectionRegistry:
    """The connections of one process and the memory of their bodies; used only in the event loop's thread."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        #: The connections that wait for their client, by state, the longest in it first.
        self._waiting: Mapping[ConnectionState, dict[Connection, None]] = {state: {} for state in limits.seconds}
        self._connections: set[Connection] = set()
        self._of_peer: Counter[str] = Counter()
        self._body_bytes = 0

    def add_connection(self, connection: Connection) -> None:
        """Add a new connection. Raises ServiceUnavailable if no other one can be closed for it."""
        peer = connection.peer
        if self._of_peer[peer] >= self.limits.per_peer:
            self._close_oldest(one for one in self._iter_by_age() if one.peer == peer)
        if len(self._connections) >= self.limits.in_all:
            self._close_oldest(self._iter_by_age())
        self._of_peer[peer] += 1
        self._connections.add(connection)
        self.set_state(connection, ConnectionState.IDLE)

    def remove_connection(self, connection: Connection) -> None:
        if connection not in self._connections:
            return
        self.set_state(connection, ConnectionState.ANSWERED)
        self.release_bytes(connection)
        self._connections.discard(connection)
        self._of_peer[connection.peer] -= 1
        if not self._of_peer[connection.peer]:
            del self._of_peer[connection.peer]

    def set_state(self, connection: Connection, state: ConnectionState) -> None:
        if connection not in self._connections:
            return
        if connection.state in self._waiting:
            self._waiting[connection.state].pop(connection, None)
        connection.state, connection.since = state, time.monotonic()
        if state in self._waiting:
            self._waiting[state][connection] = None

    def reserve_bytes(self, connection: Connection, count: int) -> None:
        """Reserve memory for ``count`` more bytes of a body. Raises ServiceUnavailable if there is no room."""
        while self._body_bytes + count > self.limits.body_bytes:
            self._close_oldest(
                other for other in self._waiting[ConnectionState.BODY] if other.body_bytes and other is not connection
            )
        connection.body_bytes += count
        self._body_bytes += count

    def release_bytes(self, connection: Connection) -> None:
        """Release the memory of a body."""
        self._body_bytes -= connection.body_bytes
        connection.body_bytes = 0

    def close_expired(self) -> None:
        """Close the connections that have exceeded their time."""
        for state, seconds in self.limits.seconds.items():
            before = time.monotonic() - seconds
            for connection in list(self._waiting[state]):
                if connection.since > before:
                    break
                message = _TOO_LATE[state]
                connection.close_with_error(None if message is None else RequestTimeout(message), why=state.value)

    def count_by_state(self) -> Mapping[ConnectionState, int]:
        waiting = {state: len(connections) for state, connections in self._waiting.items()}
        return {**waiting, ConnectionState.ANSWERED: len(self._connections) - sum(waiting.values())}

    def close_all(self) -> None:
        """Close all connections."""
        for connection in list(self._connections):
            connection.close_with_error(None, why="stopped")

    def _iter_by_age(self) -> Iterable[Connection]:
        return heapq.merge(*self._waiting.values(), key=lambda connection: connection.since)

    def _close_oldest(self, candidates: Iterable[Connection]) -> None:
        refusal = ServiceUnavailable("There are too many connections, or too large requests. Please try again.")
        found = next(iter(candidates), None)
        if found is None:
            raise refusal
        found.close_with_error(None if found.state is ConnectionState.IDLE else refusal, why="shed")


class Connection(web.RequestHandler):
    """A connection of a client. aiohttp parses requests and writes responses; the registry enforces the limits."""

    __slots__ = ("_ahead", "_registry", "body_bytes", "ended", "payload", "peer", "since", "state")

    def __init__(self, server: web.Server, registry: ConnectionRegistry, **options: Any) -> None:
        super().__init__(server, **options)
        self._registry = registry
        self._ahead = 0  # bytes received in the current state
        self.peer = ""
        self.state = ConnectionState.IDLE
        self.since = 0.0
        self.body_bytes = 0
        self.ended = False  # the client will send nothing more
        self.payload: StreamReader | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.peer = get_peer(transport.get_extra_info("peername"))
        try:
            self._registry.add_connection(self)
        except ServiceUnavailable as refusal:
            self.close_with_error(refusal, why="refused")

    def connection_lost(self, exc: BaseException | None) -> None:
        self._registry.remove_connection(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if data and self.state is not ConnectionState.BODY:
            if self.state is ConnectionState.IDLE:
                self.enter_state(ConnectionState.HEAD)
            elif self._ahead > (HEAD if self.state is ConnectionState.HEAD else AHEAD):
                self.close_with_error(_create_headers_error(), why="size")
                return
            self._ahead += len(data)
        super().data_received(data)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Stay open for the answer if the whole request has arrived."""
        self.ended = True
        if self.state is ConnectionState.BODY and self.payload is not None and not self.payload.is_eof():
            self.close_with_error(Serialization("The body ended before all of it had arrived."), why="ended")
        return self.state in (ConnectionState.BODY, ConnectionState.ANSWERED) and self.transport is not None

    def enter_state(self, state: ConnectionState) -> None:
        self._ahead = 0
        self._registry.set_state(self, state)

    def begin_body(self, payload: StreamReader) -> None:
        """Note that the head has arrived, and possibly the body with it."""
        self.payload = payload
        self.enter_state(ConnectionState.ANSWERED if payload.is_eof() else ConnectionState.BODY)

    def reserve_bytes(self, count: int) -> None:
        self._registry.reserve_bytes(self, count)

    def become_idle(self) -> None:
        """Wait for the next request, after the response has gone to the transport."""
        self.payload = None
        self._registry.release_bytes(self)
        self.enter_state(ConnectionState.IDLE)

    def close_with_error(self, refusal: PersonalizeError | None, *, why: str) -> None:
        """Close the connection, after an error response if there is one and the client reads it."""
        transport = self.transport
        if transport is not None:
            if refusal is not None and self.state is not ConnectionState.ANSWERED:
                transport.write(build_bare_response(refusal))
            if transport.get_write_buffer_size():  # the client does not read, and close() would wait for it
                transport.abort()
        metrics.count_gateway_cut(why)
        self._registry.remove_connection(self)
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,  # noqa: ARG002
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        """Answer invalid HTTP with an error in AWS's form. (The application answers its own errors.)"""
        metrics.count_gateway_cut("invalid")
        return build_error_response(_convert_error(exc), close=True)


def create_connection_factory(registry: ConnectionRegistry, handler: RequestCallback) -> Callable[[], Connection]:
    """Create the protocol factory for asyncio's `create_server`."""
    aiohttp_server = web.Server(handler, request_factory=_create_request)
    options: dict[str, Any] = {
        "max_line_size": LINE,
        "max_field_size": FIELD,
        "max_headers": FIELDS,
        "auto_decompress": False,
        "access_log": None,
        # The registry's own limit comes first.
        "keepalive_timeout": 2 * registry.limits.seconds[ConnectionState.IDLE],
        "lingering_time": 0,
    }
    return lambda: Connection(aiohttp_server, registry, loop=asyncio.get_running_loop(), **options)


def _create_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    cast(Connection, protocol).begin_body(payload)
    return web.BaseRequest(message, payload, protocol, writer, task, asyncio.get_running_loop())


def _convert_error(exc: BaseException | None) -> PersonalizeError:
    match exc:
        case LineTooLong(args=(_, limit, _)) if limit == LINE:
            return set_status(Serialization("The request line is too long."), HTTPStatus.REQUEST_URI_TOO_LONG)
        case LineTooLong():
            return _create_headers_error()
    return Serialization("The request is not valid HTTP.")


def _create_headers_error() -> PersonalizeError:
    refusal = Serialization("The headers are too large.")
    return set_status(refusal, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)


def get_peer(address: Any) -> str:
    """Return the peer of a remote address. All connections of a Unix socket have the same peer."""
    if not isinstance(address, tuple):
        return ""
    host: str = address[0]
    if ":" not in host:
        return host
    ip = ipaddress.IPv6Address(host.partition("%")[0])
    if ip.ipv4_mapped:
        return str(ip.ipv4_mapped)
    return str(ipaddress.IPv6Network((ip, 64), strict=False).network_address)
