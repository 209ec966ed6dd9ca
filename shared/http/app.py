"""One Flask application per process: a request in, AWS's answer out. What an operation does is its handler's.

The order of things: body read within its limit, signature verified, operation found, call counted against its
rate limit, JSON parsed, members checked by the service model, handler called, answer shaped by the output model.
Whatever goes wrong on the way, the client gets AWS's form of an error: JSON with `__type` and `message`, the headers
x-amzn-ErrorType and x-amzn-RequestId; never HTML.
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson
import structlog
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from shared.aws import errors, request_schemas, serialization, service_model, sigv4
from shared.http import request_body
from shared.http.rate_limits import Throttle
from shared.observability import metrics, tracing
from shared.observability.health import HEALTH_PATHS, HealthEndpoints
from shared.store import redis_errors

if TYPE_CHECKING:
    from shared.observability.otel import Span

log = structlog.get_logger()

UNSIGNED = "unsigned"  # the access key of callers when signatures are not asked for

_INVOCATION = re.compile(r"[\w-]{1,64}", re.ASCII)
_ATTEMPT = re.compile(r"attempt=(\d{1,4})\b", re.ASCII)
#: Paths of which nothing is logged or counted: whoever asks them does so every few seconds.
_UNLOGGED_PATHS = frozenset({"/ping", *HEALTH_PATHS})
#: Members that say with what a call is done, not what it is about.
_AUXILIARY_ARN_MEMBERS = frozenset({"roleArn", "kmsKeyArn"})


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a handler gets. `request` holds the members that were sent, checked; timestamps are epoch seconds.

    `invocation` is the same on every retry that an SDK makes of one call: a handler that must not do its work
    twice remembers its answer under it.
    """

    operation: str
    request: dict[str, Any]
    request_id: str
    invocation: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer with headers of its own; a handler without any returns the members alone, or None."""

    members: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


OperationHandler = Callable[[Call], Mapping[str, Any] | Answer | None]


def create_app(
    offered: Mapping[str, Mapping[str, OperationHandler]],
    *,
    keys: Mapping[str, str] | None,
    health: HealthEndpoints | None = None,
    throttle: Throttle | None = None,
    leader_followers: bool = False,
) -> Flask:
    """The application of one service with paths, or of any number that go by X-Amz-Target: service -> its handlers.

    It bears the name of the first, which also answers what is for none of them. `keys` maps access key ids to
    secrets; None accepts unsigned requests. An operation without a handler answers NotOffered. `vitals` answer beside
    /ping. `throttle` refuses what is too much. `in_turns`: its requests are short, wait for little, and
    are answered one after the other (`turns`). Raises KeyError for a handler of an operation that its service does
    not have.
    """
    for service, handlers in offered.items():
        if unknown := set(handlers).difference(service_model.load_operations(service)):
            raise KeyError(f"{service} has no operation {', '.join(sorted(unknown))}")
    first = next(iter(offered))
    app = _Application(first, static_folder=None)
    app.leader_followers = leader_followers
    app.url_map.merge_slashes = False  # it would answer "//" with a redirect, in HTML
    door = Dispatcher(
        offered=offered, first=first, keys=keys, health=health or HealthEndpoints(first), throttle=throttle
    )
    for path in service_model.load_paths(first) or ("/",):
        app.add_url_rule(
            path, view_func=door.handle_request, endpoint=path, methods=["POST"], provide_automatic_options=False
        )
    app.add_url_rule("/ping", view_func=door.respond_ping, methods=["GET"], provide_automatic_options=False)
    for path in HEALTH_PATHS:
        app.add_url_rule(
            path, view_func=door.respond_health, endpoint=path, methods=["GET"], provide_automatic_options=False
        )
    app.before_request(door.begin_request)
    app.after_request(_end_request)
    app.register_error_handler(Exception, door.handle_error)
    return app


class _Application(Flask):
    leader_followers = False


@dataclass(slots=True, kw_only=True)
class RequestContext:
    """What is known of one request by now, and counted and logged of it in the end."""

    started: float
    request_id: str
    service: str
    span: Span | None
    body_read: bool = False
    access_key: str | None = None
    operation: str | None = None
    arn: str | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Dispatcher:
    offered: Mapping[str, Mapping[str, OperationHandler]]
    first: str
    keys: Mapping[str, str] | None
    health: HealthEndpoints
    throttle: Throttle | None

    def begin_request(self) -> None:
        g.visit = visit = RequestContext(
            started=time.perf_counter(),
            request_id=str(uuid4()),
            service=self._resolve_service(),
            span=None if request.path in _UNLOGGED_PATHS else tracing.start_request_span(request.headers),
        )
        # What a handler logs bears it too.
        structlog.contextvars.bind_contextvars(request_id=visit.request_id)

    def handle_request(self) -> Response:
        visit: RequestContext = g.visit
        visit.body_read = True  # even what is too large is, or thrown away
        body = request_body.read_body(request.environ)
        visit.access_key = self._authenticate(body)
        operation = _resolve_operation(visit.service)
        visit.operation = operation.name
        if self.throttle is not None:
            self.throttle(visit.access_key, operation)
        members = request_schemas.load_request(operation, request_body.parse_json(body))
        visit.arn = _find_arn(operation.input, members)
        handler = self.offered[operation.service].get(operation.name)
        if handler is None:
            raise errors.OperationNotOffered(operation.name)
        result = handler(
            Call(
                operation=operation.name,
                request=members,
                request_id=visit.request_id,
                invocation=f"{visit.access_key}/{_get_invocation_id()}",
            )
        )
        answer = result if isinstance(result, Answer) else Answer(members=result or {})
        visit.arn = _find_arn(operation.output, answer.members) or visit.arn
        return _build_response(visit, serialization.serialize_answer(operation, answer.members), 200, answer.headers)

    def respond_ping(self) -> Response:
        return _build_response(g.visit, orjson.dumps({"service": self.first}), 200, {})

    def respond_health(self) -> Response:
        # By the very target that the gateway looks at: another spelling of it would pass there.
        said = self.health.respond(_get_raw_target().partition("?")[0])
        if said is None:
            raise NotFound
        return Response(said.body, said.status, content_type=said.content_type)

    def handle_error(self, error: Exception) -> Response:
        visit: RequestContext = g.visit
        refusal, headers = _convert_error(error, visit.request_id)
        status = service_model.load_error_statuses(visit.service).get(refusal.code, refusal.status)
        visit.error = refusal.code
        return _build_response(visit, refusal.encode_body(), status, {**headers, "x-amzn-ErrorType": refusal.code})

    def _authenticate(self, body: bytes) -> str:
        if self.keys is None:
            return UNSIGNED
        signed = sigv4.SignedRequest(
            method=request.method,
            target=_get_raw_target(),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=body,
        )
        return sigv4.verify_signature(signed, self.keys)

    def _resolve_service(self) -> str:
        prefix = request.headers.get("X-Amz-Target", "").partition(".")[0]
        return next(
            (service for service in self.offered if service_model.get_target_prefix(service) == prefix), self.first
        )


def _get_raw_target() -> str:
    """The path and query as they came over the wire: WSGI's own are already unquoted."""
    target: str = request.environ.get("RAW_URI") or request.environ["REQUEST_URI"]
    return target


def _resolve_operation(service: str) -> service_model.Operation:
    operations = service_model.load_operations(service)
    if not service_model.is_json_rpc(service):
        return operations[service_model.load_paths(service)[request.path]]
    try:
        return operations[service_model.load_targets(service)[request.headers.get("X-Amz-Target", "")]]
    except KeyError:
        raise errors.UnknownOperation(
            f"X-Amz-Target must name an operation of {service}: {service_model.get_target_prefix(service)}.<operation>."
        ) from None


def _get_invocation_id() -> str:
    sent = request.headers.get("amz-sdk-invocation-id", "")
    return sent if _INVOCATION.fullmatch(sent) else str(uuid4())


def _build_response(visit: RequestContext, body: bytes, status: int, headers: Mapping[str, str]) -> Response:
    return Response(body, status, headers, content_type=service_model.get_content_type(visit.service))


def _convert_error(error: Exception, request_id: str) -> tuple[errors.PersonalizeError, Mapping[str, str]]:
    """The error as the client may see it, with headers that belong to it."""
    match error:
        case errors.PersonalizeError():
            return error, {}
        case HTTPException() if error.code and error.code < HTTPStatus.INTERNAL_SERVER_ERROR:
            return _convert_http_exception(error)
        case _ if said := redis_errors.describe_error(error):
            log.warning("the store does not answer, or refuses", reason=str(error))
            return errors.ServiceUnavailable(said), {}
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            log.warning("no space", reason=str(error))
            return errors.ServiceUnavailable("There is no space left on a disk that this needs. Reads go on."), {}
        case _:
            log.error("internal failure", exc_info=error)
            return errors.InternalFailure(f"An internal error has occurred (request {request_id})."), {}


def _convert_http_exception(error: HTTPException) -> tuple[errors.PersonalizeError, Mapping[str, str]]:
    refusal = errors.UnknownOperation(f"There is no operation at {request.method} {request.path[:256]}.")
    refusal.status = error.code or 400
    allowed = error.valid_methods if isinstance(error, MethodNotAllowed) else None
    return refusal, {"Allow": ", ".join(allowed)} if allowed else {}


def _find_arn(shape: Any, members: Mapping[str, Any]) -> str | None:
    """The ARN that a call is about, by the members of its request or answer."""
    return next((members[name] for name in _list_arn_members(shape) if name in members), None)


@cache
def _list_arn_members(shape: Any) -> tuple[str, ...]:
    names = (name for name in (shape.members if shape is not None else ()) if name.endswith("Arn"))
    # A filter is what a request is about only where it names nothing else.
    return tuple(
        sorted((name for name in names if name not in _AUXILIARY_ARN_MEMBERS), key=lambda name: name == "filterArn")
    )


def _end_request(response: Response) -> Response:
    visit: RequestContext = g.visit
    if not visit.body_read:
        # What is refused by its path or method has a body that nobody wants, and a connection that others use.
        request_body.discard_body(request.environ)
    response.headers["x-amzn-RequestId"] = visit.request_id
    if request.path in _UNLOGGED_PATHS:
        return response
    seconds = time.perf_counter() - visit.started
    metrics.count_request(visit.service, visit.operation, response.status_code, visit.error, seconds)
    attempt = _ATTEMPT.search(request.headers.get("amz-sdk-request", ""))
    log.info(
        "request",
        access_key=visit.access_key,
        operation=visit.operation,
        arn=visit.arn,
        attempt=int(attempt[1]) if attempt else None,
        status=response.status_code,
        error=visit.error,
        milliseconds=round(seconds * 1000, 1),
    )
    if visit.span is not None:
        _end_span(visit.span, visit, response.status_code)
    return response


def _end_span(span: Span, visit: RequestContext, status: int) -> None:
    span.set_name(visit.operation or metrics.UNKNOWN)
    span.end(
        # What the client did wrong is no failure of the request's.
        visit.error if status >= HTTPStatus.INTERNAL_SERVER_ERROR else None,
        service=visit.service,
        request_id=visit.request_id,
        arn=visit.arn,
        status=status,
        error=visit.error,
    )
