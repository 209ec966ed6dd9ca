"""A walk goes on past what fails, and comes back to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis.exceptions
from kombu.exceptions import OperationalError
from prometheus_client import REGISTRY

from shared.store import quarantine, redis_errors
from shared.store.quarantine import Quarantine
from tests.strict import STRICT


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(quarantine, "time", clock)
    return clock


class Walk:
    """Of three entries, one of which is broken until it is mended."""

    def __init__(self) -> None:
        self.aside = Quarantine("of a test", longest_pause=8.0)
        self.broken: BaseException | None = KeyError("kind")
        self.tried = 0

    def __call__(self) -> list[str]:
        return list(self._found())

    def _found(self) -> Iterator[str]:
        for name in "abc":
            found = self.aside.run_unless_quarantined(name, lambda name=name: self._look(name))  # type: ignore[misc]
            if found is not None:
                yield found

    def _look(self, name: str) -> str:
        if name == "b":
            self.tried += 1
            if self.broken is not None:
                raise self.broken
        return name


def counted() -> float:
    return REGISTRY.get_sample_value("foretaste_set_aside_total", {"walk": "of a test"}) or 0.0


def test_an_entry_that_fails_is_counted_and_left_alone_for_a_while_that_grows(clock: Clock) -> None:
    walk, before = Walk(), counted()
    tries = []
    for _ in range(60):
        assert walk() == ["a", "c"]
        tries.append(walk.tried)
        clock.now += 0.5
    grown = [at * 0.5 for at in range(1, 60) if tries[at] > tries[at - 1]]
    assert grown == [1.0, 3.0, 7.0, 15.0, 23.0]
    assert counted() - before == walk.tried
    walk.broken = None
    clock.now += 8.0
    assert walk() == ["a", "b", "c"]


@pytest.mark.parametrize(
    "error",
    [
        redis.exceptions.ConnectionError("away"),
        redis.exceptions.TimeoutError("slow"),
        OperationalError("away"),
        redis.exceptions.OutOfMemoryError("command not allowed"),
        redis.exceptions.ResponseError("MISCONF Errors writing to the AOF file"),
        redis.exceptions.ResponseError("OOM command not allowed when used memory > 'maxmemory'. script: x"),
        redis.exceptions.ReadOnlyError("You can't write against a read only replica."),
        redis.exceptions.AuthenticationError("NOAUTH Authentication required."),
        redis.exceptions.BusyLoadingError("Redis is loading"),
    ],
)
def test_what_is_redis_state_ends_the_round_and_sets_nothing_aside(clock: Clock, error: Exception) -> None:
    walk, before = Walk(), counted()
    walk.broken = error
    with pytest.raises(type(error)):
        walk()
    assert counted() == before
    walk.broken = None
    assert walk() == ["a", "b", "c"]


def test_a_key_of_another_type_is_an_entry_of_its_own_fault(clock: Clock) -> None:
    walk = Walk()
    walk.broken = redis.exceptions.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")
    assert redis_errors.get_refusal_code(walk.broken) is None
    assert walk() == ["a", "c"]


def test_a_walk_of_the_tests_ends_with_the_error_of_its_entry() -> None:
    """Without this, the tests that walk with it would pass although an entry was set aside."""

    def fail() -> None:
        raise KeyError("kind")

    with pytest.raises(KeyError):
        STRICT.run_unless_quarantined("one", fail)
