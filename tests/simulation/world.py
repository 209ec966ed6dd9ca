"""A world of simulated processes: one thread of control, one clock, and chance that a seed decides.

Every thread of every process is a greenlet. Whoever touches an edge (the store, the queue, the clock, a child process)
takes a *step*: there the scheduler may hand control to any other, time passes, and the process may die. Nothing else
can happen between two steps, so that a run is decided by its seed alone.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import greenlet

#: When a simulation begins: any time will do, in epoch seconds.
EPOCH = 1_700_000_000.0
#: What a step takes (seconds).
STEP_SECONDS = 0.0005
#: How often a step hands control to somebody else.
SWITCHING = 0.3


class Killed(BaseException):
    """The process died here. No finally and no handler of its own has an effect any more: its edges raise this too."""


class Broken(BaseException):
    """An invariant does not hold. Not an Exception: nobody under test may take it for a fault of the network."""


@dataclass(eq=False, slots=True)
class SimProcess:
    """A process that may die, be stopped for a while, and have a wrong clock. ``skew`` is in seconds."""

    name: str
    skew: float = 0.0
    dead: bool = False
    stopped_until: float = 0.0
    dies_in: int | None = None
    """Steps until it is killed."""
    born: float = 0.0
    tasks: dict[Task, None] = field(default_factory=dict)
    """Those that have not ended, in the order in which they began."""
    at_death: list[Callable[[], None]] = field(default_factory=list)
    handle: Any = None
    """What its code knows it by: a ``shared.jobs.worker_process.WorkerProcess``."""


@dataclass(eq=False, slots=True)
class Task:
    """A thread of a process. It has a greenlet from its first step on."""

    process: SimProcess
    name: str
    body: Callable[[], object]
    greenlet: Any = None
    over: bool = False
    waiting: int = 0
    """Which pause it is in; 0: none."""
    call: str = ""
    """Of a client, which it answers."""


class World:
    """``trace`` holds (seconds since the beginning, process, what it did) of every step and fault."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now = EPOCH
        self.task: Task | None = None
        self.trace: list[tuple[Any, ...]] = []
        self.broken: list[str] = []
        self.all: list[SimProcess] = []
        self._hub = greenlet.getcurrent()
        #: Greenlets without a task. A new one costs as much as several steps, since Python maps memory for its frames.
        self._idle: list[Any] = []
        self._ready: list[Task] = []
        self._later: list[tuple[float, int, Task | Callable[[], None]]] = []
        self._count = 0
        self._doomed: list[SimProcess] = []
        self._draw = self.chance.random
        self._draw_bits = self.chance.getrandbits
        self._to_scheduler = self._hub.switch
        self._until = EPOCH

    # What is said of a run

    def tell(self, *what: object) -> None:
        self.trace.append((self.now, self.task.process.name if self.task else "world", *what))

    def breaks(self, what: str) -> None:
        """An invariant does not hold: the run ends."""
        self.tell("BROKEN", what)
        self.broken.append(what)
        if self.task is not None:
            raise Broken(what)

    # Who runs

    def process(self, name: str, skew: float = 0.0) -> SimProcess:
        born = SimProcess(name, skew=skew, born=self.now)
        self.all.append(born)
        return born

    def spawn(self, process: SimProcess, name: str, body: Callable[[], object]) -> Task:
        task = Task(process, name, body)
        process.tasks[task] = None
        self._ready.append(task)
        return task

    def _run_tasks(self) -> None:
        """Run one task after the other: the body of each greenlet."""
        while True:
            task = self.task
            assert task is not None
            try:
                task.body()
            except (Killed, Broken):
                pass
            except Exception as error:
                self._lost(task, error)
            task.over = True
            task.process.tasks.pop(task, None)
            self._idle.append(task.greenlet)
            self._to_scheduler()

    def _lost(self, task: Task, error: Exception) -> None:
        """A thread that ends with an exception does not begin again by itself."""
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        line = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where else ""
        self.broken.append(f"the thread {task.name} of {task.process.name} ended with {error!r} at {line}")
        self.tell("BROKEN", self.broken[-1])

    def at(self, when: float, what: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._later, (when, self._count, what))

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        self.at(self.now + seconds, what)

    # What a thread calls

    def step(self, *what: object) -> None:
        """Before each effect. Raises Killed."""
        task = self.task
        if task is None:
            return  # Who checks the world is no part of it.
        process = task.process
        if process.dead:
            raise Killed
        self.now += STEP_SECONDS
        self.trace.append((self.now, process.name, *what))
        if process.dies_in is not None:
            process.dies_in -= 1
            if process.dies_in < 0:
                self._doomed.append(process)
                self._switch(process)
        if self._draw() < SWITCHING:
            self._ready.append(task)
            self._switch(process)

    def pause(self, seconds: float) -> None:
        """Let time pass. Raises Killed."""
        task = self.task
        assert task is not None
        if task.process.dead:
            raise Killed
        self._sleep(task, self.now + seconds if seconds > 0.0 else self.now)
        self._switch(task.process)

    def _sleep(self, task: Task, until: float) -> None:
        self._count += 1
        task.waiting = self._count
        heapq.heappush(self._later, (until, self._count, task))

    def wake(self, task: Task) -> None:
        """End a pause early."""
        if task.waiting and not task.over:
            task.waiting = 0
            self._ready.append(task)

    def die(self, why: str) -> None:
        """The process ends itself, at once. Raises Killed."""
        assert self.task is not None
        self.tell("ENDS", why)
        process = self.task.process
        self._doomed.append(process)
        self._switch(process)

    def _switch(self, process: SimProcess) -> None:
        """Let another thread go on until it is this one's turn, a thread of ``process``. Raises Killed."""
        task = self._choose_next()
        if task is None:
            self._to_scheduler()
        elif task is not self.task:
            self._resume(task)
        if process.dead:
            raise Killed

    # The scheduler

    def run(self, seconds: float) -> None:
        """Run until so many seconds after the beginning, or until an invariant breaks, ``end_run`` is called or nothing
        is left to happen.
        """
        self._until = EPOCH + seconds
        while True:
            if (task := self._choose_next()) is not None:
                try:
                    self._resume(task)
                finally:
                    self.task = None
            while self._doomed:
                self.kill(self._doomed.pop(), "killed between two steps")
            if self.broken or self.now > self._until:
                return
            if task is None:
                if not self._later:
                    return
                if self._later[0][0] <= self.now:
                    _, _, what = heapq.heappop(self._later)
                    assert not isinstance(what, Task)
                    what()

    def _resume(self, task: Task) -> None:
        if task.greenlet is None:
            task.greenlet = self._idle.pop() if self._idle else greenlet.greenlet(self._run_tasks, self._hub)
            task.greenlet.gr_context = None
        self.task = task
        task.greenlet.switch()

    def end_run(self) -> None:
        """Have ``run`` return before its time is over."""
        self._until = -math.inf

    def _choose_next(self) -> Task | None:
        """Choose the thread that goes on. None: first something must be done that only ``run`` does."""
        if self._doomed or self.broken:
            return None
        later, ready = self._later, self._ready
        while self.now <= self._until:
            while later and later[0][0] <= self.now:
                _, number, task = later[0]
                if not isinstance(task, Task):
                    return None
                heapq.heappop(later)
                if task.waiting == number:
                    self.wake(task)
            if ready:
                # As ``chance.randrange`` draws, without its checks: a life needs more than a thousand of these.
                count = len(ready)
                bits = count.bit_length()
                while (drawn := self._draw_bits(bits)) >= count:
                    pass
                task = ready.pop(drawn)
                process = task.process
                if process.stopped_until > self.now:
                    self._sleep(task, process.stopped_until)
                elif not task.over:
                    return task
            elif later:
                self.now = later[0][0]
            else:
                return None
        return None

    def kill(self, process: SimProcess, why: str) -> None:
        """As kill -9 does: at once, and nothing of it has a last word."""
        if process.dead:
            return
        self.trace.append((self.now, process.name, "DIES", why))
        process.dead = True
        for task in list(process.tasks):
            task.over = True
            if task.greenlet is not None:
                self.task = task
                task.greenlet.throw(Killed)
                self.task = None
        process.tasks.clear()
        self.all.remove(process)
        for what in process.at_death:
            what()

    def end(self) -> None:
        """Let go of every greenlet."""
        for process in list(self.all):
            process.at_death.clear()
            self.kill(process, "the end")
        for one in self._idle:
            one.throw(greenlet.GreenletExit)
        self._idle.clear()
