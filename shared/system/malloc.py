"""Limits the memory arenas of glibc's malloc."""

from __future__ import annotations

import ctypes
from contextlib import suppress

#: Of <malloc.h>.
M_ARENA_MAX = -8


def limit_arenas() -> None:
    """Let threads that begin after this share one malloc arena. Does nothing without glibc.

    glibc gives each thread an arena of its own, up to eight per core, so that threads need not wait for each other.
    Here they wait for the interpreter anyway, and memory that one thread allocated and another freed is of use to
    neither arena.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
