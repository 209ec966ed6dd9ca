"""What stands where a simulated process meets the world: the store's server, the broker, the disk, child processes.

Each is real in what it promises (the store is the in-memory twin) and unreliable as the run's ``Faults`` say.
"""

from __future__ import annotations

import queue as threads
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import redis.exceptions
from kombu.exceptions import OperationalError

from shared.aws import arns
from shared.jobs.runner import ActivityTracker
from shared.resources.solution.tuning import METRICS
from shared.serving.model_cache import NotDeployable
from shared.state.messages import BY_WIRE, DeleteUsers, Message, RunTrial
from shared.store import Record
from tests.simulation.world import Event, SimProcess, Task, World
from tests.unit.state_machine.control_plane import WatchedStore

#: The methods of a store, each one step.
CALLS = (
    *("now", "get", "create", "find_by_invocation", "replace", "find_claim_holder", "remove", "list_page"),
    *("list_in_progress", "list_outbox", "add_to_outbox", "remove_from_outbox"),
    *("claim_lease", "renew_lease", "release_lease", "get_lease", "acquire_lock", "send_heartbeat"),
    *("list_live_processes", "append_interactions", "get_recent_interactions", "get_seen_items", "get_last_arrival"),
    *("clear_dataset", "save_put_records", "get_last_put", "measure_stream"),
)
#: How often a deletion of users waits for other work.
POSTPONED = 0.2
#: Those of which more must hold than the twin checks by itself.
WATCHED = frozenset({"create", "replace", "claim"})
#: A worker knows that its work is another's after so long (seconds): it looks each second, and may not be answered.
NOTICED = 3.5
#: How often a job that goes well shows that it gets on (seconds).
SIGN_EVERY = 8.0
#: Of a call that is not answered (seconds).
PATIENCE = 0.5


@dataclass
class Faults:
    """How unreliable the edges are: shares of all messages, store calls and jobs. All zero: nothing goes wrong."""

    lost: float = 0.0
    doubled: float = 0.0
    late: float = 0.0
    reordered: float = 0.0
    cut: float = 0.0
    """Calls of the store that are carried out, and whose answer never comes."""
    child: float = 0.0
    """Jobs whose process dies."""
    hung: float = 0.0
    """Jobs whose process does nothing any more, for good."""
    redis_back: float = 0.0
    """Until when Redis, and so the broker, is away."""

    def end(self) -> None:
        self.lost = self.doubled = self.late = self.reordered = self.cut = self.redis_back = 0.0
        self.child = self.hung = 0.0


