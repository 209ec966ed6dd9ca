"""The part of the store's protocol that deletes users, and that tells which processes have followed a deletion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol


class LogNotRewritten(Exception):
    """The store could not rewrite its log, which still holds deleted values; the message gives the reason."""


class UserRemoval(Protocol):
    """Removes what is stored by user, apart from live events (``LiveFiles``). Every method is safe to repeat."""

    def forget_event_ids(self, dataset: str, event_ids: Sequence[str]) -> None:
        """Forget clients' own ids of events: an event that arrives again is saved again."""
        ...

    def remove_put_records(self, dataset: str, ids: Sequence[str]) -> None:
        """Remove the records of these ids that PutUsers has sent. Where there was any, ``get_last_put`` is now."""
        ...

    def report_purges(self, process: str, purges: Mapping[str, int], seconds: float) -> None:
        """Record for so many seconds that a process has followed the deletions of users: dataset group -> count."""
        ...

    def get_reported_purges(self, process: str) -> Mapping[str, int]:
        """Return the newest report of a process; {} where there is none."""
        ...

    def rewrite_log(self, on_step: Callable[[], None]) -> bool:
        """Rewrite the log on the disk, so that it holds no removed value any more, and wait for the end.

        ``on_step`` is called while it waits. False where the store keeps no log, or does not let clients rewrite it.
        Raises LogNotRewritten.
        """
        ...
