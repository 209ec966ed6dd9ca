"""One Flask application per process: a request in, AWS's answer out. What an operation does is its handler's.

The order of things: body read within its limit, signature verified, operation found, JSON parsed, members
checked by the service model, handler called, answer shaped by the output model. Whatever goes wrong on the
way, the client gets AWS's form of an error: JSON with `__type` and `message`, the headers x-amzn-ErrorType
and x-amzn-RequestId; never HTML.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import orjson
import redis.exceptions
import structlog
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from shared.aws import answers, bodies, errors, model, schemas, sigv4

log = structlog.get_logger()

UNSIGNED = "unsigned"  # the access key of callers when signatures are not asked for

_INVOCATION = re.compile(r"[\w-]{1,64}", re.ASCII)


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


Handler = Callable[[Call], Mapping[str, Any] | Answer | None]


def create_app(offered: Mapping[str, Mapping[str, Handler]], *, keys: Mapping[str, str] | None) -> Flask:
    """The application of one service with paths, or of any number that go by X-Amz-Target: service -> its handlers.

    It bears the name of the first, which also answers what is for none of them. `keys` maps access key ids to
    secrets; None accepts unsigned requests. An operation without a handler answers NotOffered. Raises KeyError for a
    handler of an operation that its service does not have.
    """
    for service, handlers in offered.items():
        if unknown := set(handlers).difference(model.operations(service)):
            raise KeyError(f"{service} has no operation {', '.join(sorted(unknown))}")
    first = next(iter(offered))
    app = Flask(first, static_folder=None)
    app.url_map.merge_slashes = False  # it would answer "//" with a redirect, in HTML
    door = _Door(offered=offered, first=first, keys=keys)
    for path in model.paths(first) or ("/",):
        app.add_url_rule(path, view_func=door.enter, endpoint=path, methods=["POST"], provide_automatic_options=False)
    app.add_url_rule("/ping", view_func=door.ping, methods=["GET"], provide_automatic_options=False)
    app.before_request(_begin)
    app.after_request(_end)
    app.register_error_handler(Exception, door.refuse)
    return app


@dataclass(frozen=True, kw_only=True)
class _Door:
    offered: Mapping[str, Mapping[str, Handler]]
    first: str
    keys: Mapping[str, str] | None

    def enter(self) -> Response:
        body = bodies.read(request.environ)
        g.access_key = self._authenticate(body)
        operation = self._operation()
        g.operation = operation.name
        members = schemas.load(operation, bodies.parse(body))
        handler = self.offered[operation.service].get(operation.name)
        if handler is None:
            raise errors.NotOffered(operation.name)
        result = handler(
            Call(operation=operation.name, request=members, request_id=g.request_id, invocation=_invocation())
        )
        answer = result if isinstance(result, Answer) else Answer(members=result or {})
        return self._respond(answers.body(operation, answer.members), 200, answer.headers)

    def ping(self) -> Response:
        return self._respond(orjson.dumps({"service": self.first}), 200, {})

    def refuse(self, error: Exception) -> Response:
        refusal, headers = _refusal(error)
        status = model.error_statuses(self._service()).get(refusal.code, refusal.status)
        g.error = refusal.code
        return self._respond(refusal.body(), status, {**headers, "x-amzn-ErrorType": refusal.code})

    def _authenticate(self, body: bytes) -> str:
        if self.keys is None:
            return UNSIGNED
        signed = sigv4.SignedRequest(
            method=request.method,
            # The path as it came over the wire: WSGI's own is already unquoted.
            target=request.environ.get("RAW_URI") or request.environ["REQUEST_URI"],
            headers={name.lower(): value for name, value in request.headers.items()},
            body=body,
        )
        return sigv4.verify(signed, self.keys)

    def _service(self) -> str:
        prefix = request.headers.get("X-Amz-Target", "").partition(".")[0]
        return next((service for service in self.offered if model.target_prefix(service) == prefix), self.first)

    def _operation(self) -> model.Operation:
        service = self._service()
        operations = model.operations(service)
        if not model.is_json_rpc(service):
            return operations[model.paths(service)[request.path]]
        try:
            return operations[model.targets(service)[request.headers.get("X-Amz-Target", "")]]
        except KeyError:
            raise errors.UnknownOperation(
                f"X-Amz-Target must name an operation of {service}: {model.target_prefix(service)}.<operation>."
            ) from None

    def _respond(self, body: bytes, status: int, headers: Mapping[str, str]) -> Response:
        return Response(body, status, headers, content_type=model.content_type(self._service()))


def _invocation() -> str:
    sent = request.headers.get("amz-sdk-invocation-id", "")
    return f"{g.access_key}/{sent if _INVOCATION.fullmatch(sent) else uuid4()}"


def _refusal(error: Exception) -> tuple[errors.PersonalizeError, Mapping[str, str]]:
    """The error as the client may see it, with headers that belong to it."""
    match error:
        case errors.PersonalizeError():
            return error, {}
        case HTTPException():
            return _unknown(error)
        case redis.exceptions.ConnectionError() | redis.exceptions.TimeoutError():
            log.warning("store unreachable", request_id=g.request_id, reason=str(error))
            return errors.ServiceUnavailable("The store does not answer at the moment. Please try again."), {}
        case _:
            log.error("internal failure", request_id=g.request_id, exc_info=error)
            return errors.InternalFailure(f"An internal error has occurred (request {g.request_id})."), {}


def _unknown(error: HTTPException) -> tuple[errors.PersonalizeError, Mapping[str, str]]:
    refusal = errors.UnknownOperation(f"There is no operation at {request.method} {request.path[:256]}.")
    refusal.status = error.code or 400
    allowed = error.valid_methods if isinstance(error, MethodNotAllowed) else None
    return refusal, {"Allow": ", ".join(allowed)} if allowed else {}


def _begin() -> None:
    g.request_id = str(uuid4())
    g.started = time.perf_counter()
    g.access_key = g.operation = g.error = None


def _end(response: Response) -> Response:
    response.headers["x-amzn-RequestId"] = g.request_id
    if request.path != "/ping":
        log.info(
            "request",
            access_key=g.access_key,
            operation=g.operation,
            status=response.status_code,
            error=g.error,
            request_id=g.request_id,
            milliseconds=round((time.perf_counter() - g.started) * 1000, 1),
        )
    return response
