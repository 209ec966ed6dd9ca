"""The Prometheus metrics of the work that a process does. `services/api/store_metrics.py` has those of Redis.

A label takes few values (operations, codes of errors, queues), never what a client has made up. The children of a
metric are kept: finding one is a look into a dictionary, and a request costs a few microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from prometheus_client import Counter, Gauge, Histogram

#: The operation of a request that was refused before it was known.
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
    "From the first look at a request to its answer",
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
    "The same, with the time that the service took",
    ("service",),
    buckets=_OF_REQUESTS,
)
GATEWAY_CONNECTIONS = Gauge(
    "foretaste_gateway_connections",
    "Connections of clients, by what they do: idle, sending a head or a body, or being answered",
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
    "Attempts at long work that ended: Finished, Failed, Stopped, HandedBack, Died, Hung (killed) or Lost (its lease)",
    ("queue", "outcome"),
)
JOB_SECONDS = Histogram("foretaste_job_seconds", "How long these attempts took", ("queue",), buckets=_OF_JOBS)
EVENTS_WITHOUT_ITEM = Counter(
    "foretaste_events_without_item",
    "Events that were kept and can't be used, since they name no item",
)

SET_ASIDE = Counter(
    "foretaste_set_aside",
    "Turns of entries of a walk that failed: the entry is left alone for a while, and the walk goes on",
    ("walk",),
)
THREAD_ENDS = Counter(
    "foretaste_thread_ends", "Background threads that ended and were started again; they should never", ("thread",)
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
    """A service has answered."""
    operation = operation or UNKNOWN
    _get_request_counter(service, operation, status, error or "").inc()
    _get_request_histogram(service, operation).observe(seconds)


def count_gateway_request(service: str, status: int, seconds: float) -> None:
    """The gateway has answered."""
    _get_gateway_counter(service, status).inc()
    _get_gateway_histogram(service).observe(seconds)


def set_gateway_connections(counts: Mapping[str, int]) -> None:
    """So many connections are in each state now."""
    for state, count in counts.items():
        GATEWAY_CONNECTIONS.labels(state).set(count)


def count_gateway_cut(why: str) -> None:
    """The gateway has ended a connection."""
    GATEWAY_CUT.labels(why).inc()


def count_job(queue: str, outcome: str, seconds: float) -> None:
    """An attempt at long work has ended."""
    JOBS.labels(queue, outcome).inc()
    JOB_SECONDS.labels(queue).observe(seconds)


def count_set_aside(walk: str) -> None:
    """An entry of a walk has failed."""
    SET_ASIDE.labels(walk).inc()


def count_thread_end(name: str) -> None:
    """A thread that should never end has."""
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
