"""All live events of a dataset in the order of their arrival: those in its files, and then those in the store's stream.

A compaction moves events from the stream to a Parquet file, and merges files (``live_files.py``). The store's list says
which files count. Each event has a *position*, which it keeps when it moves: a reader that asks for the events after
the position it has reached misses none and meets none twice, also where events move while it reads.

    ms, seq                        BIGINT: the position
    user_id, session_id, item_id   VARCHAR, for queries; item_id may be NULL
    event_type, sent_at            VARCHAR, DOUBLE (epoch seconds)
    event                          VARCHAR: the whole event as JSON, as it stood in the stream
"""

# ruff: noqa: S608 -- files are quoted

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from shared.data.duckdb_session import DuckDBSession, read_parquet_sql
from shared.storage.artifacts import ArtifactDamaged, Artifacts
from shared.store import Interaction, Store, record_codec
from shared.store.live_files import START, LiveFile
from shared.store.positions import parse_position

#: Events of one answer of the store, and rows of one batch of a file.
PAGE = 10_000
#: Memory of DuckDB for reading a file in order, MiB: a few blocks of rows.
_MEMORY_MB = 256


def ignore_step() -> None:
    """Do nothing: the ``on_step`` of work that cannot be cancelled."""


def iter_live_events(
    store: Store, artifacts: Artifacts, dataset: str, on_step: Callable[[], None] = ignore_step
) -> Iterator[Interaction]:
    """Yield all live events of a dataset in the order of their arrival, with bounded memory.

    ``on_step`` is called while a file is read, and may raise. Raises ArtifactDamaged where a file is missing or differs
    from the file that was written.
    """
    return (event for _, event in iter_live_events_after(store, artifacts, dataset, START, on_step))


def iter_live_events_after(
    store: Store, artifacts: Artifacts, dataset: str, after: str, on_step: Callable[[], None] = ignore_step
) -> Iterator[tuple[str, Interaction]]:
    """Yield position and event of the live events after a position. Raises as ``iter_live_events``."""
    for position, text in iter_live_texts(store, artifacts, dataset, after, on_step):
        yield position, record_codec.read_interaction(text)


def iter_live_texts(
    store: Store, artifacts: Artifacts, dataset: str, after: str, on_step: Callable[[], None]
) -> Iterator[tuple[str, str]]:
    """Yield position and JSON of the live events after a position."""
    reached = after
    while True:
        page = store.read_live_page(dataset, reached, PAGE)
        if page.files:
            try:
                for position, text in _iter_file(artifacts, dataset, page.files[0], reached, on_step):
                    reached = position
                    yield position, text
            except ArtifactDamaged:
                if page.files[0] in store.list_live_files(dataset):
                    raise
                continue  # replaced and removed while this was reading: another file has its events
            reached = page.files[0].last
        elif page.events:
            yield from page.events
            reached = page.events[-1][0]
        else:
            return


def check_live_file(artifacts: Artifacts, dataset: str, file: LiveFile) -> Path:
    """Compare a file with its entry in the list and return its path. Raises ArtifactDamaged."""
    path = artifacts.get_live_folder(dataset) / file.name
    try:
        same = path.stat().st_size == file.bytes and artifacts.compute_checksum(path) == file.sha256
    except OSError as error:
        raise ArtifactDamaged(f"The file {file.name} with live events of {dataset} is missing.") from error
    if not same:
        raise ArtifactDamaged(f"The file {file.name} with live events of {dataset} is damaged: restore a backup.")
    return path


def _iter_file(
    artifacts: Artifacts, dataset: str, file: LiveFile, after: str, on_step: Callable[[], None]
) -> Iterator[tuple[str, str]]:
    path = check_live_file(artifacts, dataset, file)
    milliseconds, number = parse_position(after)
    rows = (
        f"SELECT ms, seq, event FROM {read_parquet_sql([path])} "
        f"WHERE ms > {milliseconds:d} OR (ms = {milliseconds:d} AND seq > {number:d})"
    )
    scratch = artifacts.create_workspace(dataset)
    with DuckDBSession(memory_mb=_MEMORY_MB, scratch=scratch, on_step=on_step) as database:
        # The rows of a file stand in the order of arrival.
        database.execute("SET preserve_insertion_order = true")
        for batch in database.iter_batches(rows, PAGE):
            yield from ((f"{ms}-{seq}", text) for ms, seq, text in batch)
