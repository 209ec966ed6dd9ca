"""A process is deaf that leaves messages lying while it does nothing."""

from __future__ import annotations

from shared.jobs.stall_watchdog import STALL_SECONDS, ConsumerWatchdog


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_messages_that_wait_for_long_while_nothing_is_done_tell() -> None:
    clock = Clock()
    hearing = ConsumerWatchdog(clock)
    assert not hearing.is_stalled(3)
    clock.now = STALL_SECONDS - 0.1
    assert not hearing.is_stalled(1)
    clock.now = STALL_SECONDS
    assert hearing.is_stalled(1)


def test_who_has_taken_one_up_meanwhile_hears() -> None:
    clock = Clock()
    hearing = ConsumerWatchdog(clock)
    hearing.is_stalled(3)
    clock.now = STALL_SECONDS / 2
    with hearing:
        assert not hearing.is_stalled(3)
    clock.now = STALL_SECONDS
    assert not hearing.is_stalled(3)


def test_who_is_at_work_may_leave_others_waiting() -> None:
    clock = Clock()
    hearing = ConsumerWatchdog(clock)
    with hearing:
        hearing.is_stalled(3)
        clock.now = 10 * STALL_SECONDS
        assert not hearing.is_stalled(3)


def test_an_empty_queue_says_nothing() -> None:
    clock = Clock()
    hearing = ConsumerWatchdog(clock)
    hearing.is_stalled(3)
    hearing.is_stalled(0)
    clock.now = STALL_SECONDS
    assert not hearing.is_stalled(3)
