"""Write the files with the live events of a dataset: ``live_events.py`` describes them.

Every change is a new file first, written whole and synced, and then one step of the store that puts it into the list:
a process that is killed at any point leaves the list as it was, or changed. Files that are not in the list don't count.
The next writer removes them. Files that were replaced stay for KEEP_SECONDS: a backup may have the older list.
"""

# ruff: noqa: S608 -- files are quoted, and conditions are those of this package

from __future__ import annotations

import contextlib
import glob
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import orjson
import structlog

from shared.data.csv.csv_sql import quote_literal
from shared.data.duckdb_session import DuckDBSession, read_parquet_sql
from shared.data.live_events import PAGE, check_live_file
from shared.data.live_index import LiveIndex, get_index_path, iter_indexed_users, write_live_index
from shared.storage.artifacts import Artifacts, sync_to_disk
from shared.store import Store
from shared.store.live_files import START, LiveFile, StreamCut
from shared.store.positions import parse_position

log = structlog.get_logger()

#: How long a replaced file stays on the disk (seconds).
KEEP_SECONDS = 3600.0
#: A file is merged with the later ones once they hold this share of its events. So the sizes of files grow
#: geometrically: of ten million events there are at most about twenty files, and each event is rewritten as often.
MERGE_SHARE = 0.5
#: Rows of a file that are compressed together, and read at once.
ROW_GROUP = 50_000

_COLUMNS = {
    "ms": "BIGINT",
    "seq": "BIGINT",
    "user_id": "VARCHAR",
    "session_id": "VARCHAR",
    "item_id": "VARCHAR",
    "event_type": "VARCHAR",
    "type": "VARCHAR",
    "sent_at": "DOUBLE",
    "event": "VARCHAR",
}
_DRAFTS = "live-"


class WriterReplaced(Exception):
    """Another writer has begun, or the dataset was deleted: this one has changed nothing more."""