class Server:
    """What is behind the store: the twin, which refuses illegal moves, and what must hold of each write."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.twin = WatchedStore(lambda: world.now)
        #: A client's call -> the ARNs made by it.
        self.made: defaultdict[str, set[str]] = defaultdict(set)

    def before(self, name: str, args: tuple[Any, ...]) -> None:
        if name == "claim_lease":
            held = self.twin.get_lease(args[0])
            self._held = held is not None and held.seconds_left > 0

    def after(self, name: str, args: tuple[Any, ...], answer: Any) -> None:
        match name:
            case "create":
                self._made(answer)
                self._at_most(args[0])
            case "replace":
                self._outcome(args[0])
            case "claim_lease" if answer is not None and self._held:
                self.world.breaks(f"{args[0]} was taken up beside a lease that lives")

    def _made(self, arn: str) -> None:
        """However often a client tries: its call makes one thing."""
        call = self.world.task.call if self.world.task else ""
        if call:
            self.made[call].add(arn)
            if len(self.made[call]) > 1:
                self.world.breaks(f"one call made {sorted(self.made[call])}")

    def _outcome(self, record: Record) -> None:
        """What a job came to is written under the attempt that came to it."""
        by = record.state.get("by attempt") if record.status == "ACTIVE" else None
        if by is not None and by != record.attempt and record.update is None:
            self.world.breaks(f"{record.arn} is ACTIVE by attempt {by}; its attempt is {record.attempt}")
        _, own, said = (record.reason or "").partition(f"{record.arn} of attempt ")
        if record.status == "CREATE FAILED" and own and int(said) != record.attempt:
            self.world.breaks(f"{record.arn} failed by attempt {said}; its attempt is {record.attempt}")

    def _at_most(self, record: Record) -> None:
        if record.kind != "trial":
            return
        under_way = [
            one
            for one in self.twin.everything().values()
            if one.kind == "trial" and one.parents[0] == record.parents[0] and one.in_progress
        ]
        if len(under_way) > AT_ONCE:
            self.world.breaks(f"{len(under_way)} trials of {record.parents[0]} at once, and {AT_ONCE} were asked for")


#: Trials at once of every solution with HPO in a simulation.
AT_ONCE = 2


class Store:
    """The store, as a process reaches it over the network."""

    def __init__(self, world: World, faults: Faults, server: Server) -> None:
        self._world, self._faults, self._server = world, faults, server
        for name in CALLS:
            setattr(self, name, self._call(name))

    def _call(self, name: str) -> Callable[..., Any]:
        world, faults, server = self._world, self._faults, self._server
        method, step, watched = getattr(server.twin, name), world.step, name in WATCHED

        def call(*args: Any, **more: Any) -> Any:
            if world.task is None:
                return method(*args, **more)
            subject = getattr(args[0], "arn", args[0]) if args else ""
            step(name, subject, more)
            if world.now < faults.redis_back:
                world.pause(min(PATIENCE, faults.redis_back - world.now))
                raise redis.exceptions.ConnectionError("the server is away")
            if watched:
                server.before(name, args)
            try:
                answer = method(*args, **more)
            except AssertionError as error:
                world.breaks(str(error))
            if watched:
                server.after(name, args, answer)
            if faults.cut and world.chance.random() < faults.cut:
                world.tell("ANSWER LOST", name, subject)
                raise redis.exceptions.ConnectionError("the connection was cut")
            return answer

        return call

    def iter_interactions(self, dataset: str) -> Iterator[Any]:
        return self._server.twin.iter_interactions(dataset)

    def get_impressions(self, dataset: str, recommendation_ids: Any) -> Mapping[str, str]:
        return {}

    def ping(self) -> None:
        self.list_in_progress()  # type: ignore[attr-defined]


class Broker:
    """The queues, as Celery has them in Redis: what is taken is acknowledged, whatever becomes of who took it."""

    def __init__(self, world: World, faults: Faults) -> None:
        self._world, self._faults = world, faults
        self.queues: defaultdict[str, list[bytes]] = defaultdict(list)
        self._waiting: defaultdict[str, list[Task]] = defaultdict(list)
        self.under_way = 0
        """Messages that are late."""

    # As ``shared.jobs.celery_app.MessageQueue``

    def send(self, message: Message) -> None:
        self._world.step("send", message.wire, message.arn, getattr(message, "attempt", ""))
        self._refuse_when_away()
        self._post(message.get_queue_name(), orjson.dumps({"wire": message.wire, "fields": message.to_fields()}))

    def count_waiting(self, queue: str) -> int:
        self._world.step("waiting", queue)
        self._refuse_when_away()
        return len(self.queues[queue])

    def _refuse_when_away(self) -> None:
        if self._world.now < self._faults.redis_back:
            self._world.pause(min(PATIENCE, self._faults.redis_back - self._world.now))
            raise OperationalError("the broker is away")

    def _post(self, queue: str, body: bytes) -> None:
        chance, faults = self._world.chance, self._faults
        if chance.random() < faults.lost:
            self._world.tell("LOST", body)
            return
        for _ in range(1 + (chance.random() < faults.doubled)):
            if chance.random() < faults.late:
                self.under_way += 1
                delay = chance.choice((0.3, 2.0, 8.0, 25.0))
                self._world.tell("LATE", delay, body)
                self._world.after(delay, lambda: self._arrive(queue, body, late=True))
            else:
                self._arrive(queue, body)

    def _arrive(self, queue: str, body: bytes, *, late: bool = False) -> None:
        self.under_way -= late
        standing = self.queues[queue]
        at = len(standing)
        if standing and self._world.chance.random() < self._faults.reordered:
            at = self._world.chance.randrange(len(standing))
        standing.insert(at, body)
        for task in self._waiting.pop(queue, ()):
            self._world.wake(task)

    # As Celery's consumer

    def take(self, queue: str) -> Message:
        """The next message, when there is one."""
        while True:
            self._world.step("take", queue)
            if self.queues[queue] and self._world.now >= self._faults.redis_back:
                read = orjson.loads(self.queues[queue].pop(0))
                message: Message = BY_WIRE[read["wire"]](**read["fields"])
                self._world.tell("takes", message.wire, message.arn)
                return message
            assert self._world.task is not None
            self._waiting[queue].append(self._world.task)
            self._world.pause(5.0)


class Disk:
    """``shared.storage.artifacts.Artifacts``: what is kept, by ARN, and by which attempt."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.kept: dict[str, int] = {}

    def discard_artifact(self, arn: str) -> None:
        self._world.step("discard", arn)
        self.kept.pop(arn, None)

    def discard_workspace(self, arn: str) -> None:
        self._world.step("discard workspace", arn)

    def create_workspace(self, arn: str) -> Path:
        return Path("/nowhere")


