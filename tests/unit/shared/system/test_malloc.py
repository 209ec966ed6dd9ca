"""How glibc gives memory to the threads of a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.heaps import GLIBC

ROOT = Path(__file__).parents[3]
#: Threads that take memory, each while the others have some; prints how many heaps it came from.
TAKES = """
import sys, threading
from shared.system.malloc import limit_arenas
from tests.heaps import heaps

if sys.argv[1] == "one":
    limit_arenas()
taken = threading.Barrier(4)

def take():
    blocks = [bytes(10_000) for _ in range(100)]
    taken.wait(10)

threads = [threading.Thread(target=take) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(heaps())
"""


@pytest.mark.skipif(not GLIBC, reason="it is glibc that gives each thread a heap")
@pytest.mark.parametrize(("told", "expected"), [("one", {1}), ("nothing", {2, 3, 4, 5})])
def test_threads_limit_arenas_once_they_are_told_to(told: str, expected: set[int]) -> None:
    # As if nobody had told glibc from outside.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}

    ran = subprocess.run(
        [sys.executable, "-c", TAKES, told], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert int(ran.stdout) in expected
