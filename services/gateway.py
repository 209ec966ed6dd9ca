"""One port for the three services: a reverse proxy that looks at the path and at nothing else.

The eight fixed paths go to the runtime and events services, everything else to the API. Method, raw path,
headers (Host among them: it is signed) and body pass as they came; only hop-by-hop headers stay behind, and a
chunked body goes on with its length. Signatures are checked where the call is answered, not here.

What a process says of itself (shared.vitals) never passes: the gateway answers /healthz and /readyz of its own, and
/metrics only where FORETASTE_METRICS_BIND says, which is no address that clients reach.

What happens when an upstream fails, and why a client may not notice:

* It refuses the connection (it is being restarted): nothing was sent, so the call waits for it, up to
  PATIENCE. At most half of the threads wait; a call beyond that is refused at once: one service that is
  down does not take the others with it.
* It closes the connection before it answers: this is how a kept-alive connection ends that the upstream gave
  up in the moment we used it. The call is sent once more, on a new connection, if it carries an
  amz-sdk-invocation-id: the SDKs themselves would send such a call again under the same id, and the services
  answer it once. A call without the id might be done twice, so it is refused.
* It goes silent, or breaks off in its answer: refused.

Refused means ServiceUnavailable, 503, in AWS's form: the SDKs try again by themselves.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from uuid import uuid4

import orjson
import structlog
import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ProtocolError
from urllib3.util import SKIP_HEADER
from werkzeug.datastructures import EnvironHeaders

from shared import meters, settings, telemetry
from shared.aws import bodies, model
from shared.aws.errors import InternalFailure, PersonalizeError, ServiceUnavailable, UnknownOperation
from shared.settings import Settings
from shared.vitals import PATHS, Vitals

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = structlog.get_logger()

PATIENCE = 20.0  # seconds that a call waits for an upstream that refuses connections
KNOCK = 0.05  # seconds between two tries
TIMEOUT = urllib3.Timeout(connect=2.0, read=65.0)  # the SDKs give up after 60
PING_TIMEOUT = urllib3.Timeout(connect=1.0, read=2.0)

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
# gunicorn has answered Expect itself, and adds its own Date and Server.
NOT_FORWARDED = HOP_BY_HOP | {"expect"}
NOT_RETURNED = HOP_BY_HOP | {"date", "server"}


def build(configured: Settings) -> Gateway:
    """The gateway as a WSGI application, for a server with `configured.threads` threads."""
    urls = {
        "personalize": configured.api_url,
        "personalize-runtime": configured.runtime_url,
        "personalize-events": configured.events_url,
    }
    upstreams = {service: _Upstream(service, url, configured.threads) for service, url in urls.items()}
    return Gateway(upstreams, waiting=threading.BoundedSemaphore(max(1, configured.threads // 2)))


def create_app() -> WSGIApplication:
    """For gunicorn: the gateway of this process, from the environment."""
    configured = settings.load()
    telemetry.configure(configured, "gateway")
    gateway = build(configured)
    gateway.vitals.listen(configured.metrics_bind)
    return gateway


@dataclass(frozen=True, kw_only=True)
class _Forwarded:
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def repeatable(self) -> bool:
        return any(name.lower() == "amz-sdk-invocation-id" for name in self.headers)


@dataclass(frozen=True, kw_only=True)
class _Returned:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class _Upstream:
    def __init__(self, service: str, url: str, threads: int) -> None:
        self.service = service
        self._url = url
        self._pool = urllib3.connection_from_url(url, maxsize=threads)

    def send(self, call: _Forwarded) -> _Returned:
        """Raises urllib3's errors: NewConnectionError when nothing was sent."""
        try:
            return _sent(self._pool, call)
        except ProtocolError:
            if not call.repeatable:
                raise
        with urllib3.connection_from_url(self._url, maxsize=1) as fresh:
            return _sent(fresh, call)

    def answers(self) -> bool:
        try:
            return self._pool.request("GET", "/ping", retries=False, timeout=PING_TIMEOUT).status == HTTPStatus.OK
        except HTTPError:
            return False


