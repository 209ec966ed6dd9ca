"""Items that were put or imported after a training, for the recipes that answer with them (performIncrementalUpdate).

Put records are read as they are, so that an item is known seconds after PutItems. Imports are read from the snapshot of
the dataset, which holds the newest row of each id, once there is one with an import that the training has not read.
Models embed only the rows whose text they do not know, so that reading a row twice does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from shared.recipes.scoring_api import NewItem
from shared.resources import ResourceReader
from shared.resources.dataset_import_job import iter_current_jobs
from shared.resources.solution_version.requests import list_imports
from shared.serving.dataset_snapshot import Snapshot
from shared.serving.model_cache import LoadedModel
from shared.store import Record, Store

ROWS_AT_ONCE = 4096
CREATED = "CREATION_TIMESTAMP"


@dataclass(frozen=True, eq=False)
class _ReadState:
    """The part of a dataset that a model has been updated from."""

    put: float = 0.0
    """``Store.get_last_put`` before the put records were read."""
    jobs: Sequence[str] = ()
    snapshot: Snapshot | None = None


class CatalogueUpdater:
    """Updates the models of one process. Not to be shared by threads."""

    def __init__(
        self, reader: ResourceReader, store: Store, open_rows: Callable[[LoadedModel], Snapshot | None]
    ) -> None:
        """``open_rows`` returns the newest snapshot of a model's Items."""
        self._reader = reader
        self._store = store
        self._open_rows = open_rows
        self._states: dict[str, _ReadState] = {}

    def forget_all_but(self, versions: Sequence[str]) -> None:
        """Forget what was read for versions that are no longer loaded."""
        self._states = {arn: state for arn, state in self._states.items() if arn in versions}

    def update_model(self, version: Record, model: LoadedModel, on_block: Callable[[], None]) -> LoadedModel:
        """Return the model with all items that have come or changed; the same model where there are none.

        Raises ServiceUnavailable where the rows can't be read.
        """
        if not model.recipe.serving.takes_new_items or not self._is_wanted(version):
            return model
        items = model.datasets[model.recipe.catalogue]
        before = self._states.get(version.arn, _ReadState())
        jobs = list(iter_current_jobs(items, self._reader))
        put = self._store.get_last_put(items)
        imported = sorted(job.arn for job in jobs) != sorted(list_imports(version, model.recipe.catalogue))
        snapshot = self._open_rows(model) if imported else None
        read_snapshot = snapshot is not None and snapshot is not before.snapshot
        updated = model
        if snapshot is not None and read_snapshot:
            for rows in iter_snapshot_items(snapshot, self._store.now()):
                updated = updated.with_items(rows, on_block)
        if read_snapshot or put > before.put or [job.arn for job in jobs] != list(before.jobs):
            # Older records count where no import has replaced them, which the snapshot knows.
            newest = max((job.created for job in jobs), default=0.0)
            for records in self._iter_put_items(items, newest):
                updated = updated.with_items(records, on_block)
        self._states[version.arn] = _ReadState(put, [job.arn for job in jobs], snapshot)
        return updated

    def forget(self, version_arn: str) -> None:
        """Read everything again at the next update: the model in memory does not have what was read."""
        self._states.pop(version_arn, None)

    def _is_wanted(self, version: Record) -> bool:
        """Whether the solution has performIncrementalUpdate, which is true unless a client has set it to false."""
        solution = self._reader.records.get(version.parents[0])
        return solution is not None and solution.body.get("performIncrementalUpdate") is not False

    def _iter_put_items(self, items: str, since: float) -> Iterator[list[NewItem]]:
        batch: list[NewItem] = []
        for record in self._store.iter_put_records(items):
            if record.at > since:
                batch.append(NewItem(record.id, record.properties, record.at))
            if len(batch) == ROWS_AT_ONCE:
                yield batch
                batch = []
        if batch:
            yield batch


def iter_snapshot_items(snapshot: Snapshot, now: float) -> Iterator[list[NewItem]]:
    """Yield all rows in batches, with the columns that are strings and the time of creation."""
    names = [f.name for f in snapshot.schema.metadata if f.type == "string"]
    if CREATED in snapshot.schema.columns:
        names.append(CREATED)
    for begin in range(0, len(snapshot), ROWS_AT_ONCE):
        yield [
            NewItem(snapshot.ids[row], {name: snapshot.read_cell(row, name) for name in names}, now)
            for row in range(begin, min(begin + ROWS_AT_ONCE, len(snapshot)))
        ]
