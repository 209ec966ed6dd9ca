"""Spans by OpenTelemetry. Only shared/observability/tracing.py imports this module, and only where tracing is on.

Traces propagate by W3C's Trace Context. OpenTelemetry's own variables set the exporter, the sampling and the batches:
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

#: Seconds that a process waits at its end for the collector to take its last spans; the rest is lost.
SHUTDOWN_SECONDS = 2.0

_W3C = TraceContextTextMapPropagator()


def create_exporting_tracer(process: str) -> ProcessTracer:
    """Create a tracer that exports its spans in a thread. Raises ModuleNotFoundError without the exporter."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return ProcessTracer(process, BoundedShutdownProcessor(OTLPSpanExporter()))


class Headers(Protocol):
    """The headers of a request or a message."""

    def get(self, name: str, /) -> str | None: ...


class BoundedShutdownProcessor(BatchSpanProcessor):
    """Gives up after SHUTDOWN_SECONDS; OpenTelemetry's own waits half a minute for a collector that is away."""

    def shutdown(self) -> None:
        self._batch_processor.shutdown(timeout_millis=int(SHUTDOWN_SECONDS * 1000))


class Span:
    """The span of one request or one attempt at a job; the current span of its thread until it ends."""

    def __init__(self, span: trace.Span, under: Context) -> None:
        self._span = span
        self._token = context.attach(trace.set_span_in_context(span, under))

    def set_name(self, name: str) -> None:
        self._span.update_name(name)

    def end(self, failure: str | None, **attributes: str | int | None) -> None:
        """End the span. ``failure`` describes an error on our side; None: there was none."""
        self._span.set_attributes({name: value for name, value in attributes.items() if value is not None})
        if failure is not None:
            self._span.set_status(StatusCode.ERROR, failure)
        self._span.end()
        context.detach(self._token)


class ProcessTracer:
    """Starts the spans of one process."""

    def __init__(self, process: str, processor: SpanProcessor) -> None:
        provider = TracerProvider(resource=Resource.create({"service.name": f"foretaste-{process}"}))
        provider.add_span_processor(processor)
        self._tracer = provider.get_tracer("foretaste")

    def start_request_span(self, headers: Headers) -> Span:
        # From an empty context: earlier work of the thread is not part of the client's trace.
        under = _W3C.extract(headers, Context())
        return Span(self._tracer.start_span("request", under, SpanKind.SERVER), under)

    def start_job_span(self, name: str) -> Span:
        under = context.get_current()
        return Span(self._tracer.start_span(name, under, SpanKind.CONSUMER), under)

    def inject_headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        _W3C.inject(headers)
        return headers

    @contextlib.contextmanager
    def extract_context(self, headers: Headers) -> Iterator[None]:
        token = context.attach(_W3C.extract(headers, Context()))
        try:
            yield
        finally:
            context.detach(token)

    def get_trace_id(self) -> str | None:
        """Return the trace id of the current span, 32 hexadecimal digits; None outside of a span."""
        at = trace.get_current_span().get_span_context()
        return trace.format_trace_id(at.trace_id) if at.is_valid else None
