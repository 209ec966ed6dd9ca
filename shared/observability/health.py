"""The health endpoints of a process: GET /healthz, /readyz and /metrics, without a signature.

/healthz tells whether the process is alive, /readyz whether it can do its work: 200, or 503 if a check fails; the body
has all checks. /metrics is Prometheus's text. An HTTP process answers them next to /ping; where FORETASTE_METRICS_BIND
is set, any process answers them at that address too. The gateway forwards none of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer

import orjson
import structlog
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from shared.observability.threads import BackgroundThreads
from shared.settings import SettingsError

log = structlog.get_logger()

HEALTH_PATHS = ("/healthz", "/readyz", "/metrics")

#: Returns within about a second, even during an outage, and raises nothing.
HealthCheck = Callable[[], bool]


@dataclass(frozen=True)
class HealthResponse:
    """The response to one of HEALTH_PATHS."""

    status: HTTPStatus
    content_type: str
    body: bytes


class HealthEndpoints:
    """The health checks and the metrics of one process.

    /healthz runs ``alive`` and the checks of ``threads``. /readyz runs these, ``ready``, and ``informative``, which it
    reports without letting them decide the status. ``collector`` adds metrics that are read at each scrape.
    """

    def __init__(
        self,
        service: str,
        *,
        threads: BackgroundThreads | None = None,
        alive: Mapping[str, HealthCheck] | None = None,
        ready: Mapping[str, HealthCheck] | None = None,
        informative: Mapping[str, HealthCheck] | None = None,
        collector: Collector | None = None,
    ) -> None:
        self._service = service
        self._threads = threads or BackgroundThreads()
        self._alive = alive or {}
        self._ready = ready or {}
        self._informative = informative or {}
        self._registry = CollectorRegistry(auto_describe=False)
        if collector is not None:
            self._registry.register(collector)

    def respond(self, path: str) -> HealthResponse | None:
        """Return the response to one of HEALTH_PATHS; None for any other path."""
        match path:
            case "/healthz":
                return self._run_checks(self._alive)
            case "/readyz":
                return self._run_checks({**self._alive, **self._ready}, self._informative)
            case "/metrics":
                text = generate_latest(REGISTRY) + generate_latest(self._registry)
                return HealthResponse(HTTPStatus.OK, CONTENT_TYPE_PLAIN_0_0_4, text)
        return None

    def _run_checks(
        self, checks: Mapping[str, HealthCheck], told: Mapping[str, HealthCheck] | None = None
    ) -> HealthResponse:
        found = {**self._threads.run_checks(), **{name: check() for name, check in checks.items()}}
        status = HTTPStatus.OK if all(found.values()) else HTTPStatus.SERVICE_UNAVAILABLE
        found |= {name: check() for name, check in (told or {}).items()}
        return HealthResponse(status, "application/json", orjson.dumps({"service": self._service, "checks": found}))

    def start_server(self, bind: str | None) -> ThreadingTCPServer | None:
        """Answer at ``bind`` (host:port) too, in threads of its own; None when ``bind`` is empty.

        Raises SettingsError for an address that cannot be listened at.
        """
        if not bind:
            return None
        host, _, port = bind.rpartition(":")
        try:
            server = _Server((host.strip("[]"), int(port)), _create_handler_class(self))
        except (OSError, ValueError, OverflowError) as error:
            raise SettingsError(f"FORETASTE_METRICS_BIND={bind}: can't listen there: {error}") from error
        threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
        return server


class _Server(ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        log.exception("health request failed")


def _create_handler_class(endpoints: HealthEndpoints) -> type[BaseHTTPRequestHandler]:
    class HealthRequestHandler(BaseHTTPRequestHandler):
        timeout = 5.0  # seconds that a client may send nothing

        def do_GET(self) -> None:
            response = endpoints.respond(self.path.partition("?")[0])
            if response is None:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            self.send_response(response.status)
            self.send_header("Content-Type", response.content_type)
            self.send_header("Content-Length", str(len(response.body)))
            self.end_headers()
            self.wfile.write(response.body)

        def log_message(self, *_: object) -> None:
            """Log nothing: monitors ask every few seconds."""

    return HealthRequestHandler