@dataclass(eq=False)
class Child:
    """``shared.jobs.subprocess_pool.JobProcess``: a job's process, which outlives a stopped worker only."""

    world: World
    faults: Faults
    disk: Disk
    server: Server
    worker: SimProcess
    says: list[tuple[float, Mapping[str, Any] | None]] = field(default_factory=list)
    arn: str = ""
    attempt: int = 0
    alive: bool = True
    at_work: bool = False
    told: Task | None = None
    lost_since: float | None = None

    def submit(self, job: str, arn: str, attempt: int) -> None:
        """Draw how the job will go."""
        chance = self.world.chance
        self.world.step("order", job, arn, attempt)
        self.arn, self.attempt, self.at_work, self.lost_since = arn, attempt, True, None
        at = self.world.now + chance.choice((0.05, 0.3, 1.5))
        curve: list[tuple[int, float, float]] = []
        for epoch in range(1, chance.randrange(4)):
            curve.append((epoch, chance.random(), float(epoch)))
            progress = {"phase": "working", "epoch": epoch}
            if job == RunTrial.wire:
                progress |= {"gain": curve[-1][1], "curve": list(curve), "seconds": float(epoch)}
            self.says.append((at, {"progress": progress}))
            until = at + chance.choices((0.2, 1.0, 4.0, 12.0, 40.0), (8, 8, 8, 6, 2))[0]
            while until - at > SIGN_EVERY:
                at += SIGN_EVERY
                self.says.append((at, {"alive": True}))
            at = until
        if chance.random() < self.faults.hung:
            self.world.tell("WILL HANG", arn)
        elif chance.random() < self.faults.child:
            self.says.append((at, None))
        elif chance.random() < 0.12:
            self.says.append((at, {"failed": f"It can't be done: {arn} of attempt {attempt}"}))
        elif job == DeleteUsers.wire and chance.random() < POSTPONED:
            self.says.append((at, {"postponed": True}))
        else:
            self.says.append((at, {"finished": self._outcome(job)}))
            self.world.at(at, lambda: self._keep(arn, attempt))

    def _outcome(self, job: str) -> Mapping[str, Any]:
        outcome = {"metrics": {}, "baseline": {}, "seconds": 2.0, "epochs": 3, "rows": 7, "by attempt": self.attempt}
        if job != RunTrial.wire:
            return outcome
        found = dict.fromkeys(METRICS, self.world.chance.random())
        return {**outcome, "metrics": found, "errors": dict.fromkeys(METRICS, 0.01)}

    def _keep(self, arn: str, attempt: int) -> None:
        """The folder is renamed into its place, and that is said."""
        if self.alive and self.at_work and (self.arn, self.attempt) == (arn, attempt):
            self.disk.kept[arn] = attempt

    def receive(self, seconds: float) -> Mapping[str, Any] | None:
        self.world.step("hear", self.arn)
        if not self.alive:
            return None
        if not self.says or self.says[0][0] > self.world.now:
            # A worker asks ten times a second. Nobody can tell it from one that asks once, and hears as soon.
            ahead = self.says[0][0] - self.world.now if self.says else 1.0
            self.world.pause(min(max(seconds, 0.9), ahead))
        if not self.says or self.says[0][0] > self.world.now:
            raise threads.Empty
        _, said = self.says.pop(0)
        if said is None:
            self.alive = False
        elif not {"progress", "alive"} & said.keys():
            self.at_work = False
        self.world.tell("hears", self.arn, said)
        return said

    def cancel(self) -> None:
        """It may be about to end, or not listen."""
        self.world.step("ask to stop", self.arn)
        chance = self.world.chance
        if self.says and chance.random() < 0.8:
            del self.says[:]
            self.says.append((self.world.now + chance.choice((0.1, 1.0)), {"stopped": True}))
        elif chance.random() < 0.5:
            del self.says[:]

    def kill(self) -> None:
        self.world.step("kill child", self.arn)
        self.alive = self.at_work = False

    def wait_or_kill(self, patience: float = 0.0) -> int:
        self.world.step("end child", self.arn)
        killed = self.alive
        self.alive = self.at_work = False
        return -9 if killed else 1

    def check(self) -> None:
        """Nobody goes on with what is not theirs any more, but for as long as it takes to notice."""
        held = self.server.twin.get_lease(self.arn)
        mine = held is not None and held.attempt == self.attempt
        unaware = max(self.worker.stopped_until, self.faults.redis_back) > self.world.now - 1
        if mine or unaware or not (self.alive and self.at_work):
            self.lost_since = None
        elif self.lost_since is None:
            self.lost_since = self.world.now
        elif self.world.now - self.lost_since > NOTICED:
            self.world.breaks(f"attempt {self.attempt} is still at {self.arn}, which is its worker's no more")


