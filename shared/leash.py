"""Becomes a command that Linux kills when its parent dies: no orphan outlives who has started it.

What a worker starts listens for its parent's end as well, but can't while it imports torch or compiles. Run as a script
rather than as a ``preexec_fn``, which is not safe in a process that has threads. Elsewhere than on Linux it only
becomes the command: there, what a killed supervisor leaves behind must be ended by hand.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def leashed(*command: str) -> list[str]:
    """The command line of ``command`` on the leash of this process; of this thread, to Linux, which must live on."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def leashed_module(module: str, *arguments: str) -> list[str]:
    """The same of our own ``module``. -P: the folder of who started us is no place to find modules in; it may have a
    package ``shared`` of its own.
    """
    return leashed(sys.executable, "-P", "-m", module, *arguments)


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the kernel knew
            sys.exit(f"{command[0]}: its parent is gone")
    os.execvp(command[0], command)  # noqa: S606 - replaces this process; there is no shell


if __name__ == "__main__":
    main()
