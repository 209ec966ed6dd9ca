"""Times the steps of a training once the first few are over: wall and CPU seconds, targets, peak memory."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

WARM_UP = 5
"""Steps at the start that do not count."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    events: int
    steps: int
    wall: float
    cpu: float
    peak_mib: float
    """Of the process so far."""

    @property
    def a_second(self) -> float:
        return self.events / max(self.wall, 1e-9)

    @property
    def a_cpu_second(self) -> float:
        return self.events / max(self.cpu, 1e-9)


class Steady:
    def __init__(self, seconds: float, warm_up: int = WARM_UP) -> None:
        self._seconds = seconds
        self._warm_up = warm_up
        self._steps = self._events = 0
        self._began = self._ended = (0.0, 0.0)

    def step(self, events: int) -> bool:
        """Tells of one more step; go on?"""
        self._steps += 1
        now = time.perf_counter(), time.process_time()
        if self._steps <= self._warm_up:
            self._began = self._ended = now
            return True
        self._events += events
        self._ended = now
        return now[0] - self._began[0] < self._seconds

    @property
    def speed(self) -> Speed:
        return Speed(
            events=self._events,
            steps=max(self._steps - self._warm_up, 0),
            wall=self._ended[0] - self._began[0],
            cpu=self._ended[1] - self._began[1],
            peak_mib=peak_mib(),
        )


def drained(steps: Iterable[int], seconds: float) -> Speed:
    """The speed at which an endless iterable of numbers of events gives them."""
    steady = Steady(seconds)
    for events in steps:
        if not steady.step(events):
            break
    return steady.speed


def peak_mib() -> float:
    """The most memory that this program has held. Linux's getrusage also knows that of who started it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
