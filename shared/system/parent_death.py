"""Becomes a command that Linux kills when its parent dies: no orphan outlives who has started it.

What a worker starts listens for its parent's end as well, but can't while it imports torch or compiles. Run as a script
rather than as a ``preexec_fn``, which is not safe in a process that has threads. Elsewhere than on Linux it only
becomes the command: there, what a killed supervisor leaves behind must be ended by hand.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Mapping

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def leashed(*command: str) -> list[str]:
    """The command line of ``command`` on the leash of this process; of this thread, to Linux, which must live on."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def leashed_module(module: str, *arguments: str) -> list[str]:
    """The same of our own ``module``, in the environment of ``finding_ours``.

    -P: the folder of who started us is no place to find modules in; it may have a package ``shared`` of its own.
    """
    return leashed(sys.executable, "-P", "-m", module, *arguments)


def finding_ours(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that finds our packages where this one has: they need not be installed."""
    home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    # An empty entry is the folder that a process runs in. What is installed must not come before what is Python's own.
    found = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    installed = os.path.basename(home) in ("site-packages", "dist-packages")
    return {**environment, "PYTHONPATH": os.pathsep.join(found if installed else [*found, home])}


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the kernel knew
            sys.exit(f"{command[0]}: its parent is gone")
    os.execvp(command[0], command)  # noqa: S606 - replaces this process; there is no shell


if __name__ == "__main__":
    main()