class LiveFileWriter:
    """Changes the files with the live events of a dataset. A later writer ends the right of an earlier one."""

    def __init__(
        self, store: Store, artifacts: Artifacts, dataset: str, *, memory_mb: int, on_step: Callable[[], None]
    ) -> None:
        """``on_step`` is called during the work, and may raise to end it."""
        self._store, self._artifacts, self._dataset = store, artifacts, dataset
        self._memory_mb, self._on_step = memory_mb, on_step
        self._name = uuid4().hex
        self._scratch = artifacts.create_workspace(dataset) / f"{_DRAFTS}{self._name}"
        store.begin_live_writing(dataset, self._name)

    def __enter__(self) -> Self:
        self._scratch.mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)

    def compact_stream(self) -> LiveFile | None:
        """Move all events that have arrived to a new file; return it, or None where the stream is empty.

        First those of a compaction that died, to a file of their own. Raises WriterReplaced.
        """
        file = None
        while (cut := self._store.cut_stream(self._dataset, self._name)) is not None:
            file = self._move_events(cut)
            if not cut.resumed:
                break
        return file

    def _move_events(self, cut: StreamCut) -> LiveFile:
        lines = self._scratch / "lines"
        first, events = self._write_lines(cut, lines)
        if first is None:
            raise WriterReplaced(self._dataset)
        columns = ", ".join(f"{name}: {quote_literal(type_)}" for name, type_ in _COLUMNS.items())
        path = quote_literal(glob.escape(str(lines)))
        source = f"read_json({path}, format = 'newline_delimited', columns = {{{columns}}})"
        file = self._write_file(f"SELECT * FROM {source}", first, cut.last, events, cut.generation)
        lines.unlink()
        if not self._store.commit_live_file(cut, file):
            self._discard_file(file)
            raise WriterReplaced(self._dataset)
        log.info("live events compacted", dataset=self._dataset, events=file.events, bytes=file.bytes)
        return file

    def _write_lines(self, cut: StreamCut, lines: Path) -> tuple[str | None, int]:
        """Write the events of the cut as lines of JSON; return the position of the first one, and their number."""
        first, events = None, 0
        with lines.open("wb") as target:
            for position, text in self._iter_cut(cut):
                self._on_step()
                target.write(orjson.dumps(_build_row(position, text)) + b"\n")
                first, events = first or position, events + 1
        return first, events

    def _iter_cut(self, cut: StreamCut) -> Iterator[tuple[str, str]]:
        files, last = self._store.list_live_files(self._dataset), parse_position(cut.last)
        after = files[-1].last if files else START
        while parse_position(after) < last and (page := self._store.read_live_page(self._dataset, after, PAGE)).events:
            for after, text in page.events:
                if parse_position(after) <= last:
                    yield after, text

    def merge_small_files(self) -> None:
        """Merge the newest files, where they hold about as many events as the file before them.

        Raises WriterReplaced, and ArtifactDamaged.
        """
        files = self._store.list_live_files(self._dataset)
        begin, later = len(files) - 1, files[-1].events if files else 0
        while begin > 0 and later >= MERGE_SHARE * files[begin - 1].events:
            begin -= 1
            later += files[begin].events
        if begin < len(files) - 1:
            self._swap_files(files[begin:], self._rewrite_files(files[begin:]))

    def rewrite_file(self, old: LiveFile, condition: str) -> None:
        """Replace a file by one with the rows for which the SQL ``condition`` holds; it may lose its last row.

        Raises WriterReplaced, and ArtifactDamaged.
        """
        self._swap_files([old], self._rewrite_files([old], condition))

    def list_files(self) -> Sequence[LiveFile]:
        return self._store.list_live_files(self._dataset)

    def get_path(self, file: LiveFile) -> Path:
        """Return the path of an undamaged file. Raises ArtifactDamaged."""
        return check_live_file(self._artifacts, self._dataset, file)

    def _rewrite_files(self, old: Sequence[LiveFile], condition: str = "true") -> LiveFile:
        """Write the rows of neighbours to one file, which covers their positions even where it has no rows."""
        paths = [self.get_path(file) for file in old]
        rows = f"SELECT * FROM {read_parquet_sql(paths)} WHERE {condition}"
        return self._write_file(rows, old[0].first, old[-1].last, None, old[-1].generation)

    def _swap_files(self, old: Sequence[LiveFile], new: LiveFile) -> None:
        if not self._store.replace_live_files(self._dataset, self._name, old, new):
            self._discard_file(new)
            raise WriterReplaced(self._dataset)
        log.info("live events rewritten", dataset=self._dataset, files=len(old), events=new.events, bytes=new.bytes)

    def _write_file(self, rows: str, first: str, last: str, events: int | None, generation: int) -> LiveFile:
        """Write the rows of a query, in its order, to a file in the dataset's folder."""
        name = f"{first}_{last}_{uuid4().hex[:12]}.parquet"
        draft = self._scratch / name
        with DuckDBSession(memory_mb=self._memory_mb, scratch=self._scratch, on_step=self._on_step) as database:
            database.execute("SET preserve_insertion_order = true")
            options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP}"
            copied = database.fetch_rows(f"COPY ({rows}) TO {quote_literal(str(draft))} ({options})")
            write_live_index(get_index_path(draft), draft, database)
        written = int(copied[0][0])
        if events is not None and written != events:
            raise RuntimeError(f"{written} of {events} events were written")
        sync_to_disk(get_index_path(draft))
        sync_to_disk(draft)
        file = LiveFile(
            name=name,
            first=first,
            last=last,
            events=written,
            bytes=draft.stat().st_size,
            sha256=self._artifacts.compute_checksum(draft),
            generation=generation,
        )
        folder = self._artifacts.get_live_folder(self._dataset)
        folder.mkdir(parents=True, exist_ok=True)
        get_index_path(draft).rename(get_index_path(self._get_path(file)))
        draft.rename(self._get_path(file))
        sync_to_disk(folder)
        return file

    def _get_path(self, file: LiveFile) -> Path:
        return self._artifacts.get_live_folder(self._dataset) / file.name

    def _discard_file(self, file: LiveFile) -> None:
        self._get_path(file).unlink(missing_ok=True)
        get_index_path(self._get_path(file)).unlink(missing_ok=True)

    def sweep_moved_generations(self) -> None:
        """Remove from the store the recent events that are in files now: requests find them by the files' indexes."""
        generations = self._store.list_unswept_generations(self._dataset)
        users: dict[int, Path] = {file.generation: self._get_path(file) for file in self.list_files()}
        for generation in generations:
            # A writer that died here has left more than one, and the file may have been merged since.
            file = users.get(generation) if len(generations) == 1 else None
            self._store.sweep_generation(self._dataset, generation, self._iter_users(file) if file else None)

    def _iter_users(self, file: Path) -> Iterator[str]:
        for user_id in iter_indexed_users(get_index_path(file)):
            self._on_step()
            yield user_id

    def restore_indexes(self) -> None:
        """Write the indexes again that are missing or damaged. Raises ArtifactDamaged."""
        for file in self.list_files():
            path = get_index_path(self._get_path(file))
            try:
                LiveIndex.open(path)
            except (OSError, ValueError):
                draft = self._scratch / path.name
                with DuckDBSession(memory_mb=self._memory_mb, scratch=self._scratch, on_step=self._on_step) as database:
                    write_live_index(draft, self.get_path(file), database)
                sync_to_disk(draft)
                draft.rename(path)
                log.warning("index of live events restored", dataset=self._dataset, file=file.name)

    def remove_garbage(self, keep_seconds: float | None = None) -> None:
        """Remove the files that don't count: those of writers that died, and those replaced for ``keep_seconds``.

        By default that is KEEP_SECONDS.

        This writer has begun: no earlier one can put its files into the list any more.
        """
        keep_seconds = KEEP_SECONDS if keep_seconds is None else keep_seconds
        superseded = self._store.list_superseded_files(self._dataset)
        kept = {
            *(file.name for file in self._store.list_live_files(self._dataset)),
            *(self._store.list_superseded_files(self._dataset, newer_than=keep_seconds) if keep_seconds else ()),
        }
        folder = self._artifacts.get_live_folder(self._dataset)
        for path in folder.glob("*"):
            if path.with_suffix(".parquet").name not in kept:
                path.unlink(missing_ok=True)
        self._store.forget_superseded_files(self._dataset, [name for name in superseded if name not in kept])
        for scratch in self._scratch.parent.glob(f"{_DRAFTS}*"):
            if scratch != self._scratch:
                shutil.rmtree(scratch, ignore_errors=True)


def _build_row(position: str, text: str) -> dict[str, Any]:
    event = orjson.loads(text)
    milliseconds, number = parse_position(position)
    named = {name: event.get(name) for name in ("user_id", "session_id", "item_id", "event_type", "sent_at")}
    # Python's lower case, as everywhere: DuckDB's differs in some letters.
    return {"ms": milliseconds, "seq": number, **named, "type": named["event_type"].lower(), "event": text}


def remove_orphans(store: Store, artifacts: Artifacts, *, memory_mb: int, on_step: Callable[[], None]) -> None:
    """Remove the live events of datasets that do not exist any more: a compaction may have written after a deletion."""
    for dataset in artifacts.list_live_folders():
        if store.get(dataset) is None:
            with LiveFileWriter(store, artifacts, dataset, memory_mb=memory_mb, on_step=on_step) as writer:
                writer.remove_garbage()
            with contextlib.suppress(OSError):  # the dataset has been created again, and has files already
                artifacts.get_live_folder(dataset).rmdir()
