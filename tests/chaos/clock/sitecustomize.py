"""On the path of every process of a system under chaos: gives those that CHAOS_SKEW names a wrong clock.

``CHAOS_SKEW=workers.importing.app=600``: a process with that in its command line, and all that it starts, is 600 s
ahead.
"""

import os
import sys
import time
from pathlib import Path


def _skew() -> float:
    part, _, seconds = os.environ.get("CHAOS_SKEW", "").partition("=")
    if not part:
        return 0.0
    command = Path(f"/proc/{os.getpid()}/cmdline").read_bytes().decode(errors="replace")
    if part in command:
        os.environ["CHAOS_SKEW"] = f"={seconds}"  # its children's clock is the same one
        return float(seconds)
    return 0.0


def _skewed(seconds: float) -> None:
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + seconds
    time.time_ns = lambda: real_ns() + int(seconds * 1e9)


_inherited = os.environ.get("CHAOS_SKEW", "")
_seconds = float(_inherited[1:]) if _inherited.startswith("=") else _skew()
if _seconds and sys.platform == "linux":
    _skewed(_seconds)
