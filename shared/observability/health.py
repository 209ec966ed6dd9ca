"""What a process says of itself to whoever runs it: GET /healthz, /readyz and /metrics, without a signature.

/healthz says whether the process lives, /readyz whether it can do its work: 200, or 503 with the checks that fail.
/metrics is Prometheus's text. An HTTP process answers them beside /ping; where FORETASTE_METRICS_BIND is set, any
process answers them at that address too. The gateway passes none of them on.
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

#: Answers within about a second, whatever is broken, and raises nothing.
HealthCheck = Callable[[], bool]


@dataclass(frozen=True)
class HealthResponse:
    status: HTTPStatus
    content_type: str
    body: bytes


class HealthEndpoints:
    """What one process can say. Without its ``threads`` it does not live; what is ``told`` is named by /readyz and
    leaves it as it is; ``state`` collects, at each look, what is counted elsewhere.
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
        """The answer to one of PATHS; None for any other."""
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
        """Answer at ``bind`` (host:port), in threads of its own; nowhere when it is empty.

        Raises SettingsError when that is no address to listen at.
        """
        if not bind:
            return None
        host, _, port = bind.rpartition(":")
        try:
            server = _Server((host.strip("[]"), int(port)), _create_handler_class(self))
        except (OSError, ValueError, OverflowError) as error:
            raise SettingsError(f"FORETASTE_METRICS_BIND={bind}: can't listen there: {error}") from error
        threading.Thread(target=server.serve_forever, name="vitals", daemon=True).start()
        return server


class _Server(ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        log.exception("a look at the vitals failed")


def _create_handler_class(vitals: HealthEndpoints) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 5.0  # a client that says nothing

        def do_GET(self) -> None:
            said = vitals.respond(self.path.partition("?")[0])
            if said is None:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            self.send_response(said.status)
            self.send_header("Content-Type", said.content_type)
            self.send_header("Content-Length", str(len(said.body)))
            self.end_headers()
            self.wfile.write(said.body)

        def log_message(self, *_: object) -> None:
            """A look every few seconds is no news."""

    return Handler
