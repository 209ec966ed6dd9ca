"""Tracing, if FORETASTE_TRACING is true; otherwise each function costs a comparison with None.

There is a span per request and per attempt at a job. Log lines within it carry its trace_id, and messages its
traceparent, so the jobs that a request causes belong to the request's trace, and so do the jobs that those cause. A
message that the outbox or the reconciler sends again starts a trace of its own. Only shared/observability/otel.py
imports OpenTelemetry, which is an extra.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from structlog.typing import EventDict

from shared.settings import Settings, SettingsError

if TYPE_CHECKING:
    from shared.observability.otel import Headers, ProcessTracer, Span


#: The tracer of this process; None: tracing is off.
_tracer: ProcessTracer | None = None


def configure_tracing(settings: Settings, process: str) -> None:
    """Trace this process, if the settings ask for it. Raises SettingsError if OpenTelemetry is missing."""
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
    """Start the span of a request, in the trace of its client if there is one. It is the thread's until it ends."""
    return None if _tracer is None else _tracer.start_request_span(headers)


def start_job_span(name: str) -> Span | None:
    """Start the span of an attempt at a job, in the trace of its cause. It is the thread's until it ends."""
    return None if _tracer is None else _tracer.start_job_span(name)


def inject_headers() -> dict[str, str]:
    """Return the headers that carry the current trace with a message."""
    return {} if _tracer is None else _tracer.inject_headers()


def extract_context(headers: Headers | None) -> contextlib.AbstractContextManager[None]:
    """Continue, within the block, the trace that a message came with."""
    return contextlib.nullcontext() if _tracer is None else _tracer.extract_context(headers or {})


def add_trace_id(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Add the trace_id to a log line; a processor of structlog."""
    if _tracer is not None and (trace_id := _tracer.get_trace_id()):
        event["trace_id"] = trace_id
    return event
