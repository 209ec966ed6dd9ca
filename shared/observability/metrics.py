"""The Prometheus metrics of the work of a process. Those of Redis are in `services/api/store_metrics.py`.

A label has few values (operations, error codes, queues), never text from a client. The children of a metric are cached:
finding one is a dictionary lookup, and counting a request takes a few microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from prometheus_client import Counter, Gauge, Histogram

#: The operation of a request that was refused before its operation was known.
UNKNOWN = "unknown"

_OF_REQUESTS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_OF_JOBS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 24 * 3600.0)

REQUESTS = Counter(
    "foretaste_requests",
    "Requests that were answered; error is the code, empty where there was none",
    ("service", "operation", "status", "error"),
)
REQUEST_SECONDS = Histogram(
    "foretaste_request_seconds",
    "Seconds from the start of a request to its answer",
    ("service", "operation"),
    buckets=_OF_REQUESTS,
)
GATEWAY_REQUESTS = Counter(
    "foretaste_gateway_requests",
    "Requests that the gateway answered, by the service they are for",
    ("service", "status"),
)
GATEWAY_SECONDS = Histogram(
    "foretaste_gateway_seconds",
    "Seconds from the start of a request to its answer, with the time of the service",
    ("service",),
    buckets=_OF_REQUESTS,
)
GATEWAY_CONNECTIONS = Gauge(
    "foretaste_gateway_connections",
    "Connections of clients: idle, sending a head or a body, or being answered",
    ("state",),
)
GATEWAY_CUT = Counter(
    "foretaste_gateway_cut",
    "Connections that the gateway ended: idle, head or body (it took too long), shed (to make room), refused (no room),"
    " invalid, size, ended (by the client within a body), stopped",
    ("why",),
)
JOBS = Counter(
    "foretaste_jobs",
    "Attempts at jobs that ended: Finished, Failed, Stopped, HandedBack, Postponed, Died, Hung (killed) or Lost",
    ("queue", "outcome"),
)
JOB_SECONDS = Histogram("foretaste_job_seconds", "Seconds that these attempts took", ("queue",), buckets=_OF_JOBS)
EVENTS_WITHOUT_ITEM = Counter(
    "foretaste_events_without_item",
    "Events that were kept but can't be used, because they name no item",
)

SET_ASIDE = Counter(
    "foretaste_set_aside",
    "Entries of a walk that failed: each is left out for a while, and the walk goes on",
    ("walk",),
)
THREAD_ENDS = Counter(
    "foretaste_thread_ends", "Background threads that ended, which they should not, and were restarted", ("thread",)
)

LOG_LINES_LOST = Counter("foretaste_log_lines_lost", "Lines of the log that could not be written, as on a full disk")

METRICS = (
    REQUESTS,
    REQUEST_SECONDS,
    GATEWAY_REQUESTS,
    GATEWAY_SECONDS,
    GATEWAY_CONNECTIONS,
    GATEWAY_CUT,
    JOBS,
    JOB_SECONDS,
    EVENTS_WITHOUT_ITEM,
    SET_ASIDE,
    THREAD_ENDS,
    LOG_LINES_LOST,
)


def count_request(service: str, operation: str | None, status: int, error: str | None, seconds: float) -> None:
    """Count a request that a service has answered in ``seconds``."""
    operation = operation or UNKNOWN
    _get_request_counter(service, operation, status, error or "").inc()
    _get_request_histogram(service, operation).observe(seconds)


def count_gateway_request(service: str, status: int, seconds: float) -> None:
    """Count a request that the gateway has answered in ``seconds``."""
    _get_gateway_counter(service, status).inc()
    _get_gateway_histogram(service).observe(seconds)


def set_gateway_connections(counts: Mapping[str, int]) -> None:
    """Set the current number of connections in each state."""
    for state, count in counts.items():
        GATEWAY_CONNECTIONS.labels(state).set(count)


def count_gateway_cut(why: str) -> None:
    """Count a connection that the gateway has ended."""
    GATEWAY_CUT.labels(why).inc()


def count_job(queue: str, outcome: str, seconds: float) -> None:
    """Count an attempt at a job that has ended after ``seconds``."""
    JOBS.labels(queue, outcome).inc()
    JOB_SECONDS.labels(queue).observe(seconds)


def count_set_aside(walk: str) -> None:
    """Count an entry of a walk that has failed."""
    SET_ASIDE.labels(walk).inc()


def count_thread_end(name: str) -> None:
    """Count the end of a background thread."""
    THREAD_ENDS.labels(name).inc()


@cache
def _get_request_counter(service: str, operation: str, status: int, error: str) -> Counter:
    return REQUESTS.labels(service, operation, str(status), error)


@cache
def _get_request_histogram(service: str, operation: str) -> Histogram:
    return REQUEST_SECONDS.labels(service, operation)


@cache
def _get_gateway_counter(service: str, status: int) -> Counter:
    return GATEWAY_REQUESTS.labels(service, str(status))


@cache
def _get_gateway_histogram(service: str) -> Histogram:
    return GATEWAY_SECONDS.labels(service)
