"""Measures free disk space, and compares it with the least that writing needs."""

from __future__ import annotations

import shutil
from pathlib import Path

MIB = 1024 * 1024


def measure_free_bytes(folder: Path) -> int:
    """Return the free bytes on the disk of a folder, which need not exist yet. Raises OSError."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


def has_free_space(folder: Path, least_mb: int) -> bool:
    """Tell whether ``least_mb`` MiB are free. True where the disk cannot be asked: a write will fail by itself."""
    try:
        return measure_free_bytes(folder) >= least_mb * MIB
    except OSError:
        return True
