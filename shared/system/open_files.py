"""How many files, sockets among them, this process may have open."""

from __future__ import annotations

import resource


def allow_files(wanted: int) -> int:
    """Raise the soft limit towards what is wanted, as far as the hard one lets it. Returns how many of these may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed
