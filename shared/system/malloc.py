"""How glibc gives memory to the threads of this process."""

from __future__ import annotations

import ctypes
from contextlib import suppress

#: Of <malloc.h>.
M_ARENA_MAX = -8


def share_one_heap() -> None:
    """Threads that begin after this take their memory from one heap; without glibc, nothing is done.

    glibc gives each thread a heap of its own, up to eight for a core, so that they need not wait for each other. Here
    they do anyway, for the interpreter; and what one thread put into its heap and another freed serves neither.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