class Children:
    """``shared.jobs.subprocess_pool.JobProcessPool`` of all workers."""

    def __init__(self, world: World, faults: Faults, disk: Disk, server: Server) -> None:
        self._world, self._faults, self._disk, self._server = world, faults, disk, server
        self.all: list[Child] = []

    def acquire(self, _module: str) -> Child:
        self._world.step("take child")
        assert self._world.task is not None
        worker = self._world.task.process
        child = Child(self._world, self._faults, self._disk, self._server, worker)
        self.all.append(child)

        def leashed() -> None:
            child.alive = child.at_work = False

        worker.at_death.append(leashed)
        return child

    def release(self, child: Child, _seconds: float) -> None:
        child.alive = child.at_work = False

    def workers(self) -> list[SimProcess]:
        """Those whose children are at work."""
        return [child.worker for child in self.all if child.alive and child.at_work]

    def is_work_going_on(self) -> bool:
        """Whether a job is at work that does not hang."""
        return any(child.alive and child.at_work and child.says for child in self.all)

    def check(self) -> None:
        self.all = [child for child in self.all if child.alive]
        for child in self.all:
            child.check()


class ModelLoader:
    """``services.runtime.loader.ModelLoader`` and ``shared.serving.model_cache.ModelCache`` of one runtime."""

    def __init__(self, world: World, disk: Disk) -> None:
        self._world, self._disk = world, disk
        self._held: dict[str, object] = {}

    def get_model(self, version_arn: str) -> object | None:
        return self._held.get(version_arn)

    def keep_only(self, needed: set[str]) -> None:
        self._held = {arn: model for arn, model in self._held.items() if arn in needed}

    def begin_loading(self, version_arn: str) -> Future[Any]:
        return _Loaded(self._world, self, version_arn, self._disk)


class _Loaded(Future[Any]):
    def __init__(self, world: World, loading: ModelLoader, version_arn: str, disk: Disk) -> None:
        super().__init__()
        self._world, self._loading, self._arn, self._disk = world, loading, version_arn, disk
        self.set_result(None)

    def result(self, timeout: float | None = None) -> Any:
        self._world.step("load", self._arn)
        self._world.pause(self._world.chance.choice((0.02, 0.5, 3.0)))
        if self._arn not in self._disk.kept:
            raise NotDeployable(f"The artifact of {self._arn} is missing.")
        self._loading._held[self._arn] = object()
        return None


class WarmUp:
    """``services.runtime.warm_up.WarmUp`` of one runtime: what filters read is at hand after a while."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.activity = ActivityTracker()

    def prepare_endpoint(self, record: Record, _body: Mapping[str, Any], _model: Any) -> None:
        self._world.step("prepare", record.arn)

    def prepare_filter(self, record: Record) -> None:
        self._world.step("prepare", record.arn)
        self._world.pause(self._world.chance.choice((0.02, 0.5, 3.0)))


class Reply:
    """What a client waits for; ``lost`` when whoever was to answer has died."""

    def __init__(self, world: World) -> None:
        self._event = Event(world)
        self.answer: Any = None
        self.lost = False

    def give(self, answer: Any) -> None:
        self.answer = answer
        self._event.set()

    def lose(self) -> None:
        if not self._event.is_set():
            self.lost = True
            self._event.set()

    def wait(self, seconds: float) -> bool:
        return self._event.wait(seconds) and not self.lost


def noun(arn: str) -> str:
    return arns.parse_noun(arn) or ""
