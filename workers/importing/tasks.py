"""One handler per command of the ``importing`` queue."""

from __future__ import annotations

from shared.process import current
from shared.queue import handles
from shared.state.messages import ImportDataset
from shared.work import work


@handles(ImportDataset)
def import_dataset(command: ImportDataset) -> None:
    work(command, current(), "workers.importing.job")
