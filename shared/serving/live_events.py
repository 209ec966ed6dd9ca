"""The live events of a user at a request: those in files, by the files' indexes, and the later ones from the store.

A compaction moves events from the store to a file and then removes the users' recent events of that generation. A
reader knows the files of one moment and the recent events of another: it takes of the recent events the generations
that its files do not cover, and reads the list of files again where the recent events are newer than its files. So each
event counts once, at every moment.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from shared.aws.errors import ServiceUnavailable
from shared.data.live_index import LiveEvent, LiveIndex, get_index_path
from shared.serving.newest_events import merge_newest
from shared.serving.user_event_index import EventsByType
from shared.storage.artifacts import Artifacts
from shared.store import RECENT_LIMIT, SEEN_LIMIT, SEEN_SECONDS, Interaction, SeenItems, Store
from shared.store.live_files import ByGeneration, LiveFile
from shared.store.quarantine import Quarantine

log = structlog.get_logger()

#: How often the list of files is read again where a file of it has been replaced and removed in the meantime.
_TRIES = 3


@dataclass(frozen=True)
class _OpenFiles:
    """The indexes of a dataset's files at one moment."""

    files: Sequence[LiveFile]
    indexes: Sequence[LiveIndex]

    @property
    def generation(self) -> int:
        return self.files[-1].generation if self.files else -1

    def covers(self, read: ByGeneration[list[Interaction]] | ByGeneration[SeenItems]) -> bool:
        """Whether the files, and the later generations of ``read``, are all events of the moment of ``read``.

        Files that are newer than ``read`` cover all of it or a part. Generations are never used again: those of a
        dataset that was deleted and created again are newer than the files of the deleted one.
        """
        return self.generation == read.moved or self.generation >= read.parts[0][0]


class LiveEventReader:
    """Reads the live events of users. Threads may share it."""

    def __init__(self, store: Store, artifacts: Artifacts) -> None:
        self._store = store
        self._artifacts = artifacts
        self._open: dict[str, _OpenFiles] = {}
        self._opening = threading.Lock()

    def read_recent(self, dataset: str, user_id: str) -> Sequence[Interaction | LiveEvent]:
        """Return the user's newest live events in the order of arrival; at most RECENT_LIMIT of them.

        Raises the store's errors, and ServiceUnavailable where the files can't be read.
        """
        read = self._store.get_recent_interactions(dataset, user_id)
        opened = self._get_open_files(dataset, read)
        parts: list[Sequence[Interaction | LiveEvent]] = [*reversed(read.list_newer_than(opened.generation))]
        found: list[Interaction | LiveEvent] = []
        for part in [*parts, *(index.find_recent(user_id) for index in reversed(opened.indexes))]:
            found[:0] = part
            if len(found) >= RECENT_LIMIT:
                return found[-RECENT_LIMIT:]
        return found

    def read_moved(self, dataset: str, user_id: str) -> Sequence[LiveEvent]:
        """Return the newest events of the user in the files that are open already, without asking the store."""
        opened = self._open.get(dataset)
        found = [event for index in opened.indexes for event in index.find_recent(user_id)] if opened else []
        return found[-RECENT_LIMIT:]

    def find_seen(self, dataset: str, user_id: str) -> EventsByType:
        """Return event type -> item -> time of the user's newest live event with it.

        Of each type at most SEEN_LIMIT items; {} for a user without an event for SEEN_SECONDS. Raises as
        ``read_recent``.
        """
        read = self._store.get_seen_items(dataset, user_id)
        opened = self._get_open_files(dataset, read)
        later = [part for part in read.list_newer_than(opened.generation) if part]
        if not later and not self._has_arrival_since(opened, user_id, self._store.now() - SEEN_SECONDS):
            return {}
        found: EventsByType = {}
        for part in [*(index.find_seen(user_id) for index in opened.indexes), *later]:
            found = merge_newest(found, part, SEEN_LIMIT) if found else part
        return found

    def _has_arrival_since(self, opened: _OpenFiles, user_id: str, since: float) -> bool:
        return any(index.get_arrival(user_id) > since for index in opened.indexes)

    def refresh_all(self, quarantine: Quarantine) -> None:
        """Follow the lists of files: those of deleted users are replaced, and those of deleted datasets vanish."""
        for dataset in list(self._open):
            quarantine.run_unless_quarantined(f"live events of {dataset}", partial(self._refresh_files, dataset))

    def list_outdated(self) -> set[str]:
        """Return the datasets of which a file is open that has been replaced since."""
        return {
            dataset
            for dataset, held in list(self._open.items())
            if {file.name for file in held.files} - {file.name for file in self._store.list_live_files(dataset)}
        }

    def _refresh_files(self, dataset: str) -> None:
        held = self._open[dataset]
        if [file.name for file in self._store.list_live_files(dataset)] != [file.name for file in held.files]:
            with self._opening:
                self._open_files(dataset)

    def _get_open_files(
        self, dataset: str, read: ByGeneration[list[Interaction]] | ByGeneration[SeenItems]
    ) -> _OpenFiles:
        held = self._open.get(dataset)
        if held is None and read.moved < 0:
            return _OpenFiles((), ())
        if held is not None and held.covers(read):
            return held
        with self._opening:
            held = self._open.get(dataset)
            return held if held is not None and held.covers(read) else self._open_files(dataset)

    def _open_files(self, dataset: str) -> _OpenFiles:
        """Open the indexes of the files as they are now; those of files that are open already stay."""
        known = self._open.get(dataset)
        opened = {file.name: index for file, index in zip(known.files, known.indexes, strict=True)} if known else {}
        folder = self._artifacts.get_live_folder(dataset)
        for tried in range(1, _TRIES + 1):
            files = self._store.list_live_files(dataset)
            try:
                for file in files:
                    if file.name not in opened:
                        opened[file.name] = LiveIndex.open(get_index_path(folder / file.name))
            except (OSError, ValueError) as error:
                if tried < _TRIES:
                    continue
                log.exception("live events can't be read", dataset=dataset)
                raise ServiceUnavailable(f"The live events of {dataset} can't be read: {error}") from error
            self._open[dataset] = _OpenFiles(files, [opened[file.name] for file in files])
            break
        return self._open[dataset]
