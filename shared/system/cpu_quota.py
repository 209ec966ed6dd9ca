"""Counts the cores that this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path


def available_cpus() -> int:
    """Return how many cores the cgroup's CPU quota and the scheduler's mask leave to this process; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = (("cpu.max", None), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))  # cgroup v2, v1
    for quota_file, period_file in quotas:
        try:
            words = Path("/sys/fs/cgroup", quota_file).read_text().split()
            words += Path("/sys/fs/cgroup", period_file).read_text().split() if period_file else []
            quota, period = int(words[0]), int(words[1])
        except (OSError, ValueError, IndexError):  # no such cgroup, or "max": no quota
            continue
        if quota > 0:
            cores = min(cores, math.ceil(quota / period))
    return max(cores, 1)
