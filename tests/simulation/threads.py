"""``threading`` and ``time`` of a simulated process: waits pass its world's time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.simulation.world import Task, World


class Event:
    """``threading.Event`` of a simulated process."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._set = False
        self._waiting: list[Task] = []

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        for task in self._waiting:
            self._world.wake(task)
        self._waiting.clear()

    def wait(self, timeout: float | None = None) -> bool:
        if not self._set:
            task = self._world.task
            assert task is not None
            self._waiting.append(task)
            self._world.pause(1e6 if timeout is None else timeout)
            if task in self._waiting:
                self._waiting.remove(task)
        return self._set


class Threads:
    """``threading`` of a simulated process."""

    def __init__(self, world: World) -> None:
        self._world = world

    def Event(self) -> Event:  # noqa: N802 - threading's name
        return Event(self._world)

    def Thread(  # noqa: N802 - threading's name
        self, *, target: Callable[..., object], args: tuple[Any, ...] = (), name: str = "", daemon: bool = False
    ) -> Thread:
        return Thread(self._world, target, args, name)

    def Timer(self, interval: float, function: Callable[[], object]) -> Timer:  # noqa: N802 - threading's name
        return Timer(self._world, interval, function)


class Timer:
    """Costs no step while it waits."""

    def __init__(self, world: World, seconds: float, what: Callable[[], object]) -> None:
        self._world, self._seconds, self._what = world, seconds, what
        self._cancelled = False

    def start(self) -> None:
        assert self._world.task is not None
        process = self._world.task.process

        def ring() -> None:
            if not (self._cancelled or process.dead):
                self._world.spawn(process, "timer", lambda: None if self._cancelled else self._what())

        self._world.after(self._seconds, ring)

    def cancel(self) -> None:
        self._cancelled = True


class Thread:
    def __init__(self, world: World, target: Callable[..., object], args: tuple[Any, ...], name: str) -> None:
        self._world, self._target, self._args, self._name = world, target, args, name
        self._over = Event(world)
        self._begun = False

    def start(self) -> None:
        assert self._world.task is not None
        self._begun = True

        def run() -> None:
            try:
                self._target(*self._args)
            finally:
                self._over.set()

        self._world.spawn(self._world.task.process, self._name, run)

    def join(self) -> None:
        self._over.wait()

    def is_alive(self) -> bool:
        return self._begun and not self._over.is_set()


class Time:
    """``time`` of the process that asks: its clock may be wrong, and is monotonic all the same."""

    def __init__(self, world: World) -> None:
        self._world = world

    def time(self) -> float:
        task = self._world.task
        return self._world.now + (task.process.skew if task else 0.0)

    def time_ns(self) -> int:
        return int(self.time() * 1e9)

    def monotonic(self) -> float:
        return self._world.now - (self._world.task.process.born - 1000 if self._world.task else 0.0)

    def perf_counter(self) -> float:
        return self.monotonic()

    def sleep(self, seconds: float) -> None:
        self._world.pause(seconds)
