"""Traces: with OpenTelemetry's own SDK, whose spans end in memory."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from celery.worker.request import Request
from flask.testing import FlaskClient
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from shared.aws import errors
from shared.http import app
from shared.jobs import celery_app, runner
from shared.jobs.subprocess_pool import JobProcessPool
from shared.observability import otel, tracing
from shared.settings import Settings, SettingsError
from shared.state.messages import Command, Fact, ImportDataset, TrainSolutionVersion, TuneSolutionVersion
from tests.unit.shared.jobs.sample_jobs import MODULE
from tests.unit.shared.jobs.test_runner import Worker

ARN = "arn:aws:personalize:us-east-1:000000000000:schema/s"
CLIENT = ("a" * 32, "b" * 16)
TRACEPARENT = "00-{}-{}-01".format(*CLIENT)


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(tracing, "_tracer", otel.ProcessTracer("test", SimpleSpanProcessor(exporter)))
    return exporter


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    idle = JobProcessPool()
    monkeypatch.setattr(runner, "_pool", idle)
    yield Worker(tmp_path)
    idle.acquire(MODULE).wait_or_kill()


def serve(handler: app.OperationHandler) -> FlaskClient:
    return app.create_app({"personalize": {"DescribeSchema": handler}}, keys=None).test_client()


def describe(client: FlaskClient, operation: str = "DescribeSchema", **headers: str) -> Any:
    target = {"X-Amz-Target": f"AmazonPersonalize.{operation}"}
    return client.post(
        "/", json={"schemaArn": ARN}, headers={**target, **headers}, environ_overrides={"REQUEST_URI": "/"}
    )


def the_one(exporter: InMemorySpanExporter) -> ReadableSpan:
    [span] = exporter.get_finished_spans()
    exporter.clear()
    return span


def trace_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return format_trace_id(span.context.trace_id)


def test_a_request_is_a_span_that_says_what_its_log_line_says(ended: InMemorySpanExporter) -> None:
    answer = describe(serve(lambda _: {"schema": {"schemaArn": ARN}}))
    span = the_one(ended)
    assert (span.name, span.kind, span.parent, span.status.status_code) == (
        "DescribeSchema",
        SpanKind.SERVER,
        None,
        StatusCode.UNSET,
    )
    assert span.attributes == {
        "service": "personalize",
        "request_id": answer.headers["x-amzn-RequestId"],
        "arn": ARN,
        "status": 200,
    }
    assert span.resource.attributes["service.name"] == "foretaste-test"


def refuse(error: Exception) -> app.OperationHandler:
    def handler(_: app.Call) -> Mapping[str, Any]:
        raise error

    return handler


@pytest.mark.parametrize(
    ("error", "status", "code", "came_to"),
    [
        (errors.ResourceNotFound("It is not there."), 400, "ResourceNotFoundException", StatusCode.UNSET),
        (ZeroDivisionError(), 500, "InternalFailure", StatusCode.ERROR),
    ],
)
def test_an_error_is_named_and_a_failure_of_ours_marks_the_span(
    ended: InMemorySpanExporter, error: Exception, status: int, code: str, came_to: StatusCode
) -> None:
    describe(serve(refuse(error)))
    span = the_one(ended)
    assert span.attributes is not None
    assert (span.attributes["status"], span.attributes["error"]) == (status, code)
    assert span.status.status_code == came_to


def test_what_a_client_makes_up_is_no_name_of_a_span(ended: InMemorySpanExporter) -> None:
    describe(serve(lambda _: None), "Invented")
    assert the_one(ended).name == "unknown"


def test_a_clients_trace_goes_on(ended: InMemorySpanExporter) -> None:
    describe(serve(lambda _: None), traceparent=TRACEPARENT)
    span = the_one(ended)
    assert span.parent is not None
    assert (trace_of(span), format_span_id(span.parent.span_id)) == CLIENT


def test_no_request_is_taken_for_a_part_of_the_one_before(ended: InMemorySpanExporter) -> None:
    client = serve(lambda _: None)
    describe(client, traceparent=TRACEPARENT)
    describe(client, traceparent="made up")
    _, second = ended.get_finished_spans()
    assert second.parent is None
    assert trace_of(second) != CLIENT[0]


def test_a_health_request_has_no_span(ended: InMemorySpanExporter) -> None:
    client = serve(lambda _: None)
    assert client.get("/ping").status_code == 200
    assert client.get("/healthz", environ_overrides={"REQUEST_URI": "/healthz"}).status_code == 200
    assert ended.get_finished_spans() == ()


def test_what_is_logged_meanwhile_bears_the_trace_id(ended: InMemorySpanExporter) -> None:
    lines: list[Mapping[str, Any]] = []
    describe(serve(lambda _: lines.append(tracing.add_trace_id(None, "info", {"event": "a"}))), traceparent=TRACEPARENT)
    assert lines == [{"event": "a", "trace_id": CLIENT[0]}]
    assert tracing.add_trace_id(None, "info", {"event": "a"}) == {"event": "a"}


class Mailbox:
    """A queue in memory, and the worker that takes its messages one by one."""

    def __init__(
        self, handlers: Mapping[type[Command | Fact], celery_app.MessageHandler], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(celery_app, "_handlers", {message.wire: handler for message, handler in handlers.items()})
        self.app = celery_app.create_celery_app(Settings(redis_url="memory://"))
        self.queue = celery_app.MessageQueue(self.app)

    def take(self, message: type[Command | Fact]) -> None:
        with self.app.connection_for_read() as connection:
            waiting = connection.SimpleQueue(message.get_queue_name(), no_ack=True)
            Request(waiting.get(timeout=1), app=self.app, task=self.app.tasks[message.wire]).execute()
            waiting.close()


def test_a_job_belongs_to_the_trace_of_the_request_that_caused_it(
    ended: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch, worker: Worker
) -> None:
    worker.put("a")
    mailbox = Mailbox(
        {TrainSolutionVersion: lambda command: runner.run_leased(command, worker.process, MODULE)}, monkeypatch
    )
    describe(serve(lambda _: mailbox.queue.send(TrainSolutionVersion(arn="a"))), traceparent=TRACEPARENT)
    request = the_one(ended)
    mailbox.take(TrainSolutionVersion)
    job = the_one(ended)
    assert (job.name, job.kind) == (TrainSolutionVersion.wire, SpanKind.CONSUMER)
    assert job.attributes == {"arn": "a", "attempt": 1, "outcome": "Finished"}
    assert job.parent is not None
    assert request.context is not None
    assert (trace_of(job), job.parent.span_id) == (CLIENT[0], request.context.span_id)


def test_what_a_message_causes_is_said_in_its_trace(
    ended: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Mapping[str, Any]] = []
    mailbox = Mailbox(
        {
            TuneSolutionVersion: lambda _: mailbox.queue.send(ImportDataset(arn="b")),
            ImportDataset: lambda _: seen.append(tracing.add_trace_id(None, "info", {})),
        },
        monkeypatch,
    )
    describe(serve(lambda _: mailbox.queue.send(TuneSolutionVersion(arn="a"))), traceparent=TRACEPARENT)
    mailbox.take(TuneSolutionVersion)
    mailbox.take(ImportDataset)
    mailbox.queue.send(ImportDataset(arn="b"))
    mailbox.take(ImportDataset)
    assert seen == [{"trace_id": CLIENT[0]}, {}]


def test_an_attempt_that_failed_or_died_says_why(ended: InMemorySpanExporter, worker: Worker) -> None:
    for command in (TrainSolutionVersion(arn="the box"), ImportDataset(arn="b")):
        worker.put(command.arn)
        worker.work(command)
    said = [
        (dict(span.attributes or {})["outcome"], span.status.status_code, span.status.description)
        for span in ended.get_finished_spans()
    ]
    assert said == [
        ("Failed", StatusCode.ERROR, "There is nothing in the box."),
        ("Died", StatusCode.ERROR, "The process died with signal SIGKILL."),
    ]


def test_where_it_is_not_asked_for_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    tracing.configure_tracing(Settings(), "api")
    mailbox = Mailbox({ImportDataset: lambda _: None}, monkeypatch)
    mailbox.queue.send(ImportDataset(arn="a"))
    with mailbox.app.connection_for_read() as connection:
        message = connection.SimpleQueue("importing", no_ack=True).get(timeout=1)
    assert (tracing._tracer, tracing.start_request_span({"traceparent": TRACEPARENT}), tracing.start_job_span("a")) == (
        None,
        None,
        None,
    )
    assert "traceparent" not in message.headers
    assert tracing.add_trace_id(None, "info", {"event": "a"}) == {"event": "a"}


def test_without_the_extra_the_setting_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingsError, match=r"FORETASTE_TRACING .* install foretaste\[tracing\]"):
        tracing.configure_tracing(Settings(tracing=True), "api")


class Silent(SpanExporter):
    """A collector that does not answer."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.over = threading.Event()

    def export(self, _spans: Any) -> SpanExportResult:
        self.asked.set()
        self.over.wait(30)
        return SpanExportResult.FAILURE


def test_a_process_that_ends_does_not_wait_long_for_the_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otel, "SHUTDOWN_SECONDS", 0.05)
    silent = Silent()
    batches = otel.BoundedShutdownProcessor(silent)
    otel.ProcessTracer("test", batches).start_request_span({}).end(None)
    began = time.monotonic()
    batches.shutdown()
    assert silent.asked.wait(5)
    assert time.monotonic() - began < 5
    silent.over.set()
