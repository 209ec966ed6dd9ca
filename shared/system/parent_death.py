"""Runs a command that Linux kills when its parent dies (PR_SET_PDEATHSIG), so that no orphan outlives its parent.

The children of a worker watch for its end as well, but cannot while they import torch or compile. Runs as a script
because a ``preexec_fn`` is not safe in a process that has threads. On other systems than Linux the script only becomes
the command: the orphans of a killed supervisor must be ended by hand there.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Mapping

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def with_parent_death_signal(*command: str) -> list[str]:
    """Return the command line that runs ``command`` until the calling thread dies: the thread is Linux's parent."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def module_with_parent_death_signal(module: str, *arguments: str) -> list[str]:
    """Return the same for one of our own modules, to be run in the environment of ``with_our_packages``.

    -P keeps the current folder off the module path: it may have a package ``shared`` of its own.
    """
    return with_parent_death_signal(sys.executable, "-P", "-m", module, *arguments)


def with_our_packages(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which a process imports our packages from where this one does, installed or not."""
    home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    # An empty entry means the current folder. site-packages must not come before the standard library.
    found = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    installed = os.path.basename(home) in ("site-packages", "dist-packages")
    return {**environment, "PYTHONPATH": os.pathsep.join(found if installed else [*found, home])}


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died before the kernel was asked
            sys.exit(f"{command[0]}: its parent is gone")
    os.execvp(command[0], command)  # noqa: S606 - replaces this process; there is no shell


if __name__ == "__main__":
    main()
