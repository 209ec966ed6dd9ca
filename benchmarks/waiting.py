"""Waits of the benchmarks for a process to answer."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    """Return when ``holds`` is true; ``what`` names it in the message. Raises TimeoutError after so many seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} is not ready after {seconds:g} s")
        time.sleep(0.05)


def wait_until_answering(url: str, seconds: float = 120.0) -> None:
    """Return when the service at this URL answers /ping. Raises TimeoutError after so many seconds."""
    wait_until(lambda: answers_ping(url), url, seconds)


def answers_ping(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/ping", timeout=2.0):
            return True
    except OSError:
        return False
