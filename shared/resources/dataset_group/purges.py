"""Counts how often users were deleted from a dataset group: a process with an older count must read its data again."""

from __future__ import annotations

from dataclasses import replace

from shared.store import Conflict, Records

#: The member of a dataset group's state.
PURGES = "purges"


def count_purges(group_arn: str, records: Records) -> int:
    """Return the count of a dataset group; 0 where none has been, and for a group that does not exist."""
    group = records.get(group_arn)
    return int(group.state.get(PURGES, 0)) if group else 0


def raise_purges(group_arn: str, records: Records) -> int:
    """Raise the count of a dataset group by one, and return it; 0 for a group that does not exist any more."""
    while (group := records.get(group_arn)) is not None:
        count = int(group.state.get(PURGES, 0)) + 1
        try:
            records.replace(replace(group, state={**group.state, PURGES: count}))
        except Conflict:
            continue
        return count
    return 0
