"""Job processes of simulated workers: how each job goes is drawn when it begins."""

from __future__ import annotations

import queue as threads
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.resources.solution.tuning import METRICS
from shared.state.messages import DeleteUsers, RunTrial
from tests.simulation.edges import Disk, Faults, Server
from tests.simulation.world import SimProcess, Task, World

#: A worker knows that its work is another's after so long (seconds): it looks each second, and may not be answered.
NOTICED = 3.5
#: How often a job that goes well shows that it gets on (seconds).
SIGN_EVERY = 8.0
#: How often a deletion of users waits for other work.
POSTPONED = 0.2


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
