"""Grants CUDA devices to trainings, where several workers share the devices of a machine.

Each device has as many slots as trainings may share it. A slot is a file in a folder of the machine, and a process
takes it by a lock on that file, which the kernel releases when the process ends in any way.
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
    """Other users may open the folder of the slots; the message names the remedy."""


@contextlib.contextmanager
def grant_devices(configured: Settings, on_wait: Callable[[], None]) -> Iterator[tuple[int, ...]]:
    """Hold the devices that the settings give to one training; () on a machine without GPUs. Raises WorkFailed."""
    # A recipe that trains on a GPU has imported torch by now; to import it for all recipes would take seconds.
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
    """Hold ``wanted`` of ``count`` devices within the block, and yield their numbers; () where ``count`` is 0.

    While too few slots are free, this process holds none and waits; it calls ``on_wait``, and passes on an exception
    raised there. Raises ValueError where more devices are wanted than there are, and UnsafeFolder.
    """
    if not count:
        yield ()
        return
    if not 0 < wanted <= count:
        raise ValueError(f"{wanted} devices are wanted, and the machine has {count}.")
    slots = _prepare_folder(folder)
    # CUDA_VISIBLE_DEVICES may show a process only some of the machine's devices, under other numbers.
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
    """Lock a slot of each of ``wanted`` devices, those with the most free slots first; return their numbers."""
    taken: list[int] = []
    for slot in range(per_device):
        for number, name in enumerate(names):
            if len(taken) < wanted and number not in taken and _lock_slot(folder / f"{name}.{slot}", locks):
                taken.append(number)
    return tuple(sorted(taken))


def _lock_slot(slot: Path, locks: contextlib.ExitStack) -> bool:
    """Lock a slot until ``locks`` closes; return whether it was free."""
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
