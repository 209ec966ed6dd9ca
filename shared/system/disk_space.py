"""Room on a disk: how much there is, and whether it is enough to go on writing."""

from __future__ import annotations

import shutil
from pathlib import Path

MIB = 1024 * 1024


def free_bytes(folder: Path) -> int:
    """What is free on the disk of a folder, which need not be there yet. Raises OSError."""
    standing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(standing).free


def has_room(folder: Path, least_mb: int) -> bool:
    """Are as many MiB free? A disk that does not tell is taken to have room: who writes will find out."""
    try:
        return free_bytes(folder) >= least_mb * MIB
    except OSError:
        return True
