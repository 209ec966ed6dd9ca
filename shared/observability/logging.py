"""Logs: one JSON object per line on stderr, with the process and, if there is one, the request, the ARN and attempt of
a job, and the trace. The logs of libraries take the same form.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog
from structlog.typing import Processor

from shared.observability import metrics, tracing
from shared.settings import Settings


def configure_logging(settings: Settings, process: str) -> None:
    """Set up structlog and tracing for this process, once, at its start. Raises SettingsError."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    processors: list[Processor] = [
        # Not a context variable, because each thread starts with an empty context.
        lambda _logger, _method, event: {"process": process, **event},
        structlog.contextvars.merge_contextvars,
        tracing.add_trace_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*processors, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, BestEffortStream(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    _configure_library_logs(processors)
    tracing.configure_tracing(settings, process)


class BestEffortStream:
    """A stream for logs that counts and drops lines it can't write, as on a full disk, so that the caller goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError):  # ValueError: the stream is closed
            metrics.LOG_LINES_LOST.inc()
            return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def _configure_library_logs(processors: list[Processor]) -> None:
    handler = logging.StreamHandler(cast(TextIO, BestEffortStream(sys.stderr)))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *processors],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    # Celery and pytest respect handlers that exist already. gunicorn has installed its own, which is replaced.
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.captureWarnings(capture=True)
    gunicorn_log = logging.getLogger("gunicorn.error")
    if gunicorn_log.handlers:
        gunicorn_log.handlers, gunicorn_log.propagate = [], True
