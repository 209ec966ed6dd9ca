"""Which CUDA devices a training gets, where several workers share those of a machine.

Each device has as many slots as trainings may share it; a slot is a file in a folder of the machine, and is taken by a
lock on it. The kernel gives the lock back when the process that holds it dies, however it dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from shared.jobs.entrypoint import WorkFailed
from shared.settings import Settings

RETRY_SECONDS = 0.2


class UnsafeFolder(OSError):
    """The folder of the slots is not this user's alone; the message says what to do."""


@contextlib.contextmanager
def grant_devices(configured: Settings, on_wait: Callable[[], None]) -> Iterator[tuple[int, ...]]:
    """The devices that are one training's by the settings, as ``held``; () on a machine without. Raises WorkFailed."""
    # Whoever trains on one has imported torch by now; for the others it would take seconds.
    torch = sys.modules.get("torch")
    count = torch.cuda.device_count() if torch else 0
    wanted = (configured.training_devices or count) if configured.training_strategy == "ddp" else 1
    if wanted > count > 0:
        raise WorkFailed(f"FORETASTE_TRAINING_DEVICES is {wanted}, and the training worker sees {count} GPUs.")
    with hold_devices(count, configured.training_jobs_per_device, on_wait, wanted=wanted) as devices:
        yield devices


@contextlib.contextmanager
def hold_devices(
    count: int,
    per_device: int,
    on_wait: Callable[[], None],
    *,
    wanted: int = 1,
    folder: Path | None = None,
) -> Iterator[tuple[int, ...]]:
    """The numbers of the ``wanted`` devices, of ``count``, that are this process's for as long as the block takes.

    () where there are none, and nothing is locked. Whoever finds too few free slots waits, holding none; ``on_wait``
    is called meanwhile, and what it raises comes out. Raises ValueError where more are wanted than there are, and
    Unsafe.
    """
    if not count:
        yield ()
        return
    if not 0 < wanted <= count:
        raise ValueError(f"{wanted} devices are wanted, and the machine has {count}.")
    slots = _prepare_folder(folder)
    # A process may be shown some of the machine's devices alone, under numbers of its own.
    shown = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    names = [re.sub(r"[^\w-]", "_", shown[number]) if shown else str(number) for number in range(count)]
    with contextlib.ExitStack() as locks:
        while len(taken := _take_free_slots(slots, names, per_device, wanted, locks)) < wanted:
            locks.close()
            on_wait()
            time.sleep(RETRY_SECONDS)
        yield taken


def _take_free_slots(
    folder: Path, names: list[str], per_device: int, wanted: int, locks: contextlib.ExitStack
) -> tuple[int, ...]:
    """The emptiest devices first."""
    taken: list[int] = []
    for slot in range(per_device):
        for number, name in enumerate(names):
            if len(taken) < wanted and number not in taken and _lock_slot(folder / f"{name}.{slot}", locks):
                taken.append(number)
    return tuple(sorted(taken))


def _lock_slot(slot: Path, locks: contextlib.ExitStack) -> bool:
    file = os.open(slot, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return False
    locks.callback(os.close, file)
    return True


def _prepare_folder(folder: Path | None) -> Path:
    folder = folder or Path(tempfile.gettempdir(), f"foretaste-devices-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise UnsafeFolder(f"{folder} must be a folder that only user {os.getuid()} may open: remove it")
    return folder
