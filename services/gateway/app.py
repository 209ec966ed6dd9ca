"""The application of the gateway: it forwards requests to the services, or refuses them.

The fixed paths of the runtime and events services go to these services and "/" to the API; any other path is refused
here. Method, raw path, headers (with Host, which is signed) and body are forwarded unchanged, except that hop-by-hop
headers are dropped and a chunked body is sent with its length. A call is forwarded once it has arrived whole. The
services check the signatures.

The health endpoints of the services (shared.observability.health) are never forwarded: the gateway answers /healthz and
/readyz for itself, and /metrics only at FORETASTE_METRICS_BIND, an address that clients don't reach.

A refusal is an error in AWS's form. The SDKs retry ServiceUnavailable (503) and RequestTimeoutException (408).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from http import HTTPStatus
from socket import socket
from typing import cast

import orjson
import structlog
from aiohttp import hdrs, web
from multidict import CIMultiDict

from services.gateway.connections import (
    Connection,
    ConnectionLimits,
    ConnectionRegistry,
    ConnectionState,
    create_connection_factory,
)
from services.gateway.responses import build_error_response, build_own_response, build_response
from services.gateway.upstreams import ForwardedCall, Upstream
from shared import settings
from shared.aws import service_model
from shared.aws.errors import InternalFailure, PersonalizeError, RequestTooLarge, Serialization, UnknownOperation
from shared.http import request_body
from shared.http.bare_response import set_status
from shared.observability import logging, metrics
from shared.observability.health import HEALTH_PATHS, HealthEndpoints
from shared.settings import Settings
from shared.system.open_files import raise_file_limit

log = structlog.get_logger()

SWEEP_SECONDS = 0.5  # between two checks for expired connections
LINGER_SECONDS = 1.0  # that a stopping gateway still takes calls on open connections
BACKLOG = 1024
#: Open files of a process apart from its connections: logs, sockets and files of libraries.
OTHER_FILES = 128

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# The gateway has answered Expect, and computes the length of the body.
NOT_FORWARDED = HOP_BY_HOP | {"expect", "content-length"}
# The gateway adds its own Date and Server.
NOT_RETURNED = HOP_BY_HOP | {"date", "server"}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def create_app() -> Gateway:
    """Create the gateway of this process from the environment; gunicorn calls this."""
    configured = settings.load()
    logging.configure_logging(configured, "gateway")
    gateway = Gateway(configured)
    gateway.health.start_server(configured.metrics_bind)
    return gateway


class Gateway:
    """Forwards the calls of clients to the services, and answers its own health endpoints."""

    def __init__(self, configured: Settings) -> None:
        urls = {
            "personalize": configured.api_url,
            "personalize-runtime": configured.runtime_url,
            "personalize-events": configured.events_url,
        }
        self._upstreams = {
            service: Upstream(service, url, calls=configured.gateway_calls, waiting=configured.gateway_waiting)
            for service, url in urls.items()
        }
        self._by_path = {"/": self._upstreams["personalize"]}
        self._by_path |= {
            path: self._upstreams[service] for service in urls for path in service_model.load_paths(service)
        }
        self.connections = ConnectionRegistry(_compute_limits(configured))
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._checking: asyncio.Task[Mapping[str, bool]] | None = None
        ready = {service: partial(self._is_upstream_reached, service) for service in urls}
        self.health = HealthEndpoints("gateway", alive={"loop": self._is_loop_alive}, ready=ready)

    async def __call__(self, sockets: Sequence[socket], stop: asyncio.Event, grace: float) -> None:
        """Serve on listening sockets until `stop` is set, then finish running calls within `grace` seconds."""
        self._loop = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            for upstream in self._upstreams.values():
                await stack.enter_async_context(upstream.open_sessions())
            factory = create_connection_factory(self.connections, self._answer_request)
            servers = [await self._loop.create_server(factory, sock=sock, backlog=BACKLOG) for sock in sockets]
            sweeping = asyncio.create_task(self._close_expired_connections())
            await stop.wait()
            self._stopping = True
            for one in servers:
                one.close()
            await self._finish_calls(grace)
            sweeping.cancel()
            self.connections.close_all()

    async def _close_expired_connections(self) -> None:
        while True:
            self.connections.close_expired()
            metrics.set_gateway_connections(
                {state.value: count for state, count in self.connections.count_by_state().items()}
            )
            await asyncio.sleep(SWEEP_SECONDS)

    async def _finish_calls(self, grace: float) -> None:
        """Wait for running calls, and LINGER_SECONDS for requests that have not arrived whole."""
        begun = time.monotonic()
        while (passed := time.monotonic() - begun) < grace:
            count = self.connections.count_by_state()
            if not (count[ConnectionState.ANSWERED] or (passed < LINGER_SECONDS and any(count.values()))):
                break
            await asyncio.sleep(0.02)

    async def _answer_request(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = cast(Connection, request.protocol)
        path = request.raw_path.partition("?")[0]  # as it was sent
        upstream = self._by_path.get(path)
        started = time.perf_counter()
        service = "personalize" if upstream is None else upstream.service
        try:
            response = await self._forward_request(request, connection, path, upstream)
        except PersonalizeError as error:
            response = build_error_response(error, service)
        except Exception:  # aiohttp's own answer would be HTML
            log.exception("request failed", path=path)
            response = build_error_response(InternalFailure("An internal error has occurred."), service)
        if path not in _HEALTH_PATHS:
            metrics.count_gateway_request(service, response.status, time.perf_counter() - started)
        # Without the whole body, or if the parser may have left HTTP/1, the start of the next request is unknown.
        is_unsure = (
            not request.content.at_eof() or request.content.exception() is not None or "Upgrade" in request.headers
        )
        if is_unsure or connection.ended or self._stopping:
            response.force_close()
        connection.become_idle()
        return response

    async def _forward_request(
        self, request: web.BaseRequest, connection: Connection, path: str, upstream: Upstream | None
    ) -> web.StreamResponse:
        if upstream is None:
            await _discard_body(request)
            connection.enter_state(ConnectionState.ANSWERED)
            return await self._answer_locally(request, path)
        # Checked before the body is read: a request with invalid headers is refused without it.
        headers = _filter_headers(request)
        body = await _read_body(request, connection)
        connection.enter_state(ConnectionState.ANSWERED)
        call = ForwardedCall(method=request.method, target=request.raw_path, headers=headers, body=body)
        returned = await upstream.send_call(call)
        kept = ((name, value) for name, value in returned.headers.items() if name.lower() not in NOT_RETURNED)
        return build_response(returned.status, kept, returned.body)

    async def _answer_locally(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        """Answer /ping, /healthz and /readyz. Raises UnknownOperation for any other path."""
        if path == "/ping":
            reached = await self._check_upstreams()
            status = HTTPStatus.OK if all(reached.values()) else HTTPStatus.SERVICE_UNAVAILABLE
            return build_own_response(
                status, "application/json", orjson.dumps({"service": "gateway", "upstreams": reached})
            )
        if path in _HEALTH_PATHS and path != "/metrics":
            # In a thread, because its checks wait for this event loop. Calls need no threads.
            answer = await asyncio.to_thread(self.health.respond, path)
            if answer is not None:
                return build_own_response(answer.status, answer.content_type, answer.body)
        if not path.startswith("/"):
            raise UnknownOperation("The request target must be a path.")
        refusal = UnknownOperation(f"There is no operation at {request.method} {_format_path(path)}.")
        raise set_status(refusal, HTTPStatus.NOT_FOUND)

    async def _check_upstreams(self) -> Mapping[str, bool]:
        """Return for each service whether it answers. Concurrent callers share one ping per service."""
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._ping_upstreams())
        return await asyncio.shield(self._checking)

    async def _ping_upstreams(self) -> Mapping[str, bool]:
        answers = await asyncio.gather(*(upstream.ping_service() for upstream in self._upstreams.values()))
        return dict(zip(self._upstreams, answers, strict=True))

    def _is_upstream_reached(self, service: str) -> bool:
        """Tell whether a service answers; call it from another thread than the event loop's."""
        if self._loop is None:
            return False
        return asyncio.run_coroutine_threadsafe(self._check_upstreams(), self._loop).result()[service]

    def _is_loop_alive(self) -> bool:
        """Tell whether the event loop runs; call it from another thread than its own."""
        if self._loop is None:
            return False
        try:
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop).result(1.0)
        except TimeoutError:
            return False
        return True


