"""Log lines, from a process of their own: they are set up once for all of it."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import logging, sys, threading, warnings
import structlog
gunicorns = logging.getLogger("gunicorn.error")
gunicorns.addHandler(logging.StreamHandler())
gunicorns.propagate = False
from shared.observability import logging as logs
from shared.settings import Settings
logs.configure_logging(Settings(log_level="info"), "events")
log = structlog.get_logger()
with structlog.contextvars.bound_contextvars(arn="arn:a", attempt=2):
    log.info("at work", epoch=3)
thread = threading.Thread(target=lambda: log.warning("from a thread"))
thread.start()
thread.join()
log.warning("untraced", imported="opentelemetry" in sys.modules)
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from shared.observability import otel, tracing
tracing._tracer = otel.ProcessTracer("events", SimpleSpanProcessor(InMemorySpanExporter()))
span = tracing.start_request_span({"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
log.info("traced")
span.end(None)
log.debug("too much")
logging.getLogger("celery.worker").info("too much too")
logging.getLogger("celery.worker").warning("Connection %s", "lost")
gunicorns.warning("Worker timeout")
warnings.warn("risky", UserWarning, stacklevel=1)
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("a.library").exception("broke")
"""


def test_every_line_is_json_and_names_its_process() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.stdout == ""
    assert {line["process"] for line in lines} == {"events"}
    assert all(line["timestamp"] for line in lines)
    said = [line["event"] if "UserWarning" not in line["event"] else "risky" for line in lines]
    assert [(event, line["level"], line.get("logger")) for event, line in zip(said, lines, strict=True)] == [
        ("at work", "info", None),
        ("from a thread", "warning", None),
        ("untraced", "warning", None),
        ("traced", "info", None),
        ("Connection lost", "warning", "celery.worker"),
        ("Worker timeout", "warning", "gunicorn.error"),
        ("risky", "warning", "py.warnings"),
        ("broke", "error", "a.library"),
    ]
    assert (lines[0]["arn"], lines[0]["attempt"], lines[0]["epoch"]) == ("arn:a", 2, 3)
    assert (lines[2]["imported"], lines[3]["trace_id"]) == (False, "a" * 32)
    assert [line for line in lines if "trace_id" in line] == [lines[3]]
    assert "ZeroDivisionError" in lines[-1]["exception"]


def test_a_line_that_can_not_be_written_is_lost_and_nothing_else() -> None:
    program = """
import logging
import structlog
from shared.observability import logging as logs, metrics
from shared.settings import Settings
logs.configure_logging(Settings(log_level="info"), "events")
for number in range(3):
    structlog.get_logger().info("at work", number=number, text="x" * 10_000)
    logging.getLogger("a.library").warning("x" * 10_000)
print("lost" if metrics.LOG_LINES_LOST._value.get() >= 3 else "kept")
"""
    with open("/dev/full", "w") as full:  # every write to it finds no space
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=full, text=True, check=False, timeout=60)
    assert done.stdout == "lost\n"
