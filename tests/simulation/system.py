"""The processes of foretaste in a simulated world: their real code, on simulated edges."""

from __future__ import annotations

import contextlib
import marshal
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import orjson
import redis.exceptions
import structlog
from kombu.exceptions import OperationalError

from services.api import app as api
from services.api.context import ApiContext
from services.events import app as events
from services.runtime import deployer
from services.status import deletions, memory_guard
from shared.aws import arns, request_schemas, serialization, service_model
from shared.aws.errors import PersonalizeError
from shared.data import schemas as data_schemas
from shared.http.app import Answer, Call
from shared.jobs import celery_app, runner, worker_process
from shared.jobs.worker_process import WorkerProcess
from shared.observability import threads as background
from shared.resources import ResourceReader
from shared.resources.dataset import requests as of_datasets
from shared.resources.event_tracker import requests as of_trackers
from shared.resources.filter import requests as of_filters
from shared.settings import Settings
from tests.simulation.child_processes import Children
from tests.simulation.edges import Broker, Disk, Faults, Server, Store
from tests.simulation.models import ModelLoader, WarmUp
from tests.simulation.threads import Event, Threads, Time
from tests.simulation.world import Broken, Killed, SimProcess, World
from tests.unit.state_machine.control_plane import Refused

with patch("shared.jobs.worker_process.create_worker_app"):  # the handlers alone: there is no Celery here
    from services.status import app as status
    from workers.importing import tasks as importing
    from workers.inference import tasks as inference
    from workers.training import tasks as training
    from workers.tuning import tasks as tuning

HANDLED_BY = (status, importing, training, tuning, inference)

#: How many of each there are.
ROLES: Mapping[str, int] = {
    "api": 2,
    "events": 1,
    "status": 2,
    "importing": 2,
    "training": 2,
    "tuning": 2,
    "inference": 2,
    "runtime": 2,
}
SETTINGS = Settings(
    deletion_seconds=1.0,
    deploy_deadline_seconds=60.0,
    **dict.fromkeys(
        (f"{work}_silence_seconds" for work in ("import", "export", "data_deletion", "training", "trial", "batch")),
        20.0,
    ),
    auto_training=True,
    quota_pending_solution_versions=3,
)
#: Who waits for the one that was told to end kills it after so long (seconds).
PATIENCE = 10.0
AWAY = "ServiceUnavailable"
#: What is logged when our own code fails where that ends nothing else.
FAULTS_OF_OURS = {"set aside", "background thread failed", "background thread ended"}
#: Any operation may answer these, whatever its model declares.
COMMON = {"ValidationException", "ResourceNotFoundException", AWAY}


@dataclass(frozen=True)
class Answered:
    members: Mapping[str, Any]


class System:
    """``skews`` are the clocks' errors (seconds) that processes are born with, one at random each."""

    def __init__(self, world: World, faults: Faults, skews: tuple[float, ...] = (0.0,)) -> None:
        self.world, self.faults, self.skews = world, faults, skews
        self.server = Server(world)
        self.store: Any = Store(world, faults, self.server)
        self.broker: Any = Broker(world, faults)
        self.disk: Any = Disk(world)
        self.children = Children(world, faults, self.disk, self.server)
        self.running: dict[SimProcess, str] = {}
        self._offered: Mapping[str, Mapping[str, Any]] = {
            "api": api.build_handlers(ApiContext(self.store, self.broker, ResourceReader(self.store, SETTINGS))),
            "events": events.build_handlers(SETTINGS, self.store),
        }
        self._born = 0
        for role, count in ROLES.items():
            for _ in range(count):
                self.start(role)

    def of(self, role: str) -> list[SimProcess]:
        return [one for one, its in self.running.items() if its == role]

    def start(self, role: str) -> None:
        self._born += 1
        born = self.world.process(f"{role}@sim:{self._born}", self.world.chance.choice(self.skews))
        ending: Any = Event(self.world)
        born.handle = WorkerProcess(
            name=born.name, settings=SETTINGS, store=self.store, queue=self.broker, artifacts=self.disk, ending=ending
        )
        self.running[born] = role

        def ended() -> None:
            del self.running[born]
            self.world.after(self.world.chance.choice((0.2, 1.0, 4.0)), lambda: self.start(role))

        born.at_death.append(ended)
        self.world.spawn(born, "main", lambda: self._main(born, role))

    def stop(self, one: SimProcess) -> None:
        """As SIGTERM does it, and what follows."""
        one.handle.ending.set()
        self.world.after(PATIENCE, lambda: self.world.kill(one, "told to end"))

    def _main(self, one: SimProcess, role: str) -> None:
        match role:
            case "api" | "events":
                return
            case "runtime":
                loading: Any = ModelLoader(self.world, self.disk)
                preparing: Any = WarmUp(self.world)
                deployer.start_deployer(one.handle, loading, loading, preparing)
                worker_process.send_heartbeats(one.handle)
                return
            case "status":
                status._start_periodic_tasks()
            case "training":
                worker_process.send_heartbeats(one.handle)
        self._consume(one, role)

    def _consume(self, one: SimProcess, role: str) -> None:
        """As Celery does: one message after the other; what a handler raises is logged."""
        while not one.handle.ending.is_set():
            message = self.broker.take(role)
            try:
                celery_app._handlers[message.wire](message)
            except (redis.exceptions.RedisError, OperationalError) as error:
                self.world.tell("GIVES UP", message.wire, error)

    def serve(self, role: str, operation: str, request: Mapping[str, Any], invocation: str) -> Answered | Refused:
        """What a process of that role answers, as ``shared.http.app`` has it answer."""
        service = "personalize" if role == "api" else "personalize-events"
        known = service_model.load_operations(service)[operation]
        if self.world.task is not None:
            self.world.task.call = invocation
        try:
            members = marshal.loads(_load_members(service, operation, orjson.dumps(request)))
            answer = self._offered[role][operation](
                Call(operation=operation, request=members, request_id="r", invocation=invocation)
            )
        except PersonalizeError as error:
            if error.code not in declared(service, operation):
                self.world.breaks(f"{operation} answered {error.code}, which it does not declare")
            return Refused(error.code)
        except redis.exceptions.RedisError:
            return Refused(AWAY)
        except Exception as error:
            self.world.breaks(f"{operation} answered 500: {error!r}")
            raise
        shown = answer.members if isinstance(answer, Answer) else answer or {}
        return Answered(orjson.loads(serialization.serialize_answer(known, shown) or b"{}"))