_HEALTH_PATHS = frozenset({"/ping", *HEALTH_PATHS})


def _compute_limits(configured: Settings) -> ConnectionLimits:
    """Compute the limits from the settings, with no more connections than the system allows open files."""
    reserved = OTHER_FILES + 2 * len(service_model.SERVICES) * configured.gateway_calls
    total = min(configured.gateway_connections, raise_file_limit(configured.gateway_connections + reserved) - reserved)
    if total < configured.gateway_connections:
        log.warning("open file limit below FORETASTE_GATEWAY_CONNECTIONS", connections=total)
    return ConnectionLimits(
        seconds={
            ConnectionState.IDLE: configured.gateway_idle_seconds,
            ConnectionState.HEAD: configured.gateway_head_seconds,
            ConnectionState.BODY: configured.gateway_body_seconds,
        },
        per_peer=configured.gateway_connections_per_peer,
        in_all=max(total, 1),
        body_bytes=configured.gateway_bodies_mb * 1024 * 1024,
    )


def _filter_headers(request: web.BaseRequest) -> CIMultiDict[str]:
    """Return the headers to forward. Raises Serialization for headers that can't be forwarded unchanged."""
    if request.headers.get(hdrs.TRANSFER_ENCODING, "chunked").lower() != "chunked":
        raise Serialization("The only transfer encoding is chunked.")
    named = {name.strip().lower() for name in ",".join(request.headers.getall(hdrs.CONNECTION, ())).split(",")}
    dropped = NOT_FORWARDED | named - {"host"}
    headers = CIMultiDict(pair for pair in request.headers.items() if pair[0].lower() not in dropped)
    for value in headers.values():
        if not value.isprintable() and not _is_text(value):
            raise Serialization("The request is not valid HTTP.")
    return headers


