"""The way of a call to a service, and what happens when the service fails, so that a client may not notice:

* It refuses the connection (it is being restarted): nothing was sent, so the call waits for it, up to PATIENCE.
* It closes the connection before it answers: this is how a kept-alive connection ends that the service gave up in
  the moment we used it. The call is sent once more, on a new connection, if it carries an amz-sdk-invocation-id: the
  SDKs themselves would send such a call again under the same id, and the services answer it once. A call without the
  id might be done twice, so it is refused.
* It goes silent, or breaks off in its answer: refused.

So many calls are sent to each service at once; as many as `waiting` wait for their turn, up to PATIENCE, and more are
refused at once. Each service has its own turns: one that is down does not take the others with it.
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

PATIENCE = 20.0  # seconds that a call waits for a service that refuses connections, or for its turn
KNOCK = 0.05  # seconds between two tries
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=2.0, sock_read=65.0)  # the SDKs give up after 60
PING_TIMEOUT = aiohttp.ClientTimeout(total=3.0)
#: A name may stand for several processes, or for another than before.
DNS_SECONDS = 2

#: What aiohttp would add to a request.
_OWN = (hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE, hdrs.USER_AGENT)
_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_CLOSED = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientConnectionResetError)


@dataclass(frozen=True, kw_only=True)
class Forwarded:
    """A call as it goes on: `target` is its raw path and query."""

    method: str
    target: str
    headers: CIMultiDict[str]
    body: bytes

    @property
    def repeatable(self) -> bool:
        return "amz-sdk-invocation-id" in self.headers


@dataclass(frozen=True, kw_only=True)
class Returned:
    status: int
    headers: CIMultiDict[str]
    body: bytes


class Upstream:
    """One service. To be used in the event loop in which it was opened."""

    def __init__(self, service: str, url: str, *, calls: int, waiting: int) -> None:
        self.service = service
        self._url = url.rstrip("/")
        self._ping = URL(f"{self._url}/ping")
        self._most_waiting = waiting
        self._waiting = 0
        self._turns = asyncio.Semaphore(calls)
        self._knocking: asyncio.Task[None] | None = None
        self._kept: aiohttp.ClientSession
        self._fresh: aiohttp.ClientSession
        self._pings: aiohttp.ClientSession

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            self._kept = await stack.enter_async_context(_session(keep=True))
            self._fresh = await stack.enter_async_context(_session(keep=False))
            self._pings = await stack.enter_async_context(_session(keep=True))
            yield
            if self._knocking is not None:
                self._knocking.cancel()

    async def send(self, call: Forwarded) -> Returned:
        """The service's answer. Raises ServiceUnavailable."""
        await self._take_a_turn()
        try:
            try:
                return await self._send(call)
            except _NOT_SENT:
                return await self._wait_and_send(call)
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("upstream failed", service=self.service, reason=str(error) or type(error).__name__)
            raise ServiceUnavailable(
                f"The {self.service} service does not answer at the moment. Please try again."
            ) from None
        finally:
            self._turns.release()

    async def answers(self) -> bool:
        """Whether the service answers /ping, on a connection that no call uses."""
        try:
            async with self._pings.get(self._ping, timeout=PING_TIMEOUT) as response:
                return response.status == HTTPStatus.OK
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _take_a_turn(self) -> None:
        if not self._turns.locked():
            await self._turns.acquire()
            return
        refusal = ServiceUnavailable(f"The {self.service} service has too much to do. Please try again.")
        if self._waiting >= self._most_waiting:
            raise refusal
        self._waiting += 1
        try:
            async with asyncio.timeout(PATIENCE):
                await self._turns.acquire()
        except TimeoutError:
            raise refusal from None
        finally:
            self._waiting -= 1

    async def _wait_and_send(self, call: Forwarded) -> Returned:
        until = asyncio.get_running_loop().time() + PATIENCE
        while True:
            async with asyncio.timeout_at(until):
                await self._until_it_listens()
            try:
                return await self._send(call)
            except _NOT_SENT:
                continue

    async def _until_it_listens(self) -> None:
        """All who wait for the service do so together: it is knocked at once for all."""
        if self._knocking is None or self._knocking.done():
            self._knocking = asyncio.create_task(self._knock())
        await asyncio.shield(self._knocking)

    async def _knock(self) -> None:
        at = URL(self._url)
        until = asyncio.get_running_loop().time() + PATIENCE
        while asyncio.get_running_loop().time() < until:
            await asyncio.sleep(KNOCK)
            try:
                async with asyncio.timeout(TIMEOUT.sock_connect):
                    _, writer = await asyncio.open_connection(at.host, at.port)
            except OSError:  # TimeoutError among them
                continue
            writer.close()
            return

    async def _send(self, call: Forwarded) -> Returned:
        """Raises what is in _NOT_SENT where nothing was sent."""
        try:
            return await self._sent(self._kept, call)
        except _NOT_SENT:
            raise
        except _CLOSED:
            if not call.repeatable:
                raise
        return await self._sent(self._fresh, call)

    async def _sent(self, session: aiohttp.ClientSession, call: Forwarded) -> Returned:
        url = URL(self._url + call.target, encoded=True)
        async with session.request(
            call.method, url, headers=call.headers, data=call.body or None, allow_redirects=False, timeout=TIMEOUT
        ) as response:
            try:
                body = await response.read()
            except (aiohttp.ClientError, ConnectionError) as error:
                raise aiohttp.ClientPayloadError("the answer broke off") from error
            return Returned(status=response.status, headers=response.headers.copy(), body=body)


def _session(*, keep: bool) -> aiohttp.ClientSession:
    # The turns limit how many there are. One that is kept has no limit of ours: the service closes it.
    connector = aiohttp.TCPConnector(limit=0, force_close=not keep, ttl_dns_cache=DNS_SECONDS)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=_OWN,
        auto_decompress=False,
    )
