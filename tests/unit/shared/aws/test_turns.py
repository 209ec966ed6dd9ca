"""Threads that take turns: in a row where that is faster, side by side where a job waits, and never stuck."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait

import pytest

from shared.aws import turns as module
from shared.aws.turns import Turns, aside

SOON = 5.0


def turns(threads: int, at_once: int) -> Turns:
    made = Turns(threads)
    made.at_once = at_once
    return made


class Together:
    """Counts how many are in it at the same time, at most."""

    def __init__(self) -> None:
        self.most = self.now = 0
        self._lock = threading.Lock()

    def __call__(self) -> int:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.002)
        with self._lock:
            self.now -= 1
        return threading.get_ident()


@pytest.mark.parametrize(("threads", "at_once", "most"), [(8, 1, 1), (8, 3, 3), (2, 2, 2), (2, 5, 2)])
def test_so_many_work_side_by_side(threads: int, at_once: int, most: int) -> None:
    pool, job = turns(threads, at_once), Together()
    done = [pool.submit(job) for _ in range(60)]
    assert len({one.result(SOON) for one in done}) <= most
    assert job.most == most
    pool.shutdown()


def test_jobs_in_a_row_are_done_in_their_order_by_one_thread() -> None:
    pool, order = turns(8, 1), list[int]()
    done = [pool.submit(order.append, number) for number in range(100)]
    wait(done, SOON)
    assert order == list(range(100))
    pool.shutdown()


def test_what_steps_aside_lets_others_work_and_goes_on_at_once() -> None:
    pool, let = turns(8, 1), threading.Event()

    def waiting() -> str:
        with aside():
            assert let.wait(SOON)
        return "waited"

    first = [pool.submit(waiting) for _ in range(3)]
    assert [pool.submit(Together()).result(SOON) for _ in range(5)]
    assert not any(one.done() for one in first)
    let.set()
    assert [one.result(SOON) for one in first] == ["waited"] * 3
    job = Together()
    wait([pool.submit(job) for _ in range(20)], SOON)
    assert job.most == 1
    pool.shutdown()


def test_as_many_as_there_are_threads_can_step_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, let = turns(2, 1), threading.Event()

    def waiting() -> None:
        with aside():
            assert let.wait(SOON)

    stuck = [pool.submit(waiting) for _ in range(2)]
    late = pool.submit(lambda: "late")
    time.sleep(0.05)
    assert not late.done()
    let.set()
    assert late.result(SOON) == "late"
    wait(stuck, SOON)
    pool.shutdown()


def test_a_job_that_waits_without_saying_so_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONG", 0.05)
    pool, let = turns(8, 1), threading.Event()
    stuck = pool.submit(lambda: let.wait(SOON))
    next_ = pool.submit(lambda: "next")
    time.sleep(0.1)
    assert not next_.done()
    pool.look_after()
    assert next_.result(SOON) == "next"
    let.set()
    assert stuck.result(SOON)
    pool.shutdown()


def test_a_job_that_breaks_breaks_alone() -> None:
    pool = turns(2, 1)

    def breaks() -> None:
        with aside():
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        pool.submit(breaks).result(SOON)
    assert pool.submit(lambda: 7).result(SOON) == 7
    pool.shutdown()


def test_what_was_submitted_is_done_when_it_is_shut_down_and_its_threads_end() -> None:
    pool = turns(2, 1)
    before = set(threading.enumerate())
    done: list[Future[int]] = [pool.submit(Together()) for _ in range(10)]
    pool.shutdown(wait=False)
    with pytest.raises(RuntimeError):
        pool.submit(Together())
    assert wait(done, SOON).not_done == set()
    ends = time.monotonic() + SOON
    while (left := [one for one in set(threading.enumerate()) - before if one.name.startswith("request")]) and (
        time.monotonic() < ends
    ):
        time.sleep(0.01)
    assert left == []


def test_elsewhere_there_is_nobody_to_step_aside_for() -> None:
    with aside():
        assert True


@pytest.mark.parametrize("at_once", [1, 3, 8])
def test_nothing_is_forgotten_when_many_submit_and_many_step_aside(at_once: int) -> None:
    pool = turns(8, at_once)

    def short() -> int:
        return 1

    def long() -> int:
        with aside():
            time.sleep(0.0005)
        return 1

    def submit(job: Callable[[], int], found: list[Future[int]]) -> None:
        found += [pool.submit(job) for _ in range(300)]

    found: list[Future[int]] = []
    submitting = [threading.Thread(target=submit, args=(job, found)) for job in (short, long) * 3]
    for one in submitting:
        one.start()
    for one in submitting:
        one.join()
    assert sum(one.result(SOON) for one in found) == 1800
    pool.shutdown()
