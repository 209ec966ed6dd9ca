"""How glibc gives memory to the threads of a process."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

#: Threads that take memory, each while the others have some; prints how many heaps it came from.
TAKES = """
import ctypes, sys, threading
from shared.heap import share_one_heap

if sys.argv[1] == "one":
    share_one_heap()
taken = threading.Barrier(4)

def take():
    blocks = [bytes(10_000) for _ in range(100)]
    taken.wait(10)

threads = [threading.Thread(target=take) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]

libc = ctypes.CDLL(None)
libc.open_memstream.restype = ctypes.c_void_p
text, size = ctypes.c_char_p(), ctypes.c_size_t()
stream = ctypes.c_void_p(libc.open_memstream(ctypes.byref(text), ctypes.byref(size)))
libc.malloc_info(0, stream)
libc.fclose(stream)
print(text.value.count(b"<heap "))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that gives each thread a heap")
@pytest.mark.parametrize(("told", "expected"), [("one", {1}), ("nothing", {2, 3, 4, 5})])
def test_threads_share_one_heap_once_they_are_told_to(told: str, expected: set[int]) -> None:
    # As if nobody had told glibc from outside.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}

    ran = subprocess.run(
        [sys.executable, "-c", TAKES, told], env=environment, capture_output=True, text=True, check=True
    )

    assert int(ran.stdout) in expected
