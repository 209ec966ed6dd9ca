"""Becomes a command that Linux kills when its parent dies: no orphan outlives the supervisor.

Run as a script, ``python -I -S leash.py <pid of the parent> <command> ...``, rather than as a
``preexec_fn``, which is not safe in a process that has threads. Elsewhere than on Linux it only becomes the
command: there, what a killed supervisor leaves behind must be ended by hand.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the kernel knew
            sys.exit(f"{command[0]}: its supervisor is gone")
    os.execvp(command[0], command)  # noqa: S606 - replaces this process; there is no shell


if __name__ == "__main__":
    main()
