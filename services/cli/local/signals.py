"""SIGINT, SIGTERM and SIGHUP, as an event to wait on or as an exception to fall through."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """The process was asked to end."""


@contextmanager
def note_signals(stopping: threading.Event) -> Iterator[None]:
    """While the block runs, a signal sets ``stopping`` and does nothing else."""

    def note(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    with _install_handler(note):
        yield


@contextmanager
def raise_on_signal(stopping: threading.Event) -> Iterator[None]:
    """While the block runs, the first signal sets ``stopping`` and ends the block with Interrupted."""

    def raise_once(_number: int, _frame: FrameType | None) -> None:
        if not stopping.is_set():
            stopping.set()
            raise Interrupted

    with _install_handler(raise_once):
        if stopping.is_set():
            raise Interrupted
        yield


@contextmanager
def _install_handler(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    # A process started with nohup ignores SIGHUP, and should go on doing so.
    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, was in before.items():
            signal.signal(number, was)
