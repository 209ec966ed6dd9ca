"""A background thread that dies is response by /healthz, counted, and started again."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY

from shared.observability import threads as background
from shared.observability.health import HealthEndpoints
from shared.observability.threads import BackgroundThreads
from tests.conftest import until


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    monkeypatch.setattr(background, "FIRST_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(background, "LONGEST_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(background, "STEADY_SECONDS", 0.3)
    ending = threading.Event()
    yield ending
    ending.set()


class Walking:
    """Goes on until it is told to die of something, each time it is told."""

    def __init__(self, ending: threading.Event) -> None:
        self._ending = ending
        self.begun = 0
        self.death: BaseException | None = None

    def __call__(self) -> None:
        self.begun += 1
        while not self._ending.wait(0.01):
            if self.death is not None:
                death, self.death = self.death, None
                raise death


def healthz(health: HealthEndpoints) -> int:
    response = health.respond("/healthz")
    assert response is not None
    assert response.status == (200 if all(json.loads(response.body)["checks"].values()) else 503)
    return int(response.status)


def ends() -> float:
    return REGISTRY.get_sample_value("foretaste_thread_ends_total", {"thread": "walking"}) or 0.0


@pytest.mark.parametrize("death", [KeyError("kind"), SystemExit(1), MemoryError()])
def test_one_that_dies_is_said_and_started_again(ending: threading.Event, death: BaseException) -> None:
    threads, walking, before = BackgroundThreads(), Walking(ending), ends()
    health = HealthEndpoints("status", threads=threads)
    threads.start_thread("walking", walking, ending)
    assert healthz(health) == 200
    walking.death = death
    until(lambda: healthz(health) == 503, 5, "the death to be response")
    until(lambda: walking.begun == 2, 5, "another start")
    assert healthz(health) == 503  # until it has shown that it lives
    until(lambda: healthz(health) == 200, 5, "it to be well")
    assert ends() == before + 1


def test_one_that_returns_before_its_time_is_started_again_too(ending: threading.Event) -> None:
    threads, times = BackgroundThreads(), []
    threads.start_thread("walking", lambda: times.append(time.monotonic()), ending)
    until(lambda: len(times) > 2, 5, "three starts")
    assert threads.run_checks() == {"walking": False}
    ending.set()
    assert threads.run_checks() == {"walking": True}  # the process ends, and so does it
