"""Raises the limit on open files, sockets included."""

from __future__ import annotations

import resource


def raise_file_limit(wanted: int) -> int:
    """Raise the soft limit towards ``wanted``, as far as the hard limit lets it.

    Return how many may be open, at most ``wanted``.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed
