"""The Flask application of an HTTP process: it turns requests into calls of handlers, and answers in AWS's form.

The steps are: read the body within its limit, verify the signature, find the operation, count the call against its
rate limit, parse the JSON, check the members by the service model, call the handler, shape the answer by the output
model. Every error is answered in AWS's form, never in HTML: JSON with `__type` and `message`, and the headers
x-amzn-ErrorType and x-amzn-RequestId.
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

UNSIGNED = "unsigned"  # the access key of all callers when unsigned requests are accepted

_INVOCATION = re.compile(r"[\w-]{1,64}", re.ASCII)
_ATTEMPT = re.compile(r"attempt=(\d{1,4})\b", re.ASCII)
#: Paths that are neither logged nor counted: monitors request them every few seconds.
_UNLOGGED_PATHS = frozenset({"/ping", *HEALTH_PATHS})
#: ARN members that name a means of the call, not the resource it is about.
_AUXILIARY_ARN_MEMBERS = frozenset({"roleArn", "kmsKeyArn"})


@dataclass(frozen=True, kw_only=True)
class Call:
    """The argument of a handler. `request` holds the members that were sent, checked; timestamps are epoch seconds.

    `invocation` is the same for every retry that an SDK makes of one call: a handler that must not repeat its work
    stores its answer under it.
    """

    operation: str
    request: dict[str, Any]
    request_id: str
    invocation: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer with extra headers; a handler without extra headers returns only the members, or None."""

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
    """Create the application of one service with paths, or of any number of services addressed by X-Amz-Target.

    `offered` maps each service to its handlers, by operation. The first service names the application and answers
    requests that name no service. `keys` maps access key ids to secrets; None accepts unsigned requests. An operation
    without a handler answers OperationNotOffered. `health` adds /healthz, /readyz and /metrics; /ping is always there.
    `throttle` refuses calls above the rate limits. `leader_followers` suits short requests that rarely wait
    (`shared.http.leader_followers`). Raises KeyError for a handler of an operation that its service does not have.
    """
    for service, handlers in offered.items():
        if unknown := set(handlers).difference(service_model.load_operations(service)):
            raise KeyError(f"{service} has no operation {', '.join(sorted(unknown))}")
    first = next(iter(offered))
    app = _Application(first, static_folder=None)
    app.leader_followers = leader_followers
    app.url_map.merge_slashes = False  # Flask would answer "//" with a redirect, in HTML
    dispatcher = Dispatcher(
        offered=offered, first=first, keys=keys, health=health or HealthEndpoints(first), throttle=throttle
    )
    views = dict.fromkeys(service_model.load_paths(first) or ("/",), ("POST", dispatcher.answer_request))
    views |= {"/ping": ("GET", dispatcher.respond_ping)}
    views |= dict.fromkeys(HEALTH_PATHS, ("GET", dispatcher.respond_health))
    for path, (method, view) in views.items():
        app.add_url_rule(path, view_func=view, endpoint=path, methods=[method], provide_automatic_options=False)
    app.before_request(dispatcher.begin_request)
    app.after_request(_end_request)
    app.register_error_handler(Exception, dispatcher.answer_error)
    return app


class _Application(Flask):
    leader_followers = False


@dataclass(slots=True, kw_only=True)
class RequestContext:
    """The facts about one request that are logged and counted when it ends; None: not known yet."""

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
    """Answers the requests of one application: finds the handler, calls it, and builds the response."""

    offered: Mapping[str, Mapping[str, OperationHandler]]
    first: str
    keys: Mapping[str, str] | None
    health: HealthEndpoints
    throttle: Throttle | None

    def begin_request(self) -> None:
        g.context = context = RequestContext(
            started=time.perf_counter(),
            request_id=str(uuid4()),
            service=self._resolve_service(),
            span=None if request.path in _UNLOGGED_PATHS else tracing.start_request_span(request.headers),
        )
        # So the log lines of a handler carry it too.
        structlog.contextvars.bind_contextvars(request_id=context.request_id)

    def answer_request(self) -> Response:
        context: RequestContext = g.context
        context.body_read = True  # a body that is too large is read as well, and discarded
        body = request_body.read_body(request.environ)
        context.access_key = self._authenticate(body)
        operation = _resolve_operation(context.service)
        context.operation = operation.name
        if self.throttle is not None:
            self.throttle(context.access_key, operation)
        members = request_schemas.load_request(operation, request_body.parse_json(body))
        context.arn = _find_arn(operation.input, members)
        handler = self.offered[operation.service].get(operation.name)
        if handler is None:
            raise errors.OperationNotOffered(operation.name)
        result = handler(
            Call(
                operation=operation.name,
                request=members,
                request_id=context.request_id,
                invocation=f"{context.access_key}/{_get_invocation_id()}",
            )
        )
        answer = result if isinstance(result, Answer) else Answer(members=result or {})
        context.arn = _find_arn(operation.output, answer.members) or context.arn
        return _build_response(context, serialization.serialize_answer(operation, answer.members), 200, answer.headers)

    def respond_ping(self) -> Response:
        return _build_response(g.context, orjson.dumps({"service": self.first}), 200, {})

    def respond_health(self) -> Response:
        # By the raw target, as in the gateway: another spelling of these paths would pass the gateway.
        said = self.health.respond(_get_raw_target().partition("?")[0])
        if said is None:
            raise NotFound
        return Response(said.body, said.status, content_type=said.content_type)

    def answer_error(self, error: Exception) -> Response:
        context: RequestContext = g.context
        refusal, headers = _convert_error(error, context.request_id)
        status = service_model.load_error_statuses(context.service).get(refusal.code, refusal.status)
        context.error = refusal.code
        return _build_response(context, refusal.encode_body(), status, {**headers, "x-amzn-ErrorType": refusal.code})

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
    """Return the path and query as they came over the wire; WSGI's own are already unquoted."""
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


def _build_response(context: RequestContext, body: bytes, status: int, headers: Mapping[str, str]) -> Response:
    return Response(body, status, headers, content_type=service_model.get_content_type(context.service))


def _convert_error(error: Exception, request_id: str) -> tuple[errors.PersonalizeError, Mapping[str, str]]:
    """Return the error that the client may see, and its extra headers."""
    match error:
        case errors.PersonalizeError():
            return error, {}
        case HTTPException() if error.code and error.code < HTTPStatus.INTERNAL_SERVER_ERROR:
            return _convert_http_exception(error)
        case _ if said := redis_errors.describe_error(error):
            log.warning("store unavailable", reason=str(error))
            return errors.ServiceUnavailable(said), {}
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            log.warning("no space left on disk", reason=str(error))
            return errors.ServiceUnavailable("There is no space left on a disk that this needs. Reads go on."), {}
        case _:
            log.error("request failed", exc_info=error)
            return errors.InternalFailure(f"An internal error has occurred (request {request_id})."), {}


def _convert_http_exception(error: HTTPException) -> tuple[errors.PersonalizeError, Mapping[str, str]]:
    refusal = errors.UnknownOperation(f"There is no operation at {request.method} {request.path[:256]}.")
    refusal.status = error.code or 400
    allowed = error.valid_methods if isinstance(error, MethodNotAllowed) else None
    return refusal, {"Allow": ", ".join(allowed)} if allowed else {}


def _find_arn(shape: Any, members: Mapping[str, Any]) -> str | None:
    """Return the ARN that a call is about, from the members of its request or answer."""
    return next((members[name] for name in _list_arn_members(shape) if name in members), None)


@cache
def _list_arn_members(shape: Any) -> tuple[str, ...]:
    names = (name for name in (shape.members if shape is not None else ()) if name.endswith("Arn"))
    # A request is about a filter only if it names no other resource.
    return tuple(
        sorted((name for name in names if name not in _AUXILIARY_ARN_MEMBERS), key=lambda name: name == "filterArn")
    )


def _end_request(response: Response) -> Response:
    context: RequestContext = g.context
    if not context.body_read:
        # A request that is refused by its path or method has an unread body, and its connection is used again.
        request_body.discard_body(request.environ)
    response.headers["x-amzn-RequestId"] = context.request_id
    if request.path in _UNLOGGED_PATHS:
        return response
    seconds = time.perf_counter() - context.started
    metrics.count_request(context.service, context.operation, response.status_code, context.error, seconds)
    attempt = _ATTEMPT.search(request.headers.get("amz-sdk-request", ""))
    log.info(
        "request",
        access_key=context.access_key,
        operation=context.operation,
        arn=context.arn,
        attempt=int(attempt[1]) if attempt else None,
        status=response.status_code,
        error=context.error,
        milliseconds=round(seconds * 1000, 1),
    )
    if context.span is not None:
        _end_span(context.span, context, response.status_code)
    return response


def _end_span(span: Span, context: RequestContext, status: int) -> None:
    span.set_name(context.operation or metrics.UNKNOWN)
    span.end(
        # An error of the client is not a failure of the span.
        context.error if status >= HTTPStatus.INTERNAL_SERVER_ERROR else None,
        service=context.service,
        request_id=context.request_id,
        arn=context.arn,
        status=status,
        error=context.error,
    )