@lru_cache(maxsize=20_000)
def _load_members(service: str, operation: str, body: bytes) -> bytes:
    """Load a request, which most clients repeat, and return its members by ``marshal``. Raises as ``load_request``."""
    return marshal.dumps(
        request_schemas.load_request(service_model.load_operations(service)[operation], orjson.loads(body))
    )


@cache
def declared(service: str, operation: str) -> frozenset[str]:
    """The errors that an operation may answer by AWS's model, and those that any may."""
    shapes = service_model._load_model(service).operation_model(operation).error_shapes
    return frozenset({*COMMON, *(shape.error_code or shape.name for shape in shapes)})


class _Current:
    """``shared.jobs.worker_process._current``: whose code runs now."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __getitem__(self, _index: int) -> WorkerProcess:
        assert self._world.task is not None
        handle: WorkerProcess = self._world.task.process.handle
        return handle


class _Log:
    """A logger as ``structlog`` makes it: tells the world each event, and a fault of our code breaks the life."""

    def __init__(self, world: World) -> None:
        self._world = world

    def bind(self) -> _Log:
        return self

    def info(self, event: str, **members: Any) -> None:
        told = {**structlog.contextvars.get_contextvars(), **members, "event": event}
        self._world.tell("log", dict(sorted(told.items())))
        if event in FAULTS_OF_OURS and not isinstance(sys.exception(), Killed | Broken):
            self._world.broken.append(f"{told} {sys.exception()!r}")

    debug = warning = error = info

    def exception(self, event: str, **members: Any) -> None:
        self.info(event, exc_info=True, **members)


def _timed() -> list[Any]:
    """Modules of ours that look at the clock."""
    ours = ("services.", "shared.", "workers.")
    return [
        module
        for name, module in sorted(sys.modules.items())
        if name.startswith(ours) and getattr(module, "time", None) is time
    ]


_TIMED = _timed()
#: Clients send few texts, and what is parsed from them is immutable.
_parse_schema = lru_cache(data_schemas.parse_schema)
_parse_filter = lru_cache(of_filters.parse_filter)


@contextlib.contextmanager
def simulated(world: World, children: Children) -> Iterator[None]:
    """For the length of the block our code has this world's clock, threads and chance."""
    ids = SimpleNamespace(token_hex=lambda size: f"{world.chance.getrandbits(8 * size):0{2 * size}x}")
    uuids = SimpleNamespace(uuid4=lambda: uuid.UUID(int=world.chance.getrandbits(128), version=4))
    threads, clock = Threads(world), Time(world)
    changes: list[tuple[Any, str, Any]] = [
        *((module, "time", clock) for module in _TIMED),
        *((module, "threading", threads) for module in (runner, background, deployer)),
        *((module, "uuid", uuids) for module in (of_datasets, of_trackers)),
        (arns, "secrets", ids),
        (runner, "_pool", children),
        (runner, "end_process", lambda code: world.die(f"with exit status {code}")),
        (data_schemas, "parse_schema", _parse_schema),
        (of_filters, "parse_filter", _parse_filter),
        (memory_guard, "start_memory_guard", lambda _process: None),  # it looks at a real Redis
        (worker_process, "_current", _Current(world)),
        # Each round costs steps, and a fault between two of these is seldom.
        (deployer, "EVERY", 1.0),
        (deletions, "EVERY", 1.0),
        (worker_process, "BEAT_EVERY", 2.0),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in changes]
    configured, log = structlog.get_config(), _Log(world)
    structlog.configure(
        wrapper_class=lambda *_, **__: log, logger_factory=lambda *_: None, cache_logger_on_first_use=False
    )
    try:
        for module, name, value in changes:
            setattr(module, name, value)
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
        structlog.configure(**configured)
