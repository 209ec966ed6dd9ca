"""One thread leads at a time, another one takes over when it waits, and none gets stuck."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

import pytest

from shared.http import leader_followers as module
from shared.http.leader_followers import LeaderFollowers, step_aside

SOON = 5.0


@pytest.fixture
def group() -> Iterator[LeaderFollowers]:
    made = LeaderFollowers(4, 2, lambda: True)
    yield made
    made.close()


def request_threads() -> set[threading.Thread]:
    return {one for one in threading.enumerate() if one.name.startswith("request")}


def work(group: LeaderFollowers, job: Callable[[], object]) -> bool:
    """Run a request as the worker does. Returns whether the thread still leads."""
    group.begin_request()
    job()
    return group.end_request()


def test_a_round_is_over_when_its_lead_is_and_one_thread_does_them_all(group: LeaderFollowers) -> None:
    done: list[int] = []
    for number in range(100):
        group.run_as_leader(lambda number=number: done.append((number, threading.get_ident())), 1.0)
        assert done[-1][0] == number
    assert len({thread for _, thread in done}) == 1
    assert done[0][1] != threading.get_ident()


def test_run_as_leader_raises_the_error_of_its_round_and_the_thread_goes_on(group: LeaderFollowers) -> None:
    def breaks() -> None:
        raise ValueError("broken")

    before = request_threads()
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"):
            group.run_as_leader(breaks, 1.0)
    assert len(request_threads() - before) == 1


def test_a_thread_that_steps_aside_no_longer_leads_and_goes_on_with_its_request(group: LeaderFollowers) -> None:
    let, had = threading.Event(), deque[bool]()

    def waits() -> None:
        with step_aside():
            assert let.wait(SOON)

    group.run_as_leader(lambda: had.append(work(group, waits)), SOON)
    group.run_as_leader(lambda: had.append(work(group, lambda: None)), SOON)
    assert list(had) == [True]
    let.set()
    until = time.monotonic() + SOON
    while len(had) < 2 and time.monotonic() < until:
        time.sleep(0.001)
    assert list(had) == [True, False]


def test_no_more_requests_compute_at_once_than_there_are_cores(group: LeaderFollowers) -> None:
    """Four threads, two cores: a third request begins when one of two is done, and its thread goes on with it."""
    let, began, ended = [threading.Event() for _ in range(3)], deque[int](), deque[bool]()

    def computes(number: int) -> None:
        began.append(threading.get_ident())
        with step_aside(computing=True):
            assert let[number].wait(SOON)

    def give(number: int, seconds: float) -> None:
        group.run_as_leader(lambda: ended.append(work(group, lambda: computes(number))), seconds)

    give(0, SOON)
    give(1, SOON)
    give(2, module.LONG_REQUEST_SECONDS / 2)
    assert len(began) == 2
    threading.Timer(module.LONG_REQUEST_SECONDS / 4, let[0].set).start()
    give(2, SOON)
    assert len(began) == 3
    assert began[2] == began[0]
    for each in let:
        each.set()
    until = time.monotonic() + SOON
    while len(ended) < 3 and time.monotonic() < until:
        time.sleep(0.001)
    assert list(ended) == [False] * 3


def test_who_computes_while_nobody_waits_keeps_the_turn() -> None:
    waiting = [False, True]
    group = LeaderFollowers(4, 2, waiting.pop)
    had = deque[bool]()

    def computes() -> None:
        with step_aside(computing=True):
            pass

    try:
        for _ in range(2):
            group.run_as_leader(lambda: had.append(work(group, computes)), SOON)
        until = time.monotonic() + SOON
        while len(had) < 2 and time.monotonic() < until:
            time.sleep(0.001)
        assert sorted(had) == [False, True]
        assert not waiting
    finally:
        group.close()


def test_requests_that_wait_are_not_counted_as_computing(group: LeaderFollowers) -> None:
    let, began = threading.Event(), deque[int]()

    def waits(number: int) -> None:
        began.append(number)
        with step_aside():
            assert let.wait(SOON)

    for number in range(4):
        group.run_as_leader(lambda number=number: work(group, lambda: waits(number)), SOON)
    let.set()
    assert list(began) == [0, 1, 2, 3]


def test_who_seems_to_compute_for_long_waits_for_a_client_and_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, group: LeaderFollowers
) -> None:
    monkeypatch.setattr(module, "LONG_REQUEST_SECONDS", 0.02)
    let, done = threading.Event(), deque[str]()

    def hangs() -> None:
        with step_aside(computing=True):
            assert let.wait(SOON)

    for _ in range(2):
        group.run_as_leader(lambda: work(group, hangs), SOON)
    for number in range(10):
        group.run_as_leader(lambda number=number: done.append(f"{number} {work(group, lambda: None)}"), SOON)
    let.set()
    assert list(done) == [f"{number} True" for number in range(10)]


def test_a_request_that_waits_without_saying_so_loses_its_turn(
    monkeypatch: pytest.MonkeyPatch, group: LeaderFollowers
) -> None:
    monkeypatch.setattr(module, "LONG_REQUEST_SECONDS", 0.02)
    let, had = threading.Event(), deque[bool]()
    group.run_as_leader(lambda: had.append(work(group, lambda: let.wait(SOON))), SOON)
    assert not had
    group.run_as_leader(lambda: had.append(work(group, lambda: None)), SOON)
    let.set()
    until = time.monotonic() + SOON
    while len(had) < 2 and time.monotonic() < until:
        time.sleep(0.001)
    assert list(had) == [True, False]


def test_who_waits_for_requests_keeps_the_turn_however_long(
    monkeypatch: pytest.MonkeyPatch, group: LeaderFollowers
) -> None:
    monkeypatch.setattr(module, "LONG_REQUEST_SECONDS", 0.02)
    began = time.monotonic()
    group.run_as_leader(lambda: time.sleep(0.2), SOON)
    assert time.monotonic() - began >= 0.2


def test_where_all_are_still_at_work_nobody_is_waited_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONG_REQUEST_SECONDS", 0.02)
    group, let, done = LeaderFollowers(2, 2, lambda: True), threading.Event(), deque[str]()

    def waits() -> None:
        with step_aside():
            assert let.wait(SOON)
        done.append("waited")

    for _ in range(2):
        group.run_as_leader(waits, SOON)
    began = time.monotonic()
    group.run_as_leader(lambda: done.append("never begun"), 0.05)
    assert 0.05 <= time.monotonic() - began < SOON
    let.set()
    group.run_as_leader(lambda: done.append("next"), SOON)
    until = time.monotonic() + SOON
    while len(done) < 3 and time.monotonic() < until:
        time.sleep(0.001)
    assert sorted(done) == ["next", "waited", "waited"]
    group.close()


def test_one_thread_leads_at_a_time_and_no_request_is_forgotten(group: LeaderFollowers) -> None:
    ready, answered, lock = deque(range(600)), list[int](), threading.Lock()
    at_work: set[int] = set()

    def answer(number: int) -> None:
        assert not at_work, "two threads lead"
        at_work.add(number)
        time.sleep(0)
        at_work.remove(number)
        if number % 3 == 0:
            with step_aside():
                time.sleep(0.001)
        with lock:
            answered.append(number)

    def round_() -> None:
        while ready:
            if not work(group, lambda: answer(ready.popleft())):
                return

    until = time.monotonic() + 4 * SOON
    while len(answered) < 600 and time.monotonic() < until:
        group.run_as_leader(round_, 0.1)
    assert sorted(answered) == list(range(600))


def test_its_threads_end_when_it_is_closed() -> None:
    before = request_threads()
    group = LeaderFollowers(2, 2, lambda: True)
    group.run_as_leader(lambda: None, 1.0)
    assert request_threads() - before
    group.close()
    until = time.monotonic() + SOON
    while request_threads() - before and time.monotonic() < until:
        time.sleep(0.01)
    assert not request_threads() - before


def test_elsewhere_there_is_nobody_to_step_aside_for() -> None:
    with step_aside():
        assert True
