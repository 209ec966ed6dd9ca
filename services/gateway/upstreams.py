"""Send calls to a service, and hide its failures from clients where that is safe:

* If the service refuses the connection (it is being restarted), no byte was sent: the call waits up to WAIT_SECONDS.
* If it closes the connection before it answers (the usual end of a kept-alive connection that it closed at the moment
  of our call), the call is sent once more, on a new connection, provided that it has an amz-sdk-invocation-id: the SDKs
  would resend such a call under the same id too, and the services carry it out once. A call without the id might run
  twice, so it is refused.
* If it stops responding, or breaks off in its answer, the call is refused.

Up to `calls` calls are sent to each service at once, up to `waiting` more wait for a slot for WAIT_SECONDS, and further
ones are refused at once. Each service has its own slots, so that one that is down does not affect the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
import structlog
from aiohttp import hdrs
from multidict import CIMultiDict
from yarl import URL

from shared.aws.errors import ServiceUnavailable

log = structlog.get_logger()

WAIT_SECONDS = 20.0  # that a call waits for a service that refuses connections, or for a slot
POLL_SECONDS = 0.05  # between two tries to connect
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=2.0, sock_read=65.0)  # the SDKs give up after 60
PING_TIMEOUT = aiohttp.ClientTimeout(total=3.0)
#: How long a resolved name is cached: it may have several addresses, or a new one.
DNS_SECONDS = 2

#: Headers that aiohttp would add to a request.
_OWN = (hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE, hdrs.USER_AGENT)
_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_CLOSED = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientConnectionResetError)


@dataclass(frozen=True, kw_only=True)
class ForwardedCall:
    """A call to forward. `target` is its raw path and query."""

    method: str
    target: str
    headers: CIMultiDict[str]
    body: bytes

    @property
    def repeatable(self) -> bool:
        return "amz-sdk-invocation-id" in self.headers


@dataclass(frozen=True, kw_only=True)
class UpstreamResponse:
    status: int
    headers: CIMultiDict[str]
    body: bytes


class Upstream:
    """A service. Use it in the event loop in which its sessions were opened."""

    def __init__(self, service: str, url: str, *, calls: int, waiting: int) -> None:
        self.service = service
        self._url = url.rstrip("/")
        self._ping = URL(f"{self._url}/ping")
        self._most_waiting = waiting
        self._waiting = 0
        self._slots = asyncio.Semaphore(calls)
        self._polling: asyncio.Task[None] | None = None
        self._kept: aiohttp.ClientSession
        self._fresh: aiohttp.ClientSession
        self._pings: aiohttp.ClientSession

    @asynccontextmanager
    async def open_sessions(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            self._kept = await stack.enter_async_context(_create_session(keep=True))
            self._fresh = await stack.enter_async_context(_create_session(keep=False))
            self._pings = await stack.enter_async_context(_create_session(keep=True))
            yield
            if self._polling is not None:
                self._polling.cancel()

    async def send_call(self, call: ForwardedCall) -> UpstreamResponse:
        """Send a call and return the answer of the service. Raises ServiceUnavailable."""
        await self._acquire_slot()
        try:
            try:
                return await self._send_with_retry(call)
            except _NOT_SENT:
                return await self._wait_and_send(call)
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("upstream failed", service=self.service, reason=str(error) or type(error).__name__)
            raise ServiceUnavailable(
                f"The {self.service} service does not answer at the moment. Please try again."
            ) from None
        finally:
            self._slots.release()

    async def ping_service(self) -> bool:
        """Tell whether the service answers /ping, on a connection that calls don't use."""
        try:
            async with self._pings.get(self._ping, timeout=PING_TIMEOUT) as response:
                return response.status == HTTPStatus.OK
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _acquire_slot(self) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        refusal = ServiceUnavailable(f"The {self.service} service has too much to do. Please try again.")
        if self._waiting >= self._most_waiting:
            raise refusal
        self._waiting += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._slots.acquire()
        except TimeoutError:
            raise refusal from None
        finally:
            self._waiting -= 1

    async def _wait_and_send(self, call: ForwardedCall) -> UpstreamResponse:
        until = asyncio.get_running_loop().time() + WAIT_SECONDS
        while True:
            async with asyncio.timeout_at(until):
                await self._wait_until_listening()
            try:
                return await self._send_with_retry(call)
            except _NOT_SENT:
                continue

    async def _wait_until_listening(self) -> None:
        """Wait until the service accepts connections. All waiting calls share one poll."""
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll_until_listening())
        await asyncio.shield(self._polling)

    async def _poll_until_listening(self) -> None:
        at = URL(self._url)
        until = asyncio.get_running_loop().time() + WAIT_SECONDS
        while asyncio.get_running_loop().time() < until:
            await asyncio.sleep(POLL_SECONDS)
            try:
                async with asyncio.timeout(TIMEOUT.sock_connect):
                    _, writer = await asyncio.open_connection(at.host, at.port)
            except OSError:  # includes TimeoutError
                continue
            writer.close()
            return

    async def _send_with_retry(self, call: ForwardedCall) -> UpstreamResponse:
        """Send a call, and once more if the service closed the connection. Raises _NOT_SENT if no byte was sent."""
        try:
            return await self._send_once(self._kept, call)
        except _NOT_SENT:
            raise
        except _CLOSED:
            if not call.repeatable:
                raise
        return await self._send_once(self._fresh, call)

    async def _send_once(self, session: aiohttp.ClientSession, call: ForwardedCall) -> UpstreamResponse:
        url = URL(self._url + call.target, encoded=True)
        async with session.request(
            call.method, url, headers=call.headers, data=call.body or None, allow_redirects=False, timeout=TIMEOUT
        ) as response:
            try:
                body = await response.read()
            except (aiohttp.ClientError, ConnectionError) as error:
                raise aiohttp.ClientPayloadError("the answer broke off") from error
            return UpstreamResponse(status=response.status, headers=response.headers.copy(), body=body)


def _create_session(*, keep: bool) -> aiohttp.ClientSession:
    # The slots limit the number of connections. The service closes those that are kept alive.
    connector = aiohttp.TCPConnector(limit=0, force_close=not keep, ttl_dns_cache=DNS_SECONDS)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=_OWN,
        auto_decompress=False,
    )