class Gateway:
    """A WSGI application. `waiting` bounds the calls that wait for an upstream to come back."""

    def __init__(self, upstreams: Mapping[str, _Upstream], waiting: threading.BoundedSemaphore) -> None:
        self._upstreams = upstreams
        self._by_path = {path: upstreams[service] for service in upstreams for path in model.paths(service)}
        self._waiting = waiting
        ready = {service: upstream.answers for service, upstream in upstreams.items()}
        self.vitals = Vitals("gateway", ready=ready)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        target = environ.get("RAW_URI") or environ["REQUEST_URI"]  # as sent; PATH_INFO is unquoted
        path = target.partition("?")[0]
        upstream = self._by_path.get(path, self._upstreams["personalize"])
        started = time.perf_counter()
        about_us = path.partition("#")[0]  # urllib3 sends no fragment on
        try:
            if path == "/ping":
                returned = self._ping()
            elif about_us in PATHS:
                returned = self._say(about_us)
            else:
                returned = self._forward(upstream, _forwarded(environ, target))
        except PersonalizeError as error:
            returned = _refused(error, upstream.service)
        except Exception:  # a server's own answer to this would be HTML
            log.exception("internal failure", path=path)
            returned = _refused(InternalFailure("An internal error has occurred."), upstream.service)
        if path != "/ping" and about_us not in PATHS:
            meters.gateway_request(upstream.service, returned.status, time.perf_counter() - started)
        status = HTTPStatus(returned.status)
        start_response(f"{status.value} {status.phrase}", returned.headers)
        return [returned.body]

    def _forward(self, upstream: _Upstream, call: _Forwarded) -> _Returned:
        try:
            try:
                return upstream.send(call)
            except (NewConnectionError, ConnectTimeoutError):
                return self._wait_for(upstream, call)
        except HTTPError as error:
            log.warning("upstream failed", service=upstream.service, reason=str(error))
            raise ServiceUnavailable(
                f"The {upstream.service} service does not answer at the moment. Please try again."
            ) from None

    def _wait_for(self, upstream: _Upstream, call: _Forwarded) -> _Returned:
        if not self._waiting.acquire(blocking=False):
            raise ServiceUnavailable(f"The {upstream.service} service is starting. Please try again.")
        try:
            deadline = time.monotonic() + PATIENCE
            while True:
                time.sleep(KNOCK)
                try:
                    return upstream.send(call)
                except (NewConnectionError, ConnectTimeoutError):
                    if time.monotonic() > deadline:
                        raise
        finally:
            self._waiting.release()

    def _ping(self) -> _Returned:
        """200 when all three services answer, 503 when one does not."""
        reached = {service: upstream.answers() for service, upstream in self._upstreams.items()}
        status = HTTPStatus.OK if all(reached.values()) else HTTPStatus.SERVICE_UNAVAILABLE
        body = orjson.dumps({"service": "gateway", "upstreams": reached})
        return _Returned(status=status, headers=_own_headers(body, "application/json"), body=body)

    def _say(self, path: str) -> _Returned:
        said = self.vitals.say(path) if path != "/metrics" else None
        if said is None:
            refusal = UnknownOperation(f"There is no operation at {path}.")
            refusal.status = HTTPStatus.NOT_FOUND
            raise refusal
        return _Returned(status=said.status, headers=_own_headers(said.body, said.content_type), body=said.body)


def _sent(pool: urllib3.HTTPConnectionPool, call: _Forwarded) -> _Returned:
    response = pool.urlopen(
        call.method,
        call.target,
        body=call.body or None,
        headers=call.headers,
        retries=False,
        redirect=False,
        timeout=TIMEOUT,
        preload_content=False,
        decode_content=False,
    )
    try:
        body = response.read()
    except ProtocolError as error:
        raise HTTPError("the answer broke off") from error
    headers = [(name, value) for name, value in response.headers.items() if name.lower() not in NOT_RETURNED]
    return _Returned(status=response.status, headers=headers, body=body)


def _forwarded(environ: WSGIEnvironment, target: str) -> _Forwarded:
    if not target.startswith("/"):
        raise UnknownOperation("The request target must be a path.")
    sent = EnvironHeaders(environ)
    dropped = NOT_FORWARDED | {name.strip().lower() for name in sent.get("Connection", "").split(",")}
    # urllib3 adds these two where they are missing.
    headers = {"User-Agent": SKIP_HEADER, "Accept-Encoding": SKIP_HEADER}
    headers |= {name: value for name, value in sent.items() if name.lower() not in dropped}
    return _Forwarded(method=environ["REQUEST_METHOD"], target=target, headers=headers, body=bodies.read(environ))


def _refused(error: PersonalizeError, service: str) -> _Returned:
    body = error.body()
    headers = [*_own_headers(body, model.content_type(service)), ("x-amzn-ErrorType", error.code)]
    return _Returned(status=error.status, headers=headers, body=body)


def _own_headers(body: bytes, content_type: str) -> list[tuple[str, str]]:
    return [
        ("Content-Type", content_type),
        ("Content-Length", str(len(body))),
        ("x-amzn-RequestId", str(uuid4())),
    ]
