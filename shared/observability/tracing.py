"""Traces, where FORETASTE_TRACING asks for them; everywhere else they cost a look at None.

A span per request and per attempt at long work. What is logged meanwhile bears its trace_id, and what is sent its
traceparent: the work that a request causes belongs to the request's trace, and so does what comes of that. A message
that is sent again, by the outbox or the reconciler, begins a trace of its own. Only shared/observability/otel.py knows
OpenTelemetry, which is an extra.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from structlog.typing import EventDict

from shared.settings import Settings, SettingsError

if TYPE_CHECKING:
    from shared.observability.otel import Headers, ProcessTracer, Span


#: Of this process.
_tracer: ProcessTracer | None = None


def configure_tracing(settings: Settings, process: str) -> None:
    """Trace what this process does, if the settings say so. Raises SettingsError where OpenTelemetry is missing."""
    if not settings.tracing:
        return
    global _tracer
    try:
        from shared.observability import otel

        _tracer = otel.create_exporting_tracer(process)
    except ModuleNotFoundError as error:
        raise SettingsError(
            "FORETASTE_TRACING is true, which needs OpenTelemetry: install foretaste[tracing], or unset it"
        ) from error


def start_request_span(headers: Headers) -> Span | None:
    """Begin the span of a request, in the trace of its client if there is one. The thread's, until it ends."""
    return None if _tracer is None else _tracer.start_request_span(headers)


def start_job_span(name: str) -> Span | None:
    """Begin the span of an attempt at long work, in the trace of what caused it. The thread's, until it ends."""
    return None if _tracer is None else _tracer.start_job_span(name)


def inject_headers() -> dict[str, str]:
    """The headers that a message goes on with."""
    return {} if _tracer is None else _tracer.inject_headers()


def extract_context(headers: Headers | None) -> contextlib.AbstractContextManager[None]:
    """What is done meanwhile belongs to the trace that a message came with."""
    return contextlib.nullcontext() if _tracer is None else _tracer.extract_context(headers or {})


def add_trace_id(_logger: object, _method: str, event: EventDict) -> EventDict:
    """For structlog: the line with its trace_id."""
    if _tracer is not None and (trace_id := _tracer.get_trace_id()):
        event["trace_id"] = trace_id
    return event
