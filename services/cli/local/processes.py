"""The processes of foretaste: the command line of each, and the settings it needs.

The local supervisor (``system.py``) starts these; a test compares ``compose.yaml`` with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from shared.jobs.celery_app import WORKER_FLAGS

STORE = ("FORETASTE_REDIS_URL",)
FILES = ("FORETASTE_DATA_DIR",)
KEYS = ("FORETASTE_ACCESS_KEY_ID", "FORETASTE_SECRET_ACCESS_KEY", "FORETASTE_UNSIGNED")
#: Followed by an application, and before it by a worker class where that of shared.http.gunicorn_config does not fit.
GUNICORN = ("gunicorn", "--config", "python:shared.http.gunicorn_config")
UPSTREAMS = ("FORETASTE_API_URL", "FORETASTE_RUNTIME_URL", "FORETASTE_EVENTS_URL")


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """One process.

    ``command`` is its command line, without the path of the interpreter. ``image`` is the target of the
    Dockerfile that can run it: "api" has no torch. ``environment`` names the settings that it needs and that have no
    default. An ``http`` process answers GET /ping on its bind address; a Celery worker keeps a heartbeat in the store.
    """

    name: str
    command: tuple[str, ...]
    image: Literal["api", "train"]
    http: bool
    environment: tuple[str, ...]


def _declare_http_process(name: str, app: str, image: Literal["api", "train"], *environment: str) -> ProcessSpec:
    return ProcessSpec(
        name=name,
        command=(*GUNICORN, app),
        image=image,
        http=True,
        environment=("FORETASTE_BIND", *environment),
    )


def _declare_worker(name: str, module: str, image: Literal["api", "train"], *environment: str) -> ProcessSpec:
    return ProcessSpec(
        name=name,
        command=("celery", "--app", module, "worker", "--queues", name, *WORKER_FLAGS),
        image=image,
        http=False,
        environment=(*STORE, *FILES, *environment),
    )


PROCESSES: tuple[ProcessSpec, ...] = (
    _declare_http_process("api", "services.api.app:create_app()", "api", *STORE, *KEYS),
    _declare_http_process("runtime", "services.runtime.app:create_app()", "api", *STORE, *FILES, *KEYS),
    _declare_http_process("events", "services.events.app:create_app()", "api", *STORE, *KEYS),
    _declare_worker("status", "services.status.app", "api"),
    _declare_worker("importing", "workers.importing.app", "api"),
    _declare_worker("training", "workers.training.app", "train"),
    _declare_worker("tuning", "workers.tuning.app", "api"),
    _declare_worker("inference", "workers.inference.app", "api"),
    ProcessSpec(
        name="gateway",
        command=(*GUNICORN, "--worker-class", "services.gateway.worker.Worker", "services.gateway.app:create_app()"),
        image="api",
        http=True,
        environment=("FORETASTE_BIND", *UPSTREAMS),
    ),
)

BY_NAME: Mapping[str, ProcessSpec] = {process.name: process for process in PROCESSES}
