"""Logs: one JSON object a line on stderr, bound to the process and, where there is one, to a request or to an ARN and
an attempt, and to a trace. What libraries log comes in the same form.
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
    """Set up structlog, and tracing, for this process; called once, at its start. Raises SettingsError."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    told: list[Processor] = [
        # Not bound as a variable of the context: threads begin with an empty one.
        lambda _logger, _method, event: {"process": process, **event},
        structlog.contextvars.merge_contextvars,
        tracing.add_trace_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*told, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, BestEffortStream(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    _configure_library_logs(told)
    tracing.configure_tracing(settings, process)


class BestEffortStream:
    """A stream for logs. That a line can't be written, as on a full disk, is no failure of whoever logs it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError):  # ValueError: it is closed
            metrics.LOG_LINES_LOST.inc()
            return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def _configure_library_logs(told: list[Processor]) -> None:
    handler = logging.StreamHandler(cast(TextIO, BestEffortStream(sys.stderr)))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *told],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    # Celery and a test runner leave alone, or keep, what is there; gunicorn has been first with a logger of its own.
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.captureWarnings(capture=True)
    of_gunicorn = logging.getLogger("gunicorn.error")
    if of_gunicorn.handlers:
        of_gunicorn.handlers, of_gunicorn.propagate = [], True