def _is_text(value: str) -> bool:
    """Tell whether a value is one line of UTF-8 (invalid bytes are surrogates here)."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return not {"\r", "\n", "\0"}.intersection(value)


async def _read_body(request: web.BaseRequest, connection: Connection) -> bytes:
    """Read the whole body. Raises RequestTooLarge, Serialization, or ServiceUnavailable if memory is short."""
    too_large = RequestTooLarge(f"Request size exceeded {request_body.MAX_BODY_BYTES} bytes.")
    if _expects_continue(request):
        if (request.content_length or 0) > request_body.MAX_BODY_BYTES:
            raise too_large
        await request.writer.write(CONTINUE)
    body = bytearray()
    try:
        async for chunk in _iter_chunks(request):
            if len(body) + len(chunk) > request_body.MAX_BODY_BYTES:
                await _discard_rest(request, len(body) + len(chunk))
                raise too_large
            connection.reserve_bytes(len(chunk))
            body += chunk
    except web.RequestPayloadError:
        raise Serialization("The body is not chunked as HTTP says.") from None
    except ConnectionError:
        raise Serialization("The body ended before all of it had arrived.") from None
    return bytes(body)


async def _discard_body(request: web.BaseRequest) -> None:
    """Discard the body of a request that is refused by its head, unless the client waits for 100 Continue."""
    if not _expects_continue(request):
        with suppress(web.RequestPayloadError, ConnectionError):
            await _discard_rest(request, 0)


async def _discard_rest(request: web.BaseRequest, read: int) -> None:
    """Read and discard the rest of a body: a client that is still sending would see a reset and not the error."""
    async for chunk in _iter_chunks(request):
        read += len(chunk)
        if read > request_body.MAX_DISCARDED_BYTES:
            return


async def _iter_chunks(request: web.BaseRequest) -> AsyncIterator[bytes]:
    """Yield the chunks of the body. Raises ConnectionError if the connection ends within it."""
    while not request.content.at_eof():
        if not request.protocol.connected:
            raise ConnectionResetError
        yield await request.content.readany()


def _expects_continue(request: web.BaseRequest) -> bool:
    return request.version >= (1, 1) and request.headers.get(hdrs.EXPECT, "").lower() == "100-continue"


def _format_path(path: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in path[:256])
