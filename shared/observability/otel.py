"""Spans by OpenTelemetry, for shared/observability/tracing.py alone, which imports this where they are asked for.

Traces go on as W3C's Trace Context says. Where they are sent, how many, and in what portions, is for OpenTelemetry's
own variables to say: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables
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

#: How long a process that ends waits for the collector to take its last spans (seconds); the rest is lost.
SHUTDOWN_SECONDS = 2.0

_W3C = TraceContextTextMapPropagator()


def create_exporting_tracer(process: str) -> ProcessTracer:
    """Spans that a thread sends to the collector. Raises ModuleNotFoundError where the exporter is not installed."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return ProcessTracer(process, BoundedShutdownProcessor(OTLPSpanExporter()))


class Headers(Protocol):
    """Of a request or a message."""

    def get(self, name: str, /) -> str | None: ...


class BoundedShutdownProcessor(BatchSpanProcessor):
    """OpenTelemetry's own would hold up a process that ends for half a minute while the collector can't be reached."""

    def shutdown(self) -> None:
        self._batch_processor.shutdown(timeout_millis=int(SHUTDOWN_SECONDS * 1000))


class Span:
    """What one request, or one attempt at work, came to; until its end, what the thread does belongs to it."""

    def __init__(self, span: trace.Span, under: Context) -> None:
        self._span = span
        self._token = context.attach(trace.set_span_in_context(span, under))

    def set_name(self, name: str) -> None:
        self._span.update_name(name)

    def end(self, failure: str | None, **attributes: str | int | None) -> None:
        """``failure`` is what went wrong on our side; None: nothing."""
        self._span.set_attributes({name: value for name, value in attributes.items() if value is not None})
        if failure is not None:
            self._span.set_status(StatusCode.ERROR, failure)
        self._span.end()
        context.detach(self._token)


class ProcessTracer:
    """Of one process."""

    def __init__(self, process: str, processor: SpanProcessor) -> None:
        provider = TracerProvider(resource=Resource.create({"service.name": f"foretaste-{process}"}))
        provider.add_span_processor(processor)
        self._tracer = provider.get_tracer("foretaste")

    def start_request_span(self, headers: Headers) -> Span:
        # Nothing that the thread has done before is the client's.
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
        """Of what this thread does; 32 hexadecimal digits."""
        at = trace.get_current_span().get_span_context()
        return trace.format_trace_id(at.trace_id) if at.is_valid else None
